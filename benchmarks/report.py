"""Make the tables of docs/benchmarks.md again: `python -m benchmarks report --data DIR [--only topn-beauty,topn-ml-100k]`.

DIR (or BENCHMARK_DATA) has folders bench, steam, stackexchange and online-retail, as far as the tables asked for need them. A section is
what stands between `<!-- NAME -->` and `<!-- /NAME -->`; it is replaced as soon as its commands are done, so that what a stopped run has
made stays, and --only goes on with the rest. The text around the sections is written by hand: read it against the new figures.

\b
Sections, and about how long each takes on two cores:
"""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from dataclasses import dataclass
from pathlib import Path

import click

from recsys_core.tables import splice


@dataclass(frozen=True)
class Section:
    """Commands that make a section: (caption, or '' where one table is all, the command line; DIR stands for the folder of the data)."""

    takes: str
    runs: tuple[tuple[str, str], ...]


SECTIONS = {
    "topics": Section("an hour", (("", "topics-table --corpus DIR/bench/bbc_news/corpus.tsv"),)),
    "stability": Section(
        "half an hour",
        tuple((f"Reviews of the last {n} nights", f"stability --data DIR/steam --nights {n}") for n in (365, 180, 90)),
    ),
    "delay": Section(
        "ten minutes",
        (
            ("Simulated shops", "delay"),
            ("Stack Exchange, spliced", "delay --source stackexchange --data DIR/stackexchange --active-events 10"),
            ("Steam, spliced", "delay --source steam --data DIR/steam --least 10 --active-events 3"),
        ),
    ),
    "topn-beauty": Section("half an hour", (("", "topn-table --data DIR/bench --only beauty --slow"),)),
    "topn-ml-100k": Section("ten minutes", (("", "topn-table --data DIR/bench --only ml-100k --budget-s 120"),)),
    "lists": Section(
        "ten minutes",
        (
            ("Steam", "lists --source steam --data DIR/steam"),
            ("Online Retail, what was bought never again", "lists --source online-retail --data DIR/online-retail/by-day.tar.gz"),
            ("Online Retail, repeat purchases allowed", "lists --source online-retail --data DIR/online-retail/by-day.tar.gz --repeats"),
            ("Simulated shop", "lists --source simulated --nights 14 --seed 12"),
        ),
    ),
}


def markdown(output: str) -> str:
    """What a benchmark prints as Markdown: its tables and what it says of them in lists; columns apart by ` | ` become a table.

    >>> print(markdown("3 users\\na | b\\n1 | 2"))
    | a | b |
    |---|---|
    | 1 | 2 |
    >>> print(markdown("seed 1\\n\\n| a |\\n|---|\\n| 1 |\\n\\n- small"))
    | a |
    |---|
    | 1 |
    <BLANKLINE>
    - small
    """
    lines = output.splitlines()
    if not any(line.startswith("|") for line in lines):
        rows = [f"| {line.strip()} |" for line in lines if " | " in line]
        return "\n".join([*rows[:1], "|---" * (rows[0].count(" | ") + 1) + "|", *rows[1:]]) if rows else ""
    kept = [line for line in lines if line.startswith(("|", "- ")) or not line]
    return "\n".join(line for n, line in enumerate(kept) if line or (n and kept[n - 1])).strip()


def made(section: Section, data: Path) -> str:
    """A section's text; RuntimeError where a command prints no table."""
    parts = []
    for caption, line in section.runs:
        name, *arguments = line.split()
        command: click.Command = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").main
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            command.main([a.replace("DIR", str(data), 1) for a in arguments], standalone_mode=False)
        text = markdown(printed.getvalue())
        if not text:
            raise RuntimeError(f"`python -m benchmarks {line}` printed no table")
        parts.append(f"{caption} (`{line}`):\n\n{text}" if caption else text)
    return "\n" + "\n\n".join(parts) + "\n\n"


def missing(section: Section, data: Path) -> list[str]:
    """Paths below the folder of the data that a section's commands name and that are not there."""
    return [
        w for _, line in section.runs for w in line.split() if w.startswith("DIR/") and not Path(w.replace("DIR", str(data), 1)).exists()
    ]


@click.command(help=__doc__ + "\n".join(f"  {name:14} {section.takes}" for name, section in SECTIONS.items()))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, envvar="BENCHMARK_DATA")
@click.option("--only", default=",".join(SECTIONS), help="sections, comma-separated  [default: all]")
@click.option("--docs", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="docs/benchmarks.md", show_default=True)
def main(data: Path, only: str, docs: Path) -> None:
    """Make sections one after the other."""
    names = only.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise click.UsageError(f"no section is named {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    try:
        for name in names:
            splice(docs.read_text(encoding="utf-8"), name, "")
            if gone := missing(SECTIONS[name], data):
                raise ValueError(f"{name} needs {', '.join(gone)}; DIR is {data}: leave it out with --only, or fetch the data")
    except ValueError as error:
        raise click.UsageError(f"{docs}: {error}" if "no section" in str(error) else str(error)) from error
    for name in names:
        begun = time.perf_counter()
        text = made(SECTIONS[name], data)
        docs.write_text(splice(docs.read_text(encoding="utf-8"), name, text), encoding="utf-8")
        click.echo(f"{name}: {time.perf_counter() - begun:,.0f} s")


if __name__ == "__main__":
    main()
