import threading
import time

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, OdometryPose
from visloc_ros.odometry import Odometry, OdometryConfig, make_odometry
from visloc_ros.odometry.depth import DepthAidedOdometry, load_depth_model

CAMERA = pycolmap.Camera(model="PINHOLE", width=32, height=24, params=[30.0, 30.0, 16.0, 12.0])


def two_metres(image):
    return np.full((6, 8), 2.0)


class EveryFrameIsAKeyframe(Odometry):
    def __init__(self):
        self.depths = []

    def track(self, frame):
        return OdometryPose(frame.stamp_ns, SE3.identity(), 0, 20, is_keyframe=True)

    def add_depth(self, stamp_ns, depth_m):
        self.depths.append((stamp_ns, depth_m))

    def take_loops(self):
        return ("a loop",)

    def finish(self):
        return Trajectory([0, 1], [SE3.identity()] * 2)


def grey_frame(stamp_ns):
    return Frame(stamp_ns, np.zeros((24, 32), np.uint8), CAMERA)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("two_metres", "package.module:callable"),
        ("no_such_package:model", "no_such_package"),
        ("math:no_such_name", "no_such_name"),
        ("math:pi", "not a callable"),
    ],
)
def test_a_depth_model_that_cannot_be_loaded_is_refused_with_its_reason(name, said):
    with pytest.raises(ConfigError, match=said):
        make_odometry(OdometryConfig(depth_model=name))


def test_a_depth_model_is_found_by_its_name():
    assert load_depth_model("math:sqrt")(4.0) == 2.0


def test_the_model_sees_an_rgb_image_and_its_depths_arrive():
    visual, seen = EveryFrameIsAKeyframe(), []
    odometry = DepthAidedOdometry(visual, lambda image: seen.append(image.shape) or two_metres(image))
    odometry.track(grey_frame(1))
    assert seen == [(24, 32, 3)]
    assert [(stamp, depth.dtype, depth.shape) for stamp, depth in visual.depths] == [(1, np.float32, (6, 8))]


def test_loops_and_the_path_known_in_the_end_are_those_of_the_visual_odometry():
    odometry = DepthAidedOdometry(EveryFrameIsAKeyframe(), two_metres)
    assert odometry.take_loops() == ("a loop",)
    assert len(odometry.finish()) == 2


def test_frames_do_not_wait_for_a_slow_model():
    visual, go_on = EveryFrameIsAKeyframe(), threading.Event()
    odometry = DepthAidedOdometry(visual, lambda image: two_metres(image) if go_on.wait(60.0) else None, live=True)
    for stamp_ns in range(1, 6):
        odometry.track(grey_frame(stamp_ns))
    assert visual.depths == []
    go_on.set()
    deadline, stamp_ns = time.monotonic() + 60.0, 6
    while not visual.depths:
        assert time.monotonic() < deadline
        odometry.track(grey_frame(stamp_ns := stamp_ns + 1))
    assert visual.depths[0][0] == 1
    odometry.close()


@pytest.mark.parametrize(
    ("model", "said"),
    [(lambda image: np.zeros((6, 8, 1)), r"\(6, 8, 1\)"), (lambda image: 1 / 0, "division by zero")],
)
def test_a_model_that_fails_is_an_error_with_words(model, said):
    odometry = DepthAidedOdometry(EveryFrameIsAKeyframe(), model)
    with pytest.raises(ModelError, match=said):
        odometry.track(grey_frame(1))
