"""Values every other part speaks in: poses, frames, results, configuration, maps. No ROS, no torch."""

# pycolmap brings a zlib of its own. Where it is loaded before OpenCV, OpenCV writes PNG files with a mixture of both
# and the process dies ("free(): invalid pointer"; OpenCV 5.0 wheels, pycolmap 4.2.1).
import cv2  # noqa: F401
