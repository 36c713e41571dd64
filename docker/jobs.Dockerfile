# syntax=docker/dockerfile:1
# What the jobs need: Python, Java, torch, and this code in /app. Spark's master and workers are this image, too.
#   docker build -f docker/jobs.Dockerfile -t nightly-interests/jobs .                                                  CPU
#   docker build -f docker/jobs.Dockerfile -t nightly-interests/jobs:cuda --build-arg TORCH_BACKEND= .                  CUDA
# TORCH_BACKEND is uv's word for an index of torch's builds (cpu, cu130 …); empty, the package registry's own build is taken, which is CUDA's and brings
# the libraries of CUDA along. UV_FIND_LINKS names a folder or page of wheels, UV_DEFAULT_INDEX another registry. To pin a base image by its
# digest: --build-arg PYTHON=python:3.11.14-slim-bookworm@sha256:…
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS packages
ARG UV=0.13.9
ARG TORCH_BACKEND=cpu
ARG UV_FIND_LINKS
ARG UV_DEFAULT_INDEX
RUN python -m pip install --no-cache-dir uv==${UV} && python -m venv --without-pip /opt/jobs
COPY docker/jobs.txt /tmp/jobs.txt
RUN uv pip install --no-cache --compile-bytecode --python /opt/jobs/bin/python ${TORCH_BACKEND:+--torch-backend ${TORCH_BACKEND}} -r /tmp/jobs.txt

FROM ${PYTHON}
# Java's Hadoop, and so Spark, wants a user that has a name.
ARG RUN_AS=10001
# libgomp1: implicit's. The base image is pinned, and with it the suite of Debian; its versions of packages go when they are mended.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 openjdk-17-jre-headless tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid ${RUN_AS} --gid 0 --no-create-home --home-dir /tmp nightly \
    && install -d -m 0770 -o ${RUN_AS} -g 0 /data /var/cache/nightly /var/lib/spark /var/log/airflow
COPY --from=packages /opt/jobs /opt/jobs
WORKDIR /app
COPY . .
ENV SPARK_HOME=/opt/jobs/lib/python3.11/site-packages/pyspark \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/var/cache/nightly
ENV PATH=/opt/jobs/bin:${SPARK_HOME}/bin:${PATH}
# Compiled once, here, and not by every container: this code's loops and the classes of Spark.
RUN python -m compileall -q . \
    && python -m docker.spark_classes \
    && SETTINGS_FILE=/dev/null python -m docker.kernels \
    && chown -R ${RUN_AS}:0 /var/cache/nightly && chmod -R g=u /var/cache/nightly
USER ${RUN_AS}:0
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "jobs", "--help"]
