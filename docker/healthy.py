"""Whether a page answers, for health checks: `python -IS healthy.py URL [COMPONENT]`; exit code 0 or 1, and one line of what it said.

With a component's name the page is Airflow's /api/v2/monitor/health, and the component must be `healthy` there. Standard library only.
"""

import json
import sys
import urllib.request


def main(url: str, component: str = "") -> int:
    """0 when it answers and is well."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=8) as answer:
            said = json.load(answer)
    except (OSError, ValueError) as error:
        print(f"{url}: {error}")
        return 1
    state = said[component]["status"] if component else said.get("status", "ALIVE")
    print(f"{component or url}: {state}")
    return 0 if state in ("healthy", "ALIVE") else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
