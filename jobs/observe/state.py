"""`python -m jobs status` and `python -m jobs probe`: how things stand, and whether that is well."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

from recsys_core.status import status

if TYPE_CHECKING:
    from jobs.settings import Settings
    from recsys_core.warehouse import Warehouse

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
ASK_S = 10.0


def state_of(settings: Settings, warehouse: Warehouse, now: dt.datetime) -> dict[str, Any]:
    """`recsys_core.status.status` of the site, and two lists more.

    nights_behind  nights that landed, are over, and are newer than the published one;  warnings  what is dangerous in the settings
    """
    from recsys_core.landing import Landing

    empty: dict[str, Any] = {"night": None, "night_ended_at": None, "age_s": None, "published_at": None, "trigger": None}
    found = (
        status(warehouse.query, now, settings.time_zone)
        if warehouse.exists()
        else empty | {"rows": {}, "failed_checks": [], "models": [], "jobs": []}
    )
    over = [d for d in Landing(settings.landing).nights() if _ended(d, settings) <= now]
    behind = [d.isoformat() for d in over if not found["night"] or d.isoformat() > found["night"]]
    return found | {"nights_behind": behind, "warnings": settings.warnings()}


def _ended(ds: dt.date, settings: Settings) -> dt.datetime:
    from zoneinfo import ZoneInfo

    return dt.datetime.combine(ds + dt.timedelta(days=1), dt.time(), ZoneInfo(settings.time_zone)) + dt.timedelta(seconds=settings.grace_s)


def looked_up(settings: Settings) -> dict[str, Any]:
    """`state_of` now."""
    from recsys_core.warehouse import connect

    with connect(settings.warehouse) as warehouse:
        return state_of(settings, warehouse, dt.datetime.fromtimestamp(time.time(), dt.UTC))


def probe(settings: Settings, max_age_h: float, airflow: str | None) -> tuple[bool, dict[str, Any]]:
    """(whether all is well, what was found): `faults` has one alert, as `jobs.observe.alerts` names them, for each thing that is not.

    Asked from outside, because a dead scheduler sends no alert: the warehouse for the age of its last night, Airflow for its components.
    """
    from recsys_core.lake import LakeError

    faults: list[dict[str, str]] = []
    found: dict[str, Any] = {"night": None, "age_s": None, "nights_behind": None}
    try:
        state = looked_up(settings)
        found = {name: state[name] for name in found} | {"published_at": state["published_at"]}
        age_h = None if state["age_s"] is None else state["age_s"] / 3600
        if age_h is None:
            faults.append({"what": "no_night", "why": "no night is published"})
        elif age_h > max_age_h:
            faults.append({"what": "night_late", "why": f"the last published night ended {age_h:.1f} h ago, {max_age_h:g} h are allowed"})
    except (LakeError, OSError) as error:
        faults.append({"what": "warehouse_unreachable", "why": str(error).splitlines()[0]})
    if airflow:
        faults += [{"what": "airflow_down", "why": why} for why in sick(airflow)]
    return not faults, {"ok": not faults, **found, "faults": faults}


def sick(airflow: str) -> list[str]:
    """What is wrong with the Airflow at a URL, by its own health page; empty when all components are healthy."""
    import httpx2

    try:
        answer = httpx2.get(f"{airflow.rstrip('/')}/api/v2/monitor/health", timeout=ASK_S, trust_env=False)
        answer.raise_for_status()
        health = answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        return [f"the API server does not answer ({type(error).__name__})"]
    return [f"{part} is {said}" for part in COMPONENTS if (said := (health.get(part) or {}).get("status") or "unknown") != "healthy"]
