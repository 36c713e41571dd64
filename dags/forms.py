"""The fields of the DAGs' forms; what they refuse is refused by REST and the command line, too."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk import Param

from dags.days import DAY


def day_param(title: str, description: str) -> Param:
    """A date of the form, blank unless it is filled in; form, REST and command line refuse what is none, or in the future."""
    return Param(None, type=["null", "string"], format="date", allOf=[{"format": DAY}], title=title, description_md=description)


CHANGED = "changed"  # the form takes a blank choice for a field that was forgotten


def rebuild_param(names: Sequence[str]) -> Param:
    """What is run although nothing has changed: nothing, everything, or one of the stages."""
    said = {CHANGED: "what has changed", "everything": "everything", **{name: f"the stage {name}, and what has changed" for name in names}}
    return Param(
        CHANGED,
        type="string",
        enum=list(said),
        values_display=said,
        title="Rebuild",
        description_md="Jobs whose inputs, code, settings and models equal those of the live run are skipped, unless they are chosen here.",
    )
