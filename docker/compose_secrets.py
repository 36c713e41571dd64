"""What docker/compose.yaml reads from files: `python docker/compose_secrets.py [FOLDER]`, once; what is there already is kept.

Fresh secrets, one a file, and compose.env with the user that containers run as. FOLDER (default var/compose) and all in it are readable for
this user alone; run by root they belong to user 10001, because containers do not run as root. Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOT_ROOT = 10001  # the user of the images
ROLES = {"airflow": "airflow", "interests": "interests"}  # database → its owner


def _word() -> str:
    return secrets.token_urlsafe(24)


def _pgpass() -> str:
    return "".join(f"postgres:5432:{database}:{role}:{secrets.token_hex(24)}\n" for database, role in ROLES.items())


def _spark() -> str:
    conf = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secrets.token_hex(24),
        "spark.network.crypto.enabled": "true",
        "spark.master.rest.enabled": "false",
    }
    return "".join(f"{name} {value}\n" for name, value in conf.items())


FILES: dict[str, Callable[[], str]] = {
    "postgres_password": _word,
    "pgpass": _pgpass,
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "api_key": _word,
    "jwt_secret": _word,
    "user_key_secret": _word,
    "spark-defaults.conf": _spark,
    "passwords.json": lambda: json.dumps({"admin": _word()}) + "\n",
    "grafana_password": _word,
    "settings.env": lambda: "# Settings of the jobs beside those of compose.yaml, like ENCODER=minilm: jobs/settings.py lists them all.\n",
}


def make(folder: Path, user: int) -> list[str]:
    """Makes what is missing in the folder; names of the files it made."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    said = f"COMPOSE_PROJECT_NAME=nightly-interests\nCOMPOSE_PROFILES=cpu\nRUN_AS={user}\nSECRETS={folder}\n"
    made = []
    for name, text in {**FILES, "compose.env": lambda: said}.items():
        path = folder / name
        if path.exists():
            continue
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text())
        made.append(name)
    if user != os.geteuid():
        for path in (folder, *folder.iterdir()):
            os.chown(path, user, 0)
    return made


def main(arguments: list[str]) -> int:
    """0; says what was made and what to type next."""
    folder = Path(arguments[0] if arguments else ROOT / "var" / "compose").resolve()
    made = make(folder, os.geteuid() or NOT_ROOT)
    print(f"{folder}: " + (f"made {', '.join(made)}" if made else "all is there, nothing was changed"))
    print(f"Airflow's admin has the password in {folder / 'passwords.json'}")
    compose = f"docker compose -f docker/compose.yaml --env-file {folder / 'compose.env'}"
    print(f"Next: {compose} build spark-master && {compose} up --build -d")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
