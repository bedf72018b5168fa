# The nodes of a robot. To build and run it: docs/with_containers.md.
ARG ROS_DISTRO=jazzy

FROM docker.io/library/ros:${ROS_DISTRO}-ros-base AS plugins
COPY plugins /plugins
# A file of its own: as long as it is the same, the packages are not installed again.
RUN find /plugins -name requirements.in -exec cat {} + > /plugins.in

FROM docker.io/library/ros:${ROS_DISTRO}-ros-base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /workspace/src/visloc_ros
# torch of the lock runs on CPU and CUDA. An image for CPU alone: TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=""
COPY pyproject.toml requirements-runtime.in requirements.lock containers/install_requirements.sh ./
COPY --from=plugins /plugins.in ./
RUN sh install_requirements.sh /opt/visloc/python
COPY . .
RUN . "/opt/ros/$ROS_DISTRO/setup.sh" \
    && colcon build --base-paths . visloc_msgs plugins --build-base ../../build --install-base /opt/visloc/install

FROM docker.io/library/ros:${ROS_DISTRO}-ros-base
LABEL org.opencontainers.image.title="visloc_ros" \
      org.opencontainers.image.description="Finds a robot's camera in a prebuilt map, at camera rate: ROS 2 nodes" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN install --directory --owner 1000 --group 1000 /maps /weights
COPY --from=build /opt/visloc/python /opt/visloc/python
COPY --from=build /opt/visloc/install /opt/visloc/install
COPY containers/with_ros.sh /opt/visloc/
# Programs write only to /maps and /tmp: the rest may be read-only. The map builder's folder is "maps", from here.
ENV PYTHONPATH=/opt/visloc/python HOME=/tmp TORCH_HOME=/weights
WORKDIR /
# Shared memory needs the user of the robot's other nodes, mostly 1000.
USER 1000:1000
# Health of the node that publishes the pose. VISLOC_NAMESPACE is the launch argument namespace.
ENV VISLOC_NAMESPACE=visloc
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s CMD ["/opt/visloc/with_ros.sh", "bash", "-c", "ros2 lifecycle get --no-daemon --spin-time 2 \"/$VISLOC_NAMESPACE/fusion_node\" | grep --quiet '^active'"]
ENTRYPOINT ["/opt/visloc/with_ros.sh", "ros2", "launch", "visloc_ros", "visloc.launch.py"]
