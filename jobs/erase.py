"""Forgetting people everywhere: delivered files, lake, warehouse, in an order in which a run that was cut off can be taken up again.

First who is noted (salted), then what is to be labelled anew in the end, then bytes go; only when nothing is left is the request complete.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import JOBS, NIGHTLY, writer_of
from jobs.report import index
from jobs.runner import NotBuiltError, ParameterError, RemovedError, Runner, parameters_of
from recsys_core import registry
from recsys_core.attempts import Attempt, claim
from recsys_core.erasure import requests, rows
from recsys_core.erasure.landing import Owners, Scanned, blank, delivered, known_id, scan
from recsys_core.lake import LakeError
from recsys_core.privacy import user_key

if TYPE_CHECKING:
    from recsys_core.lake import Lake
    from recsys_core.landing import Landing

# The night under which erasures claim their attempts: two at a time would write each other's requests.
_NO_NIGHT = dt.date(1970, 1, 1)
_ATTEMPTS = "_attempts"
_WHOLE = "*"


class IdsError(LakeError):
    """The list of ids cannot be used; the message names the line, never what stands in it."""


def ids_of(data: bytes, name: str) -> list[str]:
    """The ids of a list, one on each line, as the parser would read them; IdsError names lines that hold none."""
    try:
        given = [known_id(line) for line in data.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise IdsError(f"{name} is not UTF-8: save it as UTF-8; nothing was changed") from None
    odd = [n for n, user_id in enumerate(given, 1) if not user_id]
    if odd:
        raise IdsError(f"{name}: no user can have the id of entry {', '.join(map(str, odd[:10]))}; nothing was changed")
    return given


def from_inbox(runner: Runner, salt: bytes) -> dict[str, Any]:
    """Forget the users of all lists in the folder ERASURE_INBOX, and remove the lists once that is complete; returns the report."""
    folder = Path(runner.settings.erasure_inbox or "")
    if not runner.settings.erasure_inbox or not folder.is_dir():
        raise ParameterError(f"ERASURE_INBOX is {runner.settings.erasure_inbox or 'not set'}: name the folder where lists of ids are put")
    lists = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    if not lists:
        return {"lists": 0, "requests": [], "totals": {"requests": 0}}
    ids = [i for n, p in enumerate(lists, 1) for i in ids_of(p.read_bytes(), f"list {n} of {len(lists)}")]
    report = forget(runner, ids, salt=salt)
    for path in lists:
        path.unlink()
    return report | {"lists": len(lists)}


def forget(runner: Runner, ids: Iterable[str] = (), again: bool = False, salt: bytes = b"") -> dict[str, Any]:
    """Forget users, or (again) whatever came back of all that were ever forgotten; returns the report, which holds no id.

    salt   random bytes, used when the lake has none yet
    """
    return _Erasure(runner, list(dict.fromkeys(ids)), again, salt).run()


@dataclass
class _Erasure:
    runner: Runner
    ids: list[str]
    again: bool
    salt: bytes
    noted: dict[str, Any] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return self.runner.lake

    @property
    def landing(self) -> Landing:
        return self.runner.landing

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        now = self.runner.now
        assert now is not None, "a request has a time"
        attempt = claim(self.lake, "erasure", _NO_NIGHT)
        erased, asked = self._asked(requests.salted(self.lake, self.salt), now)
        owners = Owners(erased, self.landing)
        self._aliases(owners, asked)
        self.known = requests.requests(self.lake) | asked
        requests.save(self.lake, self.known)

        keys = rows.keys_of(self.lake, owners)
        scanned = [scan(self.landing, owners, *f) for f in delivered(self.landing)]
        met = {*keys.values(), *(r for s in scanned for r in s.objects)}
        secret, before_login = self.runner.settings.secret(), owners.first_owned()
        keys |= {user_key(secret, i): r for i, r in erased.ids.items() if i not in owners.shared}
        keys |= {user_key(secret, i): r for i, r in before_login.items()}
        blanked = [s for s in scanned if s.spans]
        self._note(keys, blanked)
        keys = self.noted["keys"]

        for s in blanked:
            attempt.check()
            blank(self.landing, s)
        self.runner.say(
            f"erasure: {sum(s.objects.total() for s in blanked):,} objects in {len(blanked):,} of {len(scanned):,} delivered files"
        )
        sweep = rows.Sweep(self.lake, self.landing, owners, keys, self._overtake)
        rewritten = frozenset(self.noted["files"])
        sweep.run(rewritten)
        numbers = self._overtake_all() if rewritten or sweep.removed else {}
        sweep.run(rewritten)  # what was written by runs that had read the rows before
        gone = rows.remove_dead(self.lake)
        self.runner.say(f"erasure: {sum(r.rows for r in sweep.removed):,} rows of {len(sweep.removed):,} partitions of the lake")
        self._label(numbers)

        done_at = (now + dt.timedelta(seconds=time.perf_counter() - started)).isoformat()
        files = {r: sum(r in s.objects for s in blanked) for r in asked}
        for r, request in asked.items():
            changed = files[r] or sweep.by_request[r] or request.completed_at is None
            models = tuple(sorted({*request.models, *self.noted["models"].get(r, ())}))
            asked[r] = replace(
                request,
                completed_at=done_at if changed else request.completed_at,
                files_rewritten=request.files_rewritten + files[r],
                rows_removed=request.rows_removed + sweep.by_request[r],
                models=models,
            )
        published, pages = self._warehouse(keys, asked, attempt), self._pages(keys)
        attempt.check()
        requests.save(self.lake, self.known | asked)
        requests.note_pending(self.lake, None)
        return self._report(asked, met | set(sweep.by_request), scanned, sweep, gone, published) | {"pages": pages}

    # -- who ---------------------------------------------------------------------------------------------------------------------
    def _asked(self, salt: bytes, now: dt.datetime) -> tuple[requests.Erased, dict[str, requests.Request]]:
        """Whom to look for, and the requests that this run is to complete."""
        known = requests.requests(self.lake)
        plain = requests.Erased(salt)
        asked = {}
        for user_id in self.ids:
            subject = plain.hash(user_id)
            request = requests.opened(known.get(subject[:16]), subject, now)
            asked[request.request_id] = request
        if self.again or any(r.completed_at is None for r in known.values()):  # one that was cut off is taken up
            asked = known | asked
        erased = requests.Erased(salt, asked.values())
        for user_id in self.ids:
            erased.request(user_id)
        return erased, asked

    @staticmethod
    def _aliases(owners: Owners, asked: dict[str, requests.Request]) -> None:
        """Note the anonymous ids that were only theirs with their requests."""
        for anonymous_id, r in owners.aliases.items():
            owners.erased.add(anonymous_id, r)
            hashes = {*asked[r].alias_hashes, owners.erased.hash(anonymous_id)} - {asked[r].subject_hash}
            asked[r] = replace(asked[r], alias_hashes=tuple(sorted(hashes)))

    # -- before and after --------------------------------------------------------------------------------------------------------
    def _note(self, keys: Mapping[str, str], blanked: list[Scanned]) -> None:
        """Note, with what an erasure that was cut off had noted, all that can't be told afterwards."""
        before = requests.pending(self.lake)
        nights = rows.held(self.lake, keys)
        models = {
            r: [v.model_version for v in registry.versions(self.lake) if any(v.train_from <= d.isoformat() <= v.train_to for d in held)]
            for r, held in nights.items()
        }
        olds = before.get("models", {})
        self.noted = {
            "keys": before.get("keys", {}) | keys,
            "models": {r: sorted({*olds.get(r, ()), *models.get(r, ())}) for r in {*olds, *models}},
            "files": sorted({*before.get("files", ()), *(s.file for s in blanked)}),
            "up_to_date": sorted(map(list, {*map(tuple, before.get("up_to_date", ())), *self._up_to_date()})),
            "in_step": sorted(map(list, {*map(tuple, before.get("in_step", ())), *self._in_step()})),
        }
        requests.note_pending(self.lake, self.noted)

    def _up_to_date(self) -> set[tuple[str, str, str]]:
        """(job, night, model that it ran under) of what is up to date."""
        found = set()
        for ds in self.landing.nights():
            for job, spec in NIGHTLY.items():
                params = {n: p.default for n, p in parameters_of(spec).items()}
                for under in self.runner.models_for(job, ds) if spec.writes else ():
                    live = [self.lake.manifest(t, ds, **self.runner.parts(t, under)) for t in spec.writes]
                    if not all(live):
                        continue
                    try:
                        stamp = self.runner.stamp(job, ds, under, params)
                    except (NotBuiltError, RemovedError):
                        continue
                    if all(m and m.input_hash == stamp.input_hash for m in live):
                        found.add((job, ds.isoformat(), under.model_version if under else ""))
        return found

    def _in_step(self) -> set[tuple[str, str]]:
        """(table, night) of what is published as it is in the lake; (_WHOLE, night) where that is all of the night."""
        from recsys_core.warehouse import connect

        found = set()
        with connect(self.runner.settings.warehouse) as warehouse:
            for ds in self.landing.nights():
                live = warehouse.live(ds)
                topics = self.runner.models.of(ds) if live else None
                tables = [t for t in JOBS["publish"].reads if t in live]
                made = {t: m for t in tables if (m := self.lake.manifest(t, ds, **self.runner.parts(t, topics)))}
                same = {t for t, m in made.items() if (m.input_hash, m.checksum) == (live[t]["input_hash"], live[t]["content_hash"])}
                found |= {(t, ds.isoformat()) for t in (*same, *((_WHOLE,) if made and len(same) == len(made) else ()))}
        return found

    def _label(self, numbers: Mapping[tuple[str, dt.date], int]) -> None:
        """Give what was up to date the inputs that it has now: nobody else's rows would change, so nothing is to be computed again."""
        for job, day, version in self.noted["up_to_date"]:
            ds, spec = dt.date.fromisoformat(day), JOBS[job]
            under = next((m for m in self.runner.models_for(job, ds) if m and m.model_version == version), None)
            stamp = self.runner.stamp(job, ds, under, {n: p.default for n, p in parameters_of(spec).items()})
            for table in spec.writes:
                m = self.lake.manifest(table, ds, **self.runner.parts(table, under))
                if m and m.input_hash != stamp.input_hash:
                    number = max(m.attempt, numbers.get((_what(table, m.partition), ds), 0))
                    self.lake.relabel(m, input_hash=stamp.input_hash, inputs=[list(i) for i in stamp.inputs], attempt=number)

    # -- runs at work ------------------------------------------------------------------------------------------------------------
    def _overtake(self, table: str, ds: dt.date, parts: Mapping[str, str]) -> int:
        return claim(self.lake, _what(table, parts), ds).number

    def _overtake_all(self) -> dict[tuple[str, dt.date], int]:
        """Overtake whatever may be at work; returns the numbers of the attempts."""
        found = {}
        for what in (w for w in self.lake.folders(_ATTEMPTS) if w != "erasure"):
            for ds in (dt.date.fromisoformat(f.removeprefix("ds=")) for f in self.lake.folders(f"{_ATTEMPTS}/{what}")):
                found[what, ds] = claim(self.lake, what, ds).number
        return found

    # -- the warehouse -----------------------------------------------------------------------------------------------------------
    def _warehouse(
        self, keys: Mapping[str, str], asked: Mapping[str, requests.Request], attempt: Attempt
    ) -> dict[tuple[str, dt.date], int]:
        """Remove their rows there, too, and publish the nights anew whose ledgers of files have changed; returns rows by (table, night)."""
        from recsys_core.warehouse import connect

        with connect(self.runner.settings.warehouse, self.runner.say) as warehouse:
            if not warehouse.exists():
                return {}
            hashes, nights = {}, set()
            for table, day in self.noted["in_step"]:
                ds = dt.date.fromisoformat(day)
                if table == _WHOLE:
                    nights.add(ds)
                elif m := self.lake.manifest(table, ds, **self.runner.parts(table, self.runner.models.of(ds))):
                    hashes[table, ds] = m.input_hash
            removed = warehouse.erase(sorted(keys), [r.row() for r in asked.values()], hashes, attempt.check)
            again = [ds for ds in sorted(nights) if self._ledger_changed(warehouse.live(ds), ds)]
        if again:
            self.runner.run_together("publish", again, trigger="erasure")
        return removed

    def _ledger_changed(self, live: Mapping[str, Mapping[str, Any]], ds: dt.date) -> bool:
        m = self.lake.manifest("landing_file", ds)
        return m is not None and live["landing_file"]["content_hash"] != m.checksum

    def _pages(self, keys: Iterable[str]) -> list[str]:
        """Remove the nightly reports that show one of them, from the index, too; returns their names."""
        folder = self.runner.settings.report
        kept = sorted(Path(folder).glob("*.html")) if folder else []
        pages = [p for p in kept if (text := p.read_text(encoding="utf-8")) and any(k in text for k in keys)]
        for page in pages:
            page.unlink()
        index(self.runner)
        return [page.name for page in pages]

    # -- what was done -----------------------------------------------------------------------------------------------------------
    def _report(
        self,
        asked: Mapping[str, requests.Request],
        met: set[str],
        scanned: list[Scanned],
        sweep: rows.Sweep,
        gone: list[tuple[str, int]],
        published: Mapping[tuple[str, dt.date], int],
    ) -> dict[str, Any]:
        files: list[dict[str, Any]] = [
            {"path": s.file, "objects": s.objects.total(), "bytes": sum(b - a for a, b in s.spans), "mentions": s.mentions}
            for s in scanned
            if s.spans or s.mentions
        ]
        cut = [
            {"path": s.file, "reason": s.fault, "remedy": "look at it by hand; remove it, or have it delivered whole and erase again"}
            for s in scanned
            if s.fault
        ]
        lake: list[dict[str, Any]] = [
            {"path": r.path, "table": r.table, "rows": r.rows, "bytes_before": r.bytes_before, "bytes_after": r.bytes_after}
            for r in sweep.removed
        ]
        dead: list[dict[str, Any]] = [{"path": path, "bytes": n} for path, n in gone]
        warehouse = [{"table": t, "ds": ds.isoformat(), "rows": n} for (t, ds), n in sorted(published.items())]
        shown = ("request_id", "requested_at", "completed_at", "files_rewritten", "rows_removed", "models")
        return {
            "requests": [{n: getattr(r, n) for n in shown} | {"known": r.request_id in met} for _, r in sorted(asked.items())],
            "landing": files,
            "not_searchable": cut,
            "lake": lake,
            "dead": dead,
            "warehouse": warehouse,
            "models": sorted({m for r in asked.values() for m in r.models}),
            "totals": {
                "requests": len(asked),
                "unknown": sum(r not in met for r in asked),
                "objects": sum(f["objects"] for f in files),
                "files_rewritten": sum(bool(s.spans) for s in scanned),
                "mentions": sum(f["mentions"] for f in files),
                "lake_rows": sum(r["rows"] for r in lake),
                "lake_bytes": sum(r["bytes_before"] - r["bytes_after"] for r in lake) + sum(d["bytes"] for d in dead),
                "warehouse_rows": sum(w["rows"] for w in warehouse),
            },
        }


def _what(table: str, parts: Mapping[str, str]) -> str:
    """Under what name runs that write a partition claim their attempts."""
    return ".".join([writer_of(table) or table, *parts.values()])
