"""Known vulnerabilities of the pinned packages, and a bill of materials: `make audit`.

`docker/waivers.toml` names advisories that do not matter here, each with a reason and the day until which that is believed. One that has
run out, or that no pinned package has any more, fails like a vulnerability. Nothing is said to be sound that could not be looked up.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OSV = "https://api.osv.dev/v1/query"


class AuditError(Exception):
    """The audit could not be made, or a waiver is none; the message says why."""


def advisories(requirements: Path, osv_url: str) -> list[dict[str, Any]]:
    """What is known against the pinned packages: package, version, ids, fixed in, description; AuditError when it cannot be looked up."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--disable-pip", "--no-deps"]
    command += ["--vulnerability-service", "osv", "--osv-url", osv_url, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit {done.returncode}")
        raise AuditError(f"the advisories at {osv_url} could not be asked, so nothing is known of any package: {why[:300]}") from None
    if skipped := [p["name"] for p in packages if "skip_reason" in p]:
        raise AuditError(f"{', '.join(skipped)} could not be looked up: pin them as `make lock` does")
    return [
        {
            "package": p["name"],
            "version": p["version"],
            "ids": [v["id"], *v["aliases"]],
            "fixed": v["fix_versions"],
            "text": v["description"],
        }
        for p in packages
        for v in p["vulns"]
    ]


def waivers(text: str) -> dict[str, tuple[str, dt.date]]:
    """Advisory → (reason, until); AuditError for one without either."""
    found = {}
    for name, entry in tomllib.loads(text).items():
        reason, until = entry.get("reason"), entry.get("until")
        if not isinstance(reason, str) or not reason.strip() or not isinstance(until, dt.date):
            raise AuditError(f'waiver {name}: write reason = "…" and until = 2027-01-31')
        found[name] = reason, until
    return found


def faults(found: Sequence[Mapping[str, Any]], waived: Mapping[str, tuple[str, dt.date]], today: dt.date) -> list[str]:
    """A line for each vulnerability that is not waived, and for each waiver that has run out or is of no use."""
    lines, used = [], set()
    for one in found:
        names = set(one["ids"]) & waived.keys()
        used |= names
        if not any(waived[name][1] >= today for name in names):
            fixed = f"fixed in {', '.join(one['fixed'])}" if one["fixed"] else "not fixed yet"
            lines.append(f"{one['package']} {one['version']}: {one['ids'][0]} ({fixed}): {one['text'][:160]}")
    lines += [f"waiver {name} has run out on {waived[name][1]}" for name in sorted(used) if waived[name][1] < today]
    return lines + [f"waiver {name} is of no use: no pinned package has it" for name in sorted(waived.keys() - used)]


def bill(requirements: Path, out: Path) -> int:
    """Write the pinned packages as CycloneDX JSON; returns how many they are."""
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(requirements), "--output-reproducible"]
    done = subprocess.run([*command, "--of", "JSON", "-o", str(out)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AuditError(f"no bill of materials was made: {done.stderr.strip()[-300:]}")
    return len(json.loads(out.read_text(encoding="utf-8"))["components"])


def main(argv: Sequence[str] | None = None) -> int:
    """Write var/sbom.json and say what is known against it: 0 nothing, 1 something, 2 could not be looked up."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements.txt")
    parser.add_argument("--waivers", type=Path, default=ROOT / "docker" / "waivers.toml")
    parser.add_argument("--sbom", type=Path, default=ROOT / "var" / "sbom.json")
    parser.add_argument("--osv-url", default=OSV)
    given = parser.parse_args(argv)
    try:
        n = bill(given.requirements, given.sbom)
        print(f"audit: {n} packages in {given.sbom}")
        waived = waivers(given.waivers.read_text(encoding="utf-8"))
        lines = faults(advisories(given.requirements, given.osv_url), waived, dt.datetime.now(dt.UTC).date())
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines) or f"audit: nothing is known against the {n} packages ({len(waived)} waivers)")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
