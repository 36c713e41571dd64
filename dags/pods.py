"""A command as a Kubernetes pod; import it only where RUN_JOBS=pod: it loads the client of Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from dags.places import step

if TYPE_CHECKING:
    from jobs.settings import Settings


class JobPod(KubernetesPodOperator):
    """One command in a pod of its own, which is deleted when the command ends and when its task is stopped.

    The pod is `default.yaml` of the folder POD_TEMPLATES, with what `<stage>.yaml` there says differently; of it only the command and the
    labels that find it are set here. A task whose worker was lost takes up the pod that it had started.
    """

    @classmethod
    def of(cls, argv: list[str], site: Settings) -> JobPod:
        """The pod of `python -m jobs …`; a failure that names the file when there is no template."""
        folder = Path(site.pod_templates or "")
        default, own = folder / "default.yaml", folder / f"{step(argv)}.yaml"
        if not site.pod_templates or not default.is_file():
            raise AirflowFailException(f"RUN_JOBS=pod needs POD_TEMPLATES, a folder with default.yaml; {default} is not there")
        return cls(
            task_id=step(argv),
            name=f"nightly-{step(argv).replace('_', '-')}",
            pod_template_file=str(default),
            full_pod_spec=PodGenerator.deserialize_model_file(str(own)) if own.is_file() else None,
            arguments=argv,  # of the image's own entry point, which passes signals on
            log_pod_spec_on_failure=False,
            container_name_log_prefix_enabled=False,
            startup_timeout_seconds=900,  # a machine with a GPU, and its image, may have to be fetched first
        )

    def __init__(self, **kwargs: Any) -> None:
        self.last = ""
        super().__init__(log_formatter=self._said, **kwargs)

    def _said(self, container: str, line: str) -> str:
        self.last = line.rstrip() or self.last
        return line

    def outcome(self, context: Any) -> tuple[int, str]:
        """(exit code, last line of output) of the command; AirflowException when the pod never came to an end of its own."""
        try:
            self.execute_sync(context)
        except AirflowException:
            code = self._exit_code()
            if code is None:
                raise
            return code, self.last
        return 0, self.last

    def _exit_code(self) -> int | None:
        status = self.remote_pod.status if self.remote_pod else None
        for container in (status.container_statuses if status else None) or ():
            if container.name == self.base_container_name and container.state.terminated:
                return int(container.state.terminated.exit_code)
        return None
