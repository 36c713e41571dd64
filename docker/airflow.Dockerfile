# syntax=docker/dockerfile:1
# Two images: `airflow` (API server, DAG processor, triggerer), and `worker` (scheduler with its tasks), which is the jobs' image with Airflow in an
# environment of its own beside theirs: Airflow's packages and the jobs' need not agree.
#   docker build -f docker/airflow.Dockerfile --target airflow -t nightly-interests/airflow .
#   docker build -f docker/airflow.Dockerfile --target worker  -t nightly-interests/worker  --build-arg JOBS=nightly-interests/jobs .
ARG PYTHON=python:3.11.14-slim-bookworm
ARG JOBS=nightly-interests/jobs

FROM ${PYTHON} AS packages
ARG UV=0.13.9
ARG UV_FIND_LINKS
ARG UV_DEFAULT_INDEX
RUN python -m pip install --no-cache-dir uv==${UV} && python -m venv --without-pip /opt/airflow
COPY docker/airflow.txt /tmp/airflow.txt
RUN uv pip install --no-cache --compile-bytecode --python /opt/airflow/bin/python -r /tmp/airflow.txt

# hadolint ignore=DL3006
FROM ${JOBS} AS worker
COPY --from=packages /opt/airflow /opt/airflow
ENV PATH=${PATH}:/opt/airflow/bin \
    AIRFLOW_HOME=/tmp/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/app/dags/plugins \
    JOBS_PYTHON=/opt/jobs/bin/python
CMD ["airflow", "scheduler"]

FROM ${PYTHON} AS airflow
ARG RUN_AS=10001
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid ${RUN_AS} --gid 0 --no-create-home --home-dir /tmp nightly \
    && install -d -m 0770 -o ${RUN_AS} -g 0 /data /var/log/airflow
COPY --from=packages /opt/airflow /opt/airflow
WORKDIR /app
COPY . .
ENV PATH=/opt/airflow/bin:${PATH} \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    AIRFLOW_HOME=/tmp/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/app/dags/plugins
RUN python -m compileall -q .
USER ${RUN_AS}:0
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "api-server"]
