"""What becomes of every line of Online Retail: `python -m benchmarks.online_retail --data FOLDER [--out FOLDER] [--to 2010-12-31]`.

Lands the data set, cleans every night, and prints a table whose rows add up to the lines of the input.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import pyarrow.compute as pc

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.parse.rules import RULES
from recsys_core.sources import land


@click.command()
@click.option("--data", type=click.Path(exists=True), required=True, help="the data set: a CSV, a folder of daily CSVs or by-day.tar.gz")
@click.option("--out", type=click.Path(path_type=Path), help="where landing zone and lake are kept [default: a temporary folder]")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]))
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]))
def main(data: str, out: Path | None, first: dt.datetime | None, last: dt.datetime | None) -> None:
    """Land, clean and count."""
    with tempfile.TemporaryDirectory() as folder:
        root = out or Path(folder)
        report = land("online-retail", data, str(root / "landing"), first.date() if first else None, last.date() if last else None)
        print(report)
        began = time.perf_counter()
        runner = Runner(Settings(landing=str(root / "landing"), lake=str(root / "lake"), user_key_secret="benchmark"), lambda line: None)
        nights = list(report.nights)
        runner.nights(nights[0], nights[-1], ("clean",))
        seconds = time.perf_counter() - began
        table: Counter[str] = Counter()
        files = runner.lake.read("landing_file", nights).filter(pc.field("kind") == "events").to_pylist()
        for row in files:
            codes = json.loads(row["by_reason"])
            table.update({f"quarantined, {code}: {RULES[code][1]}": n for code, n in codes.items() if RULES[code][0] == "quarantined"})
            table["repeated event_id, counted once"] += codes.get("dedup", 0)
            table["refused files"] += row["reason"] is not None
        for ds in nights:
            for row in pc.value_counts(runner.lake.read("event_clean", [ds], ["event_type"])["event_type"]).to_pylist():
                table[f"accepted, {row['values']}"] += row["counts"]
        runner.close()
        for what, n in sorted((+table).items(), key=lambda entry: (-entry[1], entry[0])):
            print(f"{n:>9,}  {what}")
        read = report.rows_read - report.outside_range
        print(f"{table.total():>9,}  in all, of {read:,} lines read")
        print(f"{len(nights)} nights cleaned in {seconds:,.0f} s, {seconds / len(nights):.2f} s a night")
        if table.total() != read:
            raise click.ClickException("the table does not add up")


if __name__ == "__main__":
    main()
