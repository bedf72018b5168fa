"""Pictures of a recognition: colours where an instance is, the image where none is, and a list beside."""

import numpy as np
import pytest

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_search.instances.pictures import (
    ShownInstance,
    confidence_picture,
    enlarged,
    overlay,
    painted,
    shown_instances,
)
from visloc_search.instances.recognition import Recognition


@pytest.fixture
def recognition():
    """Left half none, the right one instance 2 above and 5 below; of which 2 is less sure."""
    probabilities = np.full((6, 4, 8), 0.02, np.float32)
    probabilities[0, :, :4], probabilities[2, :1, 4:], probabilities[5, 1:, 4:] = 0.9, 0.5, 0.8
    return Recognition.of(probabilities, np.ones(1, np.float32))


def test_instances_are_listed_by_the_share_that_they_cover(recognition):
    assert shown_instances(recognition) == [
        ShownInstance(5, 12 / 32, pytest.approx(0.8)),
        ShownInstance(2, 4 / 32, pytest.approx(0.5)),
    ]


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 3), (1, 1), (30, 40, 3), (3000, 4000, 3), (9, 3000)])
def test_the_overlay_of_any_image_can_be_looked_at(recognition, shape):
    picture = overlay(np.full(shape, 100, np.uint8), recognition)
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert max(picture.shape) <= 2300


def test_the_overlay_has_half_the_colour_of_an_instance(recognition):
    picture = overlay(np.full((480, 640), 100, np.uint8), recognition).astype(int)
    expected = (100 + landmark_colours(np.array([2, 5])).astype(int)) / 2
    assert np.abs(picture[60, 500] - expected[0]).max() <= 1
    assert np.abs(picture[400, 500] - expected[1]).max() <= 1
    assert picture[200, 100].tolist() == [100, 100, 100]
    listed = picture[:, 640:].reshape(-1, 3)
    assert all((listed == landmark_colours(np.array([one]))[0]).all(axis=1).sum() > 100 for one in (2, 5))


def test_cells_cover_the_whole_image(recognition):
    mask = enlarged(recognition.mask, (640, 480))
    assert mask.shape == (480, 640)
    assert (mask[:, :320] == 0).all()
    assert (mask[:120, 320:] == 2).all()
    assert (mask[120:, 320:] == 5).all()
    assert np.array_equal(painted(np.zeros((480, 640), np.uint8), mask)[:, :320], np.zeros((480, 320, 3)))


def test_confidence_goes_from_dark_to_light():
    levels = confidence_picture(np.array([[0.0, 0.25, 0.5, 0.75, 1.0, 1.2]], np.float32)).astype(int).sum(axis=2)[0]
    assert (np.diff(levels[:5]) > 0).all()
    assert levels[4] == levels[5]
