"""The lock is complete and says what is declared, the set-up script names what is missing, the throw-away server leaves nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import psycopg
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

GROUPS = {"airflow", "jobs", "dev"}
# What a CUDA build of torch brings belongs to that build; the lock names the version of torch alone.
CUDA = re.compile(r"nvidia-.*|cuda-.*|triton")
TOOLS = ("cat", "dirname", "grep", "id", "mkdir", "rm", "sed", "sh", "tail", "tee")


def declared(repo: Path) -> dict[str, list[Requirement]]:
    groups = tomllib.loads((repo / "pyproject.toml").read_text())["dependency-groups"]
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([a-z0-9-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"{path.name}: {line!r} is no plain pin"
        found[match[1]] = match[2]
    return found


def unpinned(roots: list[Requirement], pinned: dict[str, str]) -> dict[str, str]:
    """The requirements reachable from `roots` through installed packages that the pins do not satisfy, and who asks for them."""
    bad: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(root, extra, "pyproject.toml") for root in roots for extra in ("", *root.extras)]
    while todo:
        requirement, extra, asker = todo.pop()
        name = canonicalize_name(requirement.name)
        if name not in pinned or not requirement.specifier.contains(pinned[name], prereleases=True):
            bad[str(requirement)] = asker
            continue
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in distribution(name).requires or []:
            needed = Requirement(line)
            applies = needed.marker is None or needed.marker.evaluate({"extra": extra})
            if applies and not (name == "torch" and CUDA.fullmatch(canonicalize_name(needed.name))):
                todo += [(needed, inner, name) for inner in ("", *needed.extras)]
    return bad


def test_groups_are_those_that_make_lock_compiles(repo_root: Path) -> None:
    makefile = (repo_root / "Makefile").read_text()
    assert set(declared(repo_root)) == GROUPS
    assert set(re.findall(r"--group (\w+)", makefile)) == GROUPS
    assert set(re.findall(r"call lock_file,([\w/]+\.txt),", makefile)) == {"requirements.txt", "docker/airflow.txt", "docker/jobs.txt"}


def test_every_declared_requirement_is_pinned_at_a_version_it_allows(repo_root: Path) -> None:
    pinned = pins(repo_root / "requirements.txt")
    for group, requirements in declared(repo_root).items():
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            assert name in pinned, f"{group}: {requirement} is not in requirements.txt; run `make lock`"
            assert requirement.specifier.contains(pinned[name]), f"{group}: {requirement} but {pinned[name]} is pinned; run `make lock`"


@pytest.mark.parametrize("group", ["airflow", "jobs"])
def test_an_images_pins_are_the_part_of_the_lock_its_group_needs(repo_root: Path, group: str) -> None:
    image = pins(repo_root / "docker" / f"{group}.txt")
    assert image.items() <= pins(repo_root / "requirements.txt").items()
    assert unpinned(declared(repo_root)[group], image) == {}


def test_the_lock_is_complete_and_is_what_is_installed(repo_root: Path) -> None:
    pinned = pins(repo_root / "requirements.txt")
    assert unpinned([line for lines in declared(repo_root).values() for line in lines], pinned) == {}
    installed = {}
    for name in pinned:
        try:
            installed[name] = Version(distribution(name).version).public
        except PackageNotFoundError:
            installed[name] = "not installed"
    assert installed == {name: str(Version(version)) for name, version in pinned.items()}, "run `sh docker/bootstrap.sh`"


def test_an_unpinned_dependency_is_noticed() -> None:
    roots = [Requirement("psycopg[binary]==3.3.9")]
    assert unpinned(roots, {"psycopg": "3.3.9", "typing-extensions": "4.16.0"}).keys() == {
        'psycopg-binary==3.3.9; implementation_name != "pypy" and extra == "binary"'
    }
    assert unpinned(roots, {"psycopg": "3.3.8"}) == {"psycopg[binary]==3.3.9": "pyproject.toml"}


def test_nothing_pinned_overwrites_pyspark(repo_root: Path) -> None:
    assert not {"pyspark-client", "pyspark-connect", "apache-airflow-providers-apache-spark"} & pins(repo_root / "requirements.txt").keys()


@pytest.fixture
def bare_checkout(repo_root: Path, tmp_path: Path) -> Path:
    """A checkout with the set-up script alone, and beside it a PATH with a shell's own tools and nothing else."""
    (tmp_path / "docker").mkdir()
    shutil.copy(repo_root / "docker" / "bootstrap.sh", tmp_path / "docker")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def bootstrap(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "bin" / "sh"), str(checkout / "docker" / "bootstrap.sh"), *args]
    return subprocess.run(command, env={"PATH": str(checkout / "bin")} | env, capture_output=True, text=True, timeout=60, check=False)


def test_set_up_names_a_missing_python(bare_checkout: Path) -> None:
    done = bootstrap(bare_checkout)
    assert done.returncode == 1
    assert re.fullmatch(r"set-up: Python 3\.11 was not found; install it .*\n", done.stderr)


def test_set_up_refuses_an_unknown_argument(bare_checkout: Path) -> None:
    assert bootstrap(bare_checkout, "everything").returncode == 2


@pytest.mark.parametrize(
    ("version", "java_home", "says"),
    [
        (None, False, "and none was found; install it"),
        ("1.8.0_402", False, "and 1 was found; install it"),
        ("11.0.2", True, "has 11; install it"),
    ],
)
def test_set_up_names_a_missing_or_old_java(bare_checkout: Path, version: str | None, java_home: bool, says: str) -> None:
    (bare_checkout / ".venv" / "bin").mkdir(parents=True)
    answer = bare_checkout / ".venv" / "bin" / "python"
    answer.write_text("#!/bin/sh\n")
    answer.chmod(0o755)
    if version:
        java = bare_checkout / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
        java.chmod(0o755)
    done = bootstrap(bare_checkout, **({"JAVA_HOME": str(bare_checkout)} if java_home else {}))
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def gone(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_throw_away_server_goes_with_its_owner(repo_root: Path, tmp_path: Path, number: signal.Signals) -> None:
    script = "from docker.postgres import serve\nwith serve() as url:\n    print(url, flush=True)\n    input()\n"
    owner = subprocess.Popen([sys.executable, "-c", script], cwd=repo_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin is not None
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    with psycopg.connect(url) as server:
        row = server.execute("SELECT current_setting('data_directory'), current_setting('listen_addresses')").fetchone()
    assert row is not None
    folder = Path(row[0]).parent
    assert row[1] == "127.0.0.1"
    assert folder.is_dir()
    assert folder.stat().st_uid != 0
    os.kill(owner.pid, number)
    owner.wait(timeout=30)
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert gone(url)
    owner.stdin.close()
    owner.stdout.close()


def test_each_test_has_a_database_of_its_own(postgres_db: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_db) as database:
        database.execute("CREATE TABLE only_here (n int)")
    with psycopg.connect(postgres_url) as other:
        row = other.execute("SELECT to_regclass('only_here')").fetchone()
    assert row == (None,)
