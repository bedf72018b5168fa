"""What a map takes of its frames."""

import numpy as np
import pycolmap

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.mapping.collection import FrameCollector
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.map_sources import label_sources

FISHEYE = pycolmap.Camera(model="OPENCV_FISHEYE", width=640, height=640, params=[180, 180, 320, 320, 0, 0, 0, 0])


class Everywhere:
    """Finds keypoints all over an image."""

    def extract(self, image):
        keypoints = np.random.default_rng(0).uniform(0.0, 640.0, (400, 2)).astype(np.float32)
        return LocalFeatures(keypoints, np.ones(400, np.float32), np.ones((400, 8), np.float32), (640, 640))


class Fisheye:
    """A source of one image of a fisheye that sees more than 200 degrees."""

    name, calibrated, skipped, ground_truth, camera = "fisheye", True, 0, None, FISHEYE

    def __len__(self):
        return 1

    def __iter__(self):
        return iter([Frame(0, np.zeros((640, 640), np.uint8), FISHEYE, "a.jpg")])


def test_what_a_fisheye_sees_beyond_90_degrees_is_left_out():
    collector = FrameCollector(Everywhere(), None, MappingConfig(), SilentProgress(), Stopwatch())
    (frame,) = collector.extract(label_sources(Fisheye()), [[0]])
    from_centre = np.linalg.norm(frame.features.keypoints - 320.0, axis=1) / 180.0
    assert 1.4 < from_centre.max() < np.pi / 2
    assert 150 < len(frame.features) < 300
