"""Find one ordinary camera in a prebuilt map, at camera rate, with or without ROS 2."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
