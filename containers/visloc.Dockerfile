# The command line with all plug-ins: servers, machines of a cluster. To build and run it: docs/with_containers.md.
ARG DEBIAN=trixie-slim

FROM docker.io/library/debian:${DEBIAN} AS plugins
COPY plugins /plugins
# A file of its own: as long as it is the same, the packages are not installed again.
RUN find /plugins -name requirements.in -exec cat {} + > /plugins.in

FROM docker.io/library/debian:${DEBIAN} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# torch of the lock runs on CPU and CUDA. An image for CPU alone: TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=""
COPY pyproject.toml requirements-runtime.in requirements.lock containers/install_requirements.sh ./
COPY --from=plugins /plugins.in ./
RUN sh install_requirements.sh /opt/visloc/python
COPY setup.py setup.cfg package.xml README.md requirements-ros.in ./
COPY resource resource
COPY visloc_ros visloc_ros
COPY plugins plugins
RUN PYTHONPATH=/opt/visloc/python /tmp/uv/bin/uv --no-cache pip install --python /usr/bin/python3 \
    --target /opt/visloc/package --compile-bytecode --no-deps --no-build-isolation . plugins/*

FROM docker.io/library/debian:${DEBIAN}
LABEL org.opencontainers.image.title="visloc" \
      org.opencontainers.image.description="Finds a camera in prebuilt maps" \
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
ENTRYPOINT ["visloc"]
CMD ["--help"]
