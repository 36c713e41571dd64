"""Runs nights on the services of docker/compose.yaml as processes, and kills each of them in the middle of the work."""

from __future__ import annotations

import datetime as dt
import random
import re
import subprocess
import time
from contextlib import suppress
from typing import Any

from docker.postgres import served
from tests.composed import LASTING, REPO, Site
from tests.faults.models import checksums
from tests.faults.stand import OLD, Place, grown
from tests.shop import ONE_DAY, SECRET

NIGHTS, WITHIN_S = 10, 2 * 3600.0
POSTGRES = "postgres"


def trial(n: int, rng: random.Random, place: Place) -> dict[str, Any]:
    """Nights of a backfill (the short form: one by hand) equal undisturbed ones, though every service is killed once."""
    count = 1 if place.stand.short else NIGHTS
    nights = [OLD + k * ONE_DAY for k in range(count)]
    undisturbed = grown(place.folder / "undisturbed", count + 2)
    site_folder = place.folder / "site"
    shop = undisturbed.copy(site_folder / "data", landing=True)
    undisturbed.runner().nights(nights[0], nights[-1])
    with served() as server:
        site = Site(
            site_folder,
            server,
            settings={"SPARK_FROM_ROWS": "100" if place.stand.short else "0"},  # facts alone, or all that Spark can do
            variables={"WORKER_MEMORY": "1g", "EXECUTOR_MEMORY": "700m", "SHUFFLE_PARTITIONS": "4"},
        )
        (site.secrets / "user_key_secret").write_text(SECRET)
        began = time.monotonic()
        try:
            site.up()
            _begin(site, nights)
            killed = _disturb(site, rng)
            site.wait(lambda: _ended(site), WITHIN_S)
            took_s = time.monotonic() - began
            states = {run["run_id"]: run["state"] for run in site.runs()}
            assert killed
            assert set(states.values()) == {"success"}, (states, [site.logs(run) for run, state in states.items() if state != "success"])
            no_door_is_open(site)
            shop.warehouse_url = f"{server.url.rpartition('/')[0]}/interests"
            wanted, found = checksums(undisturbed, nights), checksums(shop, nights)
        finally:
            site.down()
    different = sorted(key for key in wanted if found.get(key) != wanted[key])
    assert not different, different
    return {"nights": count, "killed": len(killed), "restarted": len(site.restarts), "all_s": took_s}


def _begin(site: Site, nights: list[dt.date]) -> None:
    """One night by hand, or a backfill of several."""
    if len(nights) == 1:
        site.trigger("by-hand", str(nights[0]))
        return
    ends = ["--from-date", str(nights[0]), "--to-date", str(nights[-1])]
    command = [*site.command("migrate")[:3], "backfill", "create", "--dag-id", "nightly", *ends, "--max-active-runs", "2"]
    subprocess.run(command, env=site.environment("scheduler"), cwd=REPO, check=True, capture_output=True)


def _disturb(site: Site, rng: random.Random) -> list[str]:
    """Kills every service once, in any order, each while a task runs, and starts it again; those killed before all was done."""
    order = [*LASTING, POSTGRES]
    rng.shuffle(order)
    for k, name in enumerate(order):
        site.wait(lambda: _working(site) or _ended(site), WITHIN_S)
        if _ended(site):
            return order[:k]
        time.sleep(rng.uniform(0, 2))
        if name == POSTGRES:
            site.postgres.crash()
            site.postgres.start()
        else:
            site.kill(name)
            time.sleep(rng.uniform(0, 2))
            site.start(name)
            if name in ("api-server", "spark-master"):
                site.wait(lambda name=name: site.healthy(name), 120)  # type: ignore[misc]
    return order


def _working(site: Site) -> bool:
    """Whether a task runs; a database or a server that is just coming up says no."""
    with suppress(OSError):
        return "running" in {state for run in site.runs() for state in site.tasks(run["run_id"]).values()}
    return False


def _ended(site: Site) -> bool:
    """Whether no run has anything left to do."""
    with suppress(OSError):
        states = [run["state"] for run in site.runs()]
        return not {"queued", "running"} & set(states)
    return False


def no_door_is_open(site: Site) -> None:
    """Spark asks for its secret and takes no application over REST; no secret stands in a log."""
    said = (site.folder / "spark-master.log").read_text(errors="replace")
    assert "authentication enabled" in said
    assert "Started REST server" not in said
    assert len(list((site.folder / "tmp").glob("spark-worker*/app-*"))) >= 2, "no application ran on the workers"
    logs = [path.read_text(errors="replace") for path in (*site.folder.glob("*.log"), *(site.folder / "logs").rglob("*.log"))]
    secrets = [path.read_text().strip() for path in site.secrets.iterdir() if path.name not in ("settings.env", "compose.env")]
    words = {word for text in secrets for word in re.split(r"[\s:\"{}]+", text) if len(word) > 16 and "." not in word}
    assert len(words) >= 9
    assert not [word for word in words if any(word in log for log in logs)]
