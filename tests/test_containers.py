# ruff: noqa: E402 -- Airflow reads its environment while it is imported
"""Images, docker/compose.yaml and pods: what linters, parsers and Airflow make of them; tests/faults/components.py runs the services."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parent.parent
os.environ.setdefault("AIRFLOW_HOME", str(REPO / "var" / "tests" / "airflow"))

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from dags import nightly, places
from dags.operators import JobOperator
from docker import compose_secrets
from jobs.settings import Settings
from tests.composed import COMPOSE, LASTING, filled, services

SERVICES = services()
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
PODS = REPO / "docker" / "k8s" / "pods"
STAGE = ["python", "-m", "jobs", "stage", "texts", "--ds", "2026-03-04", "--trigger", "scheduled"]


# Images


@pytest.mark.parametrize("name", ["jobs", "airflow"])
def test_hadolint_finds_nothing_in_a_dockerfile(name: str) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, REPO / "docker" / f"{name}.Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", ["jobs", "airflow"])
def test_an_image_is_pinned_and_runs_as_nobody_of_note(name: str) -> None:
    text = (REPO / "docker" / f"{name}.Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", text, re.MULTILINE)
    assert f"-r /tmp/{name}.txt" in text
    assert "ARG RUN_AS=10001\n" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["${RUN_AS}:0"]
    assert "ARG UV=" + re.search(r"^uv==(.*)$", (REPO / "requirements.txt").read_text(), re.MULTILINE)[1] in text  # type: ignore[index]


def test_images_take_the_code_and_nothing_that_is_secret_or_large() -> None:
    taken = {line[1:] for line in (REPO / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert taken == {"dags", "docker", "jobs", "recsys_core", "sql", "pyproject.toml", "LICENSE"}
    assert all((REPO / name).exists() for name in taken)


WITHOUT_THE_JOBS = """
import re, sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions

plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
pinned = {plain(line.split("==")[0]) for line in open("docker/airflow.txt") if "==" in line}
absent = {module for module, names in packages_distributions().items() if not pinned & set(map(plain, names))}

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Absent())
from dags import erasure, intraday, nightly, retention, training
from dags.operators import night_zone
print(night_zone(), "scipy" in absent, [name for name in sys.modules if name.startswith("kubernetes")])
"""


def test_airflow_loads_the_dags_and_their_settings_with_its_own_packages_alone(tmp_path: Path) -> None:
    lists = tmp_path / "lists.toml"  # which the jobs alone can read: it takes scipy
    lists.write_text("list_size = 12\n")
    env = os.environ | {"PYTHONPATH": str(REPO), "LISTS_FILE": str(lists), "TIME_ZONE": "Asia/Shanghai"}
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_JOBS], cwd=REPO, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["Asia/Shanghai True []"], done.stderr


# docker/compose.yaml


def test_compose_is_what_its_specification_says() -> None:
    compose_spec = pytest.importorskip("compose_spec")
    parsed = compose_spec.PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(filled())))
    assert set(SERVICES) == {*LASTING, "scheduler-gpu", "postgres", "migrate", "prometheus", "node-exporter", "grafana"} - {
        "spark-worker-2"
    }
    assert parsed.get_service("scheduler") is not None


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:0"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert re.search(r":v?\d+\.\d+", service["image"]), "an image is named by its version"
    if name not in ("migrate", "prometheus", "node-exporter", "grafana"):
        assert service["healthcheck"]["test"]
    asked = json.dumps(service.get("environment", {}))
    assert not re.search(r"(?i)(password|secret|key)\"?: \"(?!/run/|cat /run/)", re.sub(r'"AIRFLOW__EXECUTION_API[^,]*', "", asked)), asked


def test_what_is_mounted_is_there_and_is_where_its_reader_looks() -> None:
    mounts = {str(one) for service in SERVICES.values() for one in service.get("volumes", [])}
    files = {
        there: COMPOSE.parent / here for here, there, *_ in (m.split(":") for m in mounts) if here.startswith(".") and "/var/" not in here
    }
    assert [str(path) for path in files.values() if not path.exists()] == []
    (provider,) = yaml.safe_load(files["/etc/grafana/provisioning/dashboards/dashboards.yaml"].read_text())["providers"]
    assert f"{provider['options']['path']}/nightly-interests.json" in files
    assert yaml.safe_load(files["/etc/prometheus/prometheus.yml"].read_text())["rule_files"] == ["/etc/prometheus/prometheus-rules.yml"]
    named = {m.split(":")[0] for m in mounts if not m.startswith((".", "/"))}
    assert named == set(yaml.safe_load(filled())["volumes"])


def test_what_waits_for_a_service_waits_until_it_is_healthy() -> None:
    waits = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    assert waits["scheduler"] == {"api-server", "spark-master"}
    assert waits["api-server"] == waits["dag-processor"] - {"api-server"} | {"migrate"} == {"migrate"}
    assert waits["migrate"] == {"postgres"}
    for service in SERVICES.values():
        for other, how in service["depends_on"].items() if isinstance(service.get("depends_on"), dict) else ():
            assert how["condition"] == ("service_completed_successfully" if other == "migrate" else "service_healthy")


def test_every_secret_is_a_file_that_one_command_makes_private_and_keeps(tmp_path: Path) -> None:
    made = compose_secrets.make(tmp_path / "secrets", os.geteuid())
    wanted = set(re.findall(r"var/compose\}/([\w.-]+)", COMPOSE.read_text()))
    assert wanted <= set(made) - {"compose.env"}
    kept = {path: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert compose_secrets.make(tmp_path / "secrets", os.geteuid()) == []
    assert {path: path.read_bytes() for path in kept} == kept
    assert "spark.master.rest.enabled false" in (tmp_path / "secrets" / "spark-defaults.conf").read_text()
    given = {
        name for service in SERVICES.values() for name in (s if isinstance(s, str) else s["source"] for s in service.get("secrets", []))
    }
    assert given == set(yaml.safe_load(filled())["secrets"])


# Where a task's command runs


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from a command to the manifest of its pod, as Airflow would send it, in plain data."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from kubernetes.client import ApiClient

    from dags.pods import JobPod

    monkeypatch.setattr(KubernetesHook, "is_in_cluster", True, raising=False)  # there is no cluster to ask
    ti = SimpleNamespace(dag_id="nightly", task_id="texts", try_number=2, map_index=-1)
    context = {"ti": ti, "run_id": "scheduled__2026-03-04T00:00:00+00:00", "dag": nightly.dag}

    def manifest(argv: list[str], templates: Path = PODS) -> dict[str, Any]:
        pod = JobPod.of(argv, Settings(run_jobs="pod", pod_templates=str(templates)))
        return ApiClient().sanitize_for_serialization(pod.build_pod_request_obj(context, dry_run=True))

    return manifest


def test_a_pod_does_the_command_with_the_rights_and_secrets_of_its_template(rendered: Any) -> None:
    pod = rendered(["python", "-m", "jobs", "stage", "facts", "--ds", "2026-03-04"])
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "nightly-interests/jobs:0.1.0"
    assert not container.get("command")  # the image's own, which passes signals on
    assert container["args"] == ["python", "-m", "jobs", "stage", "facts", "--ds", "2026-03-04"]
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "10Gi"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["restartPolicy"] == "Never"
    env = {one["name"]: one for one in container["env"]}
    assert env["PGPASSWORD"]["valueFrom"] == {"secretKeyRef": {"name": "nightly-interests", "key": "pg_password"}}
    assert env["USER_KEY_SECRET_FILE"]["value"].startswith("/run/secrets/")
    assert not any("value" in one and "PASS" in name for name, one in env.items())
    assert pod["metadata"]["namespace"] == "nightly-interests"
    labels = pod["metadata"]["labels"]
    assert (labels["dag_id"], labels["task_id"], labels["try_number"]) == ("nightly", "texts", "2")
    assert labels["app.kubernetes.io/component"] == "job"
    assert re.fullmatch(r"nightly-facts-[a-z0-9]+", pod["metadata"]["name"])


def test_a_stage_of_its_own_file_differs_in_what_that_says_alone(rendered: Any) -> None:
    pod, usual = rendered(STAGE), rendered(["python", "-m", "jobs", "stage", "lists", "--ds", "2026-03-04"])
    (container,), (other,) = pod["spec"]["containers"], usual["spec"]["containers"]
    assert container["image"] == "nightly-interests/jobs:0.1.0-cuda"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert container["securityContext"] == other["securityContext"]
    assert container["env"] == other["env"]
    assert pod["spec"]["volumes"] == usual["spec"]["volumes"]
    assert not usual["spec"].get("nodeSelector")


def test_every_stage_renders_to_a_pod(rendered: Any) -> None:
    for task in nightly.dag.tasks:
        assert rendered(task.argv)["spec"]["containers"][0]["args"] == task.argv


def test_pods_without_templates_are_refused_with_the_remedy(tmp_path: Path) -> None:
    from dags.pods import JobPod

    with pytest.raises(AirflowFailException, match=r"RUN_JOBS=pod needs POD_TEMPLATES.*default\.yaml"):
        JobPod.of(STAGE, Settings(run_jobs="pod", pod_templates=str(tmp_path)))


@pytest.mark.parametrize(
    ("code", "error"), [(0, None), (75, None), (99, AirflowSkipException), (2, AirflowFailException), (1, AirflowException)]
)
def test_the_exit_code_of_a_pod_means_what_it_means_elsewhere(
    code: int, error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kubernetes.client import V1ContainerState, V1ContainerStateTerminated, V1ContainerStatus, V1Pod, V1PodStatus

    from dags.pods import JobPod

    def ended(pod: JobPod, context: Any) -> None:  # what the operator of Airflow leaves behind and raises
        state = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=code))
        status = V1ContainerStatus(image="i", image_id="i", name="base", ready=False, restart_count=0, state=state)
        pod.remote_pod = V1Pod(status=V1PodStatus(container_statuses=[status]))
        pod._said("base", "2026-03-03 is not built yet\n")
        if code:
            raise AirflowException("Pod nightly-facts-x returned a failure.")

    monkeypatch.setattr(JobPod, "execute_sync", ended)
    monkeypatch.setenv("RUN_JOBS", "pod")
    monkeypatch.setenv("POD_TEMPLATES", str(PODS))
    operator = JobOperator(task_id="texts", argv=STAGE)
    if error:
        with pytest.raises(error, match=f"exited with {code}: 2026-03-03 is not built yet") as raised:
            operator.poke({})
        assert type(raised.value) is error
    else:
        assert operator.poke({}) is (code == 0)


def test_a_pod_that_never_ran_fails_the_try_as_kubernetes_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from dags.pods import JobPod

    def refused(pod: JobPod, context: Any) -> None:
        raise AirflowException("ImagePullBackOff")

    monkeypatch.setattr(JobPod, "execute_sync", refused)
    with pytest.raises(AirflowException, match="ImagePullBackOff"):
        JobPod.of(STAGE, Settings(run_jobs="pod", pod_templates=str(PODS))).outcome({})


def test_the_jobs_interpreter_is_a_setting() -> None:
    here = places.process(STAGE, Settings(), spark=True)
    assert here == [sys.executable, *STAGE[1:]]
    assert places.process(STAGE, Settings(jobs_python="/opt/jobs/bin/python"), spark=False) == ["/opt/jobs/bin/python", *STAGE[1:]]


YARN = "spark-submit --master yarn --deploy-mode cluster --conf spark.yarn.appMasterEnv.PYTHONPATH=code --archives code.zip#code submit.py"
K8S = "spark-submit --master k8s://https://k8s:443 --deploy-mode cluster --conf spark.kubernetes.container.image=i local:///app/docker/submit.py"


@pytest.mark.parametrize("prefix", [YARN, K8S])
def test_a_stage_with_spark_is_submitted_and_another_is_not(prefix: str) -> None:
    site = Settings(run_jobs="submit", spark_submit=prefix)
    assert places.process(STAGE, site, spark=True) == [*prefix.split(), *STAGE[3:]]
    assert places.process(STAGE, site, spark=False) == [sys.executable, *STAGE[1:]]
    assert {task.task_id for task in nightly.dag.tasks if task.spark} == {"facts", "texts", "interests"}
    with pytest.raises(AirflowFailException, match="SPARK_SUBMIT"):
        places.process(STAGE, Settings(run_jobs="submit"), spark=True)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("\t diagnostics: User application exited with status 75", 75),
        ("\t exit code: 99", 99),
        ("INFO Client: Application report for application_1 (state: RUNNING)", None),
    ],
)
def test_the_exit_code_of_a_driver_in_the_cluster_is_read_from_what_spark_submit_says(line: str, code: int | None) -> None:
    site = Settings(run_jobs="submit", spark_submit=YARN)
    assert places.exit_said(line, site, spark=True) == code
    assert places.exit_said(line, site, spark=False) is None
    assert places.exit_said(line, Settings(), spark=True) is None


@pytest.mark.spark
def test_a_submitted_command_ends_with_its_own_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    monkeypatch.setenv("RUN_JOBS", "submit")
    monkeypatch.setenv("SPARK_SUBMIT", f"{submit} --master local[1] {REPO / 'docker' / 'submit.py'}")
    monkeypatch.setenv("LANDING", str(tmp_path))
    monkeypatch.setenv("USER_KEY_SECRET", "of no use")
    code, last = JobOperator(task_id="facts", argv=["python", "-m", "jobs", "ready", "--ds", "2026-03-04"], spark=True).run_command()
    assert code == 99, last


def test_docker_compose_reads_the_file(tmp_path: Path) -> None:
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed: its own reading of compose.yaml is not tried")
    compose_secrets.make(tmp_path, os.geteuid())
    command = ["docker", "compose", "-f", str(COMPOSE), "--env-file", str(tmp_path / "compose.env"), "config", "--quiet"]
    subprocess.run(command, check=True)
