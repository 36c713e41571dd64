"""What DAGs and tasks say of themselves in the UI, from the registry of jobs."""

from __future__ import annotations

from collections.abc import Mapping

from jobs import ALL, Job, stages


def _reads_and_writes(registry: Mapping[str, Job], names: list[str]) -> tuple[str, str]:
    """Tables that the jobs read, with how many nights of each where it isn't one, and those that they write, as Markdown."""
    jobs = [registry[name] for name in names]
    writes = dict.fromkeys(table for job in jobs for table in job.writes)
    reads: dict[str, int] = {}
    for job in jobs:
        for table, nights in job.reads.items():
            if table not in writes or nights > 1:
                reads[table] = max(nights, reads.get(table, 1))
    looks = ", ".join(f"`{t}`" + ("" if n == 1 else " (all nights)" if n == ALL else f" ({n} nights)") for t, n in reads.items())
    return looks or "what has landed", ", ".join(f"`{t}`" for t in writes) or "the warehouse or the models"


def stage_doc(registry: Mapping[str, Job], names: list[str]) -> str:
    """What the task of a stage does, with what it reads and writes, and what its states mean, as Markdown."""
    reads, writes = _reads_and_writes(registry, names)
    steps = "\n".join(f"- **{name}**: {registry[name].help}" for name in names)
    return (
        f"{steps}\n\n**Reads** {reads}.  \n**Writes** {writes}.\n\n"
        "**Waiting (up for reschedule)**: an earlier night that this one looks back on is still being built; the log names it.  \n"
        "**Failed**: the last log line says what is wrong and the remedy. Nothing half-written is visible: what was live before still is. "
        "After the repair press *Clear task*; finished jobs with equal inputs are skipped."
    )


def stages_doc(registry: Mapping[str, Job]) -> str:
    """What each stage reads and writes, and what to do about a task that is not green, as Markdown."""
    rows = [f"| **{stage}** | {' | '.join(_reads_and_writes(registry, names))} |" for stage, names in stages(registry).items()]
    return "\n".join(["", "#### What it reads and writes", "", "| stage | reads | writes |", "|---|---|---|", *rows, "", STATES_DOC])


STATES_DOC = """#### What a colour means, and what to press

| a task is | because | press |
|---|---|---|
| up for reschedule | the night is not over, or one that it looks back on is being built: the log names it | nothing: it goes on by itself |
| up for retry | the try failed, two minutes ago at most | nothing, unless the next ones fail too |
| failed | the last line of its log says what is wrong and the remedy; what was published before still is | mend it, then **Clear task** |
| upstream failed | an earlier stage failed | **Clear task** on that one |
| skipped | nothing was delivered for that night | nothing; deliver, then **Clear** the run |

Each remedy in full: `docs/operations.md`.
"""

READY_DOC = (
    "Looks at the clock and the landing zone only, without Spark: **done** when the night is over (its local end plus the grace "
    "setting); **waiting** while it is not; **skipped** when nothing was delivered for it; **failed** at once when the date is in the "
    "future or impossible: then trigger the DAG again with another `ds`."
)
