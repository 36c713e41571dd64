"""A night of good logs with bad input mixed in, through the real cleaning: is every object accounted for, and no good one lost?

`python -m benchmarks.corpus_mix [--good 1000000] [--out FOLDER]` writes a landing zone of generated good lines, one line of `tests.corpus`
after each 1,000 of them (cycling) and its refused files beside them, runs `python -m jobs clean` on it, and compares what came out with
what was written. Exit code 1 unless all is exact.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from recsys_core.lake import Lake
from tests.corpus import DAY, LINES, SECRET, Line, numbered
from tests.corpus_files import FILES

N_FILES = 8
USERS, ITEMS = 20_000, 5_000
TYPES = ("view", "click", "add_to_cart", "purchase", "rating", "review", "search", "favorite")
WEIGHTS = (50, 20, 8, 6, 5, 5, 5, 1)
WORDS = {
    "en": ("a", "really", "great", "wooden", "train", "not", "bad", "for", "my", "children", "it", "broke", "after", "two", "days"),
    "zh": ("这款", "木制", "火车", "质量", "很好", "孩子", "非常", "喜欢", "价格", "有点", "贵", "包装", "不错", "推荐", "大家"),
}
COUNTS = ("lines", "objects", "good", "repaired", "quarantined")


def good_lines(n: int, seed: int) -> Iterator[bytes]:
    """n lines of events `e0`, `e1`, … in time order; nothing about them needs a repair."""
    r = random.Random(seed)
    for i, kind in enumerate(r.choices(TYPES, WEIGHTS, k=n)):
        second = i * 86_000 // n
        user, chinese = int(USERS * r.random() ** 1.5), r.random() < 0.3
        row = {
            "event_id": f"e{i}",
            "user_id": f"u{user}",
            "item_id": f"i{int(ITEMS * r.random() ** 2)}",
            "event_type": kind,
            "ts": f"{DAY}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{r.randrange(1000):03}Z",
            "session_id": f"s{user}-{second // 1800}",
            "device": r.choice(("mobile", "desktop", "tablet")),
            "region": r.choice(("CN", "DE", "US")),
            "dwell_s": round(r.expovariate(1 / 30), 1),
        }
        words = r.choices(WORDS["zh" if chinese else "en"], k=r.randint(4, 30))
        if kind == "review":
            row |= {"text": ("" if chinese else " ").join(words), "rating": r.randint(1, 5)}
        elif kind == "search":
            row |= {"query": ("" if chinese else " ").join(words[:3])}
        elif kind == "rating":
            row |= {"rating": r.randint(1, 5)}
        elif kind == "purchase":
            row |= {"price": r.randint(100, 20_000) / 100, "quantity": r.randint(1, 3)}
        yield json.dumps(row, ensure_ascii=False).encode()


def write(landing: Path, n: int, every: int, seed: int) -> tuple[Counter[str], dict[str, str]]:
    """(how many objects must come out as what, refused file → code) of a landing zone that is written."""
    folder = landing / f"events/ds={DAY}"
    folder.mkdir(parents=True)
    expected: Counter[str] = Counter()
    with ExitStack() as stack:
        parts = [stack.enter_context(gzip.open(folder / f"part-{k}.jsonl.gz", "wb", 1)) for k in range(N_FILES)]
        cases: Iterator[tuple[int, Line]] = enumerate(itertools.cycle(LINES))
        for i, good in enumerate(good_lines(n, seed)):
            part = parts[i * N_FILES // n]
            part.write(good + b"\n")
            expected.update(("lines", "objects", "good"))
            if i % every == every - 1:
                number, case = next(cases)
                part.write(numbered(case.data, f"c{number}-") + b"\n")
                expected["lines"] += case.data.count(b"\n") + 1
                expected["objects"] += len(case.outcomes)
                expected.update(o.verdict for o in case.outcomes)
    refused = {f"f{k:02}-{c.file}": c for k, c in enumerate(FILES) if c.reason}
    for name, file in refused.items():
        (folder / name).write_bytes(numbered(file.data, name.split("-", maxsplit=1)[0]))
    return expected, {name: file.reason or "" for name, file in refused.items()}


def clean(landing: Path, lake: Path) -> tuple[float, float]:
    """(wall seconds, peak memory in GB of all processes together) of the night's cleaning."""
    settings = {"LANDING": str(landing), "LAKE": str(lake), "USER_KEY_SECRET": SECRET, "SETTINGS_FILE": os.devnull}
    started, peak = time.perf_counter(), 0
    argv = [sys.executable, "-m", "jobs", "clean", "--ds", str(DAY)]
    with subprocess.Popen(argv, env=os.environ | settings, start_new_session=True) as process:
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        while waiter.is_alive():
            peak = max(peak, _memory(process.pid))
            waiter.join(0.2)
    if process.returncode:
        raise click.ClickException(f"cleaning failed with exit code {process.returncode}")
    return time.perf_counter() - started, peak / 1e9


def _memory(session: int) -> int:
    """Bytes that the processes of a session hold, shared pages divided among them (Linux)."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                fields = dict(row.split(":", 1) for row in (stat.parent / "smaps_rollup").read_text().splitlines()[1:])
                found += int(fields["Pss"].split()[0]) * 1024
        except (OSError, ProcessLookupError, KeyError):
            continue  # it ended meanwhile
    return found


@click.command(help=__doc__)
@click.option("--good", default=1_000_000, help="good lines to generate")
@click.option("--every", default=1000, help="good lines between two lines of the corpus")
@click.option("--seed", default=0, help="of the generator")
@click.option("--out", type=click.Path(path_type=Path), help="empty folder to keep the landing zone and the lake in")
def main(good: int, every: int, seed: int, out: Path | None) -> None:
    """Print what came out beside what was expected; exit 1 when anything differs."""
    with ExitStack() as stack:
        out = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corpus-mix-")))
        started = time.perf_counter()
        expected, refused = write(out / "landing", good, every, seed)
        click.echo(f"written in {time.perf_counter() - started:.0f} s: {good:,} good lines, {len(refused)} files to be refused")
        seconds, memory = clean(out / "landing", out / "lake")
        sys.exit(0 if compare(Lake(str(out / "lake")), good, expected, refused, seconds, memory) else 1)


def compare(lake: Lake, good: int, expected: Counter[str], refused: dict[str, str], seconds: float, memory: float) -> bool:
    """Whether the lake holds what was written, after that is printed."""
    files = lake.read("landing_file", [DAY]).to_pylist()
    found = {n: sum(f[f"n_{n}"] for f in files) for n in COUNTS}
    balance = found["objects"] - found["good"] - found["repaired"] - found["quarantined"]
    reasons = {f["file"].rpartition("/")[2]: f["reason"] for f in files if f["reason"]}
    repairs = lake.read("event_clean", [DAY], ["event_id", "repairs"]).to_pydict()
    kept = Counter(e for e, codes in zip(repairs["event_id"], repairs["repairs"], strict=True) if not codes)
    ids = {f"e{i}" for i in range(good)}
    lost, twice = len(ids - kept.keys()), sum(n > 1 for n in kept.values())
    exact = found == {n: expected[n] for n in COUNTS} and not (balance or lost or twice) and reasons == refused
    rows: list[tuple[str, int, int]] = [(n, found[n], expected[n]) for n in COUNTS]
    rows += [("files refused", len(reasons), len(refused)), ("balance", balance, 0), ("good lost", lost, 0), ("good twice", twice, 0)]
    click.echo(f"{'':14} {'found':>12} {'expected':>12}")
    for name, value, wanted in rows:
        click.echo(f"{name:14} {value:12,} {wanted:12,}{'' if value == wanted else '  <- differs'}")
    for name in sorted(reasons.keys() ^ refused.keys() | {n for n in reasons.keys() & refused.keys() if reasons[n] != refused[n]}):
        click.echo(f"{name}: refused as {reasons.get(name)}, expected {refused.get(name)}")
    click.echo(
        f"{seconds:.1f} s, {found['objects'] / seconds:,.0f} objects/s, peak memory {memory:.2f} GB: {'exact' if exact else 'NOT EXACT'}"
    )
    return exact


if __name__ == "__main__":
    main()
