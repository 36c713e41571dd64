"""`python -m tests.faults` (`make soak`): all trials of all promises, those that passed before passed over.

The table of docs/reliability.md is written again at the end. One line per trial goes to var/soak/results.jsonl. A trial that fails keeps
its folder, below var/soak/failed, and the others go on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import sys
import time
import traceback
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests import conftest  # noqa: F401 - a developer's own settings must not decide what a trial sees

from jobs.runner import code_version  # isort: skip
from tests.faults.promises import PROMISES, seed  # isort: skip
from tests.faults.stand import REPO, Stand, Unavailable  # isort: skip

HOME = REPO / "var" / "soak"
RESULTS = HOME / "results.jsonl"
PAGE = REPO / "docs" / "reliability.md"
BEGIN, END = "<!-- results: written by `make soak` -->", "<!-- end of results -->"


def main(argv: list[str]) -> int:
    """0 when every trial that was asked for has passed, now or before with the same code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Try to break what docs/reliability.md promises.")
    parser.add_argument("--only", action="append", choices=PROMISES, help="only this promise; may be given several times")
    parser.add_argument("--trials", type=int, help="so many trials of each, instead of the full number")
    parser.add_argument("--fresh", action="store_true", help="repeat trials that passed before")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    asked = parser.parse_args(argv)
    if not asked.table:
        soak(asked.only or list(PROMISES), asked.trials, asked.fresh)
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    write_table(lines)
    code = version()
    last = {(line["name"], line["trial"]): line["ok"] for line in lines if line["code"] == code}
    return 0 if all(last.values()) else 1


def version() -> str:
    """Hash of the code as it is on disk now."""
    return code_version.__wrapped__()


def soak(names: list[str], trials: int | None, fresh: bool) -> None:
    """Make the trials that have not passed yet, promise by promise."""
    code = version()
    HOME.mkdir(parents=True, exist_ok=True)
    results = [] if fresh or not RESULTS.exists() else [json.loads(line) for line in RESULTS.read_text().splitlines()]
    done = {(r["name"], r["trial"]) for r in results if r["code"] == code and r["ok"]}
    stand = Stand(HOME / code)
    try:
        for name in names:
            for number in range(PROMISES[name].full if trials is None else trials):
                if version() != code:
                    sys.exit("the code has changed since the soak began: start it again")
                if (name, number) not in done:
                    one(name, number, stand, code)
    finally:
        stand.close()


def one(name: str, number: int, stand: Stand, code: str) -> None:
    """Make one trial, say how it went, and note it."""
    folder = HOME / "trials" / f"{name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    began, error, measured = time.monotonic(), "", {}
    try:
        measured = PROMISES[name].try_it(name, number, stand, folder)
        shutil.rmtree(folder)
    except Unavailable as reason:
        print(f"{name} {number}: left out: {reason}", flush=True)
        return
    except Exception as fault:  # noqa: BLE001 - whatever a trial ends with is its result
        error = f"{type(fault).__name__}: {fault}"
        kept = HOME / "failed" / f"{code}-{name}-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        if folder.exists():
            folder.rename(kept)
        kept.mkdir(exist_ok=True)
        (kept / "error.txt").write_text(traceback.format_exc())
    line = {
        "name": name,
        "trial": number,
        "seed": seed(name, number),
        "ok": not error,
        "seconds": round(time.monotonic() - began, 2),
        "measured": {k: round(v, 3) if isinstance(v, float) else v for k, v in measured.items()},
        "error": error,
        "code": code,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{name} {number}: {'passed' if not error else 'FAILED'} in {line['seconds']} s {line['measured'] or error[:300]}", flush=True)


def machine() -> str:
    """The machine in words."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} × {models[0] if models else platform.machine()}, {memory:.0f} GiB, Python {platform.python_version()}"


def write_table(lines: list[dict[str, Any]]) -> None:
    """Put the newest results between the markers of the page: of each promise those of the code version that was tried last."""
    if not PAGE.exists():
        return
    rows = ["| promise | trials | passed | failures | figures | took | code, date |", "|---|---|---|---|---|---|---|"]
    machines = set()
    for name, promise in PROMISES.items():
        of_name = [line for line in lines if line["name"] == name]
        newest = [line for line in of_name if line["code"] == of_name[-1]["code"]]
        # A trial that was repeated counts once, but a failure is never taken back.
        last = {line["trial"]: line for line in newest}.values()
        found = [name, f"{len(last)} of {promise.full}"]
        if newest:
            machines |= {line["machine"] for line in last}
            found += [f"{sum(line['ok'] for line in last)}", f"{sum(not line['ok'] for line in newest)}"]
            found += [figures([line["measured"] for line in last if line["ok"]])]
            found += [f"{sum(line['seconds'] for line in last) / 60:.1f} min", f"`{newest[-1]['code'][:8]}`, {newest[-1]['date'][:10]}"]
        rows.append(f"| {' | '.join(found + [''] * (7 - len(found)))} |")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = "\n".join([BEGIN, "", *rows, "", *(f"Machine: {m}. Command: `make soak`." for m in sorted(machines)), "", END])
    PAGE.write_text(before + made + after)


def figures(measured: list[dict[str, Any]]) -> str:
    """Seconds and sizes by median and greatest, counts added."""
    found: dict[str, list[float]] = defaultdict(list)
    for one_of in measured:
        for name, value in one_of.items():
            found[name].append(value)
    said = []
    for name, values in found.items():
        words, _, unit = name.rpartition("_")
        if unit in ("s", "mib"):
            said.append(f"{words.replace('_', ' ')} {statistics.median(values):.2f} (most {max(values):.2f}) {unit.replace('mib', 'MiB')}")
        else:
            said.append(f"{name.replace('_', ' ')} {sum(values):,}")
    return ", ".join(said)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
