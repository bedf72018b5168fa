"""Find one ordinary camera in a prebuilt map, at camera rate, with or without ROS 2."""

import logging

# pycolmap contains its own zlib. Where it is loaded before OpenCV, OpenCV writes PNG files with a mixture of both
# and the process dies ("free(): invalid pointer"; OpenCV 5.0 wheels, pycolmap 4.2.1).
import cv2  # noqa: F401

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())
