# The server (docs/server.md). To build and run it: docs/with_containers.md.
ARG DEBIAN=trixie-slim

FROM docker.io/library/debian:${DEBIAN} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# torch of the lock runs on CPU and CUDA. An image for CPU alone: TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=""
# More packages: ray for the machines of a cluster (docs/cluster.md).
ARG EXTRA=""
COPY pyproject.toml requirements-runtime.in requirements.lock containers/install_requirements.sh ./
RUN sh install_requirements.sh /opt/visloc/python
COPY setup.py setup.cfg package.xml README.md requirements-ros.in ./
COPY resource resource
COPY visloc_ros visloc_ros
RUN PYTHONPATH=/opt/visloc/python /tmp/uv/bin/uv --no-cache pip install --python /usr/bin/python3 \
    --target /opt/visloc/package --compile-bytecode --no-deps --no-build-isolation .

FROM docker.io/library/debian:${DEBIAN}
LABEL org.opencontainers.image.title="visloc serve" \
      org.opencontainers.image.description="Finds a camera in prebuilt maps, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 10001 --group 10001 /maps /weights
COPY --from=build /opt/visloc/python /opt/visloc/python
COPY --from=build /opt/visloc/package /opt/visloc/package
# Programs write only to /maps and /tmp: the rest may be read-only.
ENV PATH=/opt/visloc/package/bin:$PATH PYTHONPATH=/opt/visloc/package:/opt/visloc/python HOME=/tmp TORCH_HOME=/weights
USER 10001:10001
EXPOSE 8090
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python3", "-c", "from http.client import HTTPConnection as To; c = To('127.0.0.1', 8090, timeout=4); c.request('GET', '/health'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["visloc"]
CMD ["serve", "--maps", "/maps", "--host", "0.0.0.0", "--token-file", "/run/secrets/visloc_token"]
