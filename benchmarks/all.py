"""Speed beside others, one benchmark after the other: `python -m benchmarks all [--only night,clean]`.

Each one's tables go into docs/benchmarks.md, between `<!-- NAME -->` and `<!-- /NAME -->`, as soon as it is done; the goals and what was
reached into the section `goals`; all figures into benchmarks/results.json. With --only the others stay as they are. Where the machine has
other work, read ratios, not seconds.

\b
Benchmarks, and about how long each takes on two cores:
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import click

from benchmarks import ways
from benchmarks.report import Section, made
from recsys_core.tables import splice

SECTIONS = {
    "night": Section("six minutes", (("", "night"),)),
    "backfill": Section("eight minutes", (("", "backfill"),)),
    "clean": Section("three minutes", (("", "clean"),)),
    "windows": Section("eight minutes", (("", "windows"),)),
    "embed": Section("four minutes", (("", "embed"),)),
    "kmeans": Section("one minute", (("", "kmeans"),)),
    "lda": Section("three minutes", (("", "lda"),)),
    "topn-speed": Section("two minutes", (("", "topn-speed"),)),
    "models": Section("four minutes", (("", "models"),)),
    "publish": Section("five minutes", (("", "publish"),)),
    "cluster": Section("four minutes", (("", "cluster"),)),
}


def goals(aims: dict[str, list[dict[str, Any]]]) -> str:
    """The goals of all benchmarks as a Markdown table."""
    rows = [
        f"| `{name}` | {a['what']} | {a['goal']} | {a['reached']} | {'yes' if a['met'] else '**no**'} |"
        for name in aims
        for a in aims[name]
    ]
    return "\n".join(["", "| benchmark | what | goal | reached | met |", "|---|---|---|---|---|", *rows, "", ""])


@click.command(help=__doc__ + "\n".join(f"  {name:14} {section.takes}" for name, section in SECTIONS.items()))
@click.option("--only", help="benchmarks, comma-separated  [default: all]")
@click.option("--docs", type=click.Path(exists=True, dir_okay=False, path_type=Path), default="docs/benchmarks.md", show_default=True)
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default="benchmarks/results.json", show_default=True)
def main(only: str | None, docs: Path, results: Path) -> None:
    """Run the benchmarks and write what came out."""
    names = only.split(",") if only else [*SECTIONS]
    if unknown := [name for name in names if name not in SECTIONS]:
        raise click.UsageError(f"no benchmark of speed is named {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    known = json.loads(results.read_text(encoding="utf-8"))["benchmarks"] if results.exists() else {}
    failed: list[str] = []
    for name in names:
        begun = time.perf_counter()
        ways.RECORDS.clear()
        ways.AIMS.clear()
        try:
            text = made(SECTIONS[name], Path())
        except (click.ClickException, RuntimeError) as error:
            failed.append(name)
            click.echo(f"{name}: {error}", err=True)
            continue
        took = time.perf_counter() - begun
        known[name] = {"tables": [*ways.RECORDS], "goals": [*ways.AIMS], "took_s": round(took)}
        ordered = {n: known[n] for n in SECTIONS if n in known}
        machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        results.write_text(json.dumps({"machine": machine, "benchmarks": ordered}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        whole = splice(docs.read_text(encoding="utf-8"), name, text)
        docs.write_text(splice(whole, "goals", goals({n: r["goals"] for n, r in ordered.items()})), encoding="utf-8")
        click.echo(f"{name}: {took:,.0f} s")
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; what the others found is written")


if __name__ == "__main__":
    main()
