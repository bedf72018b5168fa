from dataclasses import replace

import cv2
import numpy as np
import pytest
from odometry_scenes import TwoPlanes, make_camera

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources.ros_images import decode_image

CAMERA = make_camera(320, 240)
STEP_NS = 33_000_000
RED_SHARE, GREEN_SHARE, BLUE_SHARE = 0.6, 0.9, 0.7  # the colour of the light


@pytest.fixture(scope="module")
def film():
    scene = TwoPlanes(CAMERA)
    return [scene.frame(i * STEP_NS, SE3(np.eye(3), np.array([0.05 * i, 0.01 * i, 0.0]))) for i in range(12)]


@pytest.fixture(scope="module")
def expected(film):
    return track(film)


def track(frames):
    odometry = make_odometry(OdometryConfig())
    found = [result for result in map(odometry.track, frames) if isinstance(result, OdometryPose)]
    odometry.close()
    return found


def coloured(grey):
    shares = np.array([RED_SHARE, GREEN_SHARE, BLUE_SHARE])
    return np.rint(grey[..., None] * shares).astype(np.uint8)


def mosaic(pattern):
    def encode(grey):
        colours = coloured(grey)
        image = np.empty_like(grey)
        for place, letter in enumerate(pattern):
            row, column = divmod(place, 2)
            image[row::2, column::2] = colours[row::2, column::2, "rgb".index(letter)]
        return image

    return encode


ENCODERS = {
    "mono8": lambda grey: grey,
    "mono16": lambda grey: grey.astype("<u2") * 257,
    "rgb8": coloured,
    "bgr8": lambda grey: coloured(grey)[..., ::-1],
    "bgra8": lambda grey: cv2.cvtColor(coloured(grey), cv2.COLOR_RGB2BGRA),
    "bayer_rggb8": mosaic("rggb"),
    "bayer_bggr8": mosaic("bggr"),
    "bayer_gbrg8": mosaic("gbrg"),
    "bayer_grbg8": mosaic("grbg"),
}


@pytest.mark.parametrize("encoding", ENCODERS)
def test_an_encoding_is_tracked_like_grey_images(film, expected, encoding):
    frames = []
    for frame in film:
        data = np.ascontiguousarray(ENCODERS[encoding](frame.image))
        image = decode_image(encoding, CAMERA.width, CAMERA.height, data.strides[0], data.tobytes())
        frames.append(replace(frame, image=image))
    found = track(frames)
    assert len(found) == len(expected)
    assert np.linalg.norm(position(found) - position(expected)) < 0.03 * np.linalg.norm(position(expected))


def position(found):
    """Of the last view from the first keyframe, in units of the start's median depth."""
    return found[-1].odom_from_camera.translation
