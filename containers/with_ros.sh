#!/bin/bash
# Run a command in the environment of ROS and of this package.
source /opt/visloc/install/setup.bash
exec "$@"
