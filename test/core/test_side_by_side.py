"""Images of stereo cameras that store both pictures side by side, and ordinary ones."""

import cv2
import numpy as np
import pytest

from visloc_ros.core.sharpness import shrink
from visloc_ros.core.side_by_side import is_of_two_cameras, shows_two_pictures
from visloc_ros.sources import SourceConfig, open_source


def pictures(shared_data, name, step):
    return [frame.grey for frame in open_source(shared_data / name, SourceConfig(every=step))]


@pytest.mark.parametrize(
    ("name", "step"), [("7scenes_redkitchen", 30), ("euroc_mh05", 20), ("kitti_06", 5), ("street_lund", 2)]
)
def test_ordinary_pictures_show_one(shared_data, name, step):
    images = [shrink(image) for image in pictures(shared_data, name, step)]
    assert not is_of_two_cameras(sum(map(shows_two_pictures, images)), len(images))


@pytest.mark.parametrize("is_squeezed", [False, True])
def test_two_views_of_a_kitchen_side_by_side_are_seen(shared_data, is_squeezed):
    """Of a camera a moment later, as if it stood beside the first."""
    one, other = (
        [frame.grey for frame in open_source(shared_data / "7scenes_redkitchen", SourceConfig(every=30, first=first))]
        for first in (0, 2)
    )
    images = [np.hstack(pair) for pair in zip(one, other, strict=True)]
    if is_squeezed:
        images = [cv2.resize(image, (640, 480)) for image in images]
    assert is_of_two_cameras(sum(shows_two_pictures(shrink(image)) for image in images), len(images))
