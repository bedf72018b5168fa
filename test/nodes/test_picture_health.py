import numpy as np
import pytest

from visloc_ros.nodes.picture_health import PictureHealth
from visloc_ros.simulation import SimulationConfig, simulate


@pytest.fixture(scope="module")
def room():
    return simulate(SimulationConfig(width=320, height=240, duration_s=1.0, rate_hz=2.0), "map").frame(0).image


def warned(image, seconds=5.0):
    health = PictureHealth()
    for now_s in np.arange(0.0, seconds, 0.1):
        health.image(now_s, image)
    return health.warning(seconds)


def test_a_room_is_a_picture_also_in_grey_and_in_dim_light(room):
    for image in (room, room[..., 0], room // 3):
        assert warned(image) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image // 12, "dark"),
        (lambda image: np.clip(image.astype(int) * 12, 0, 255).astype(np.uint8), "overexposed"),
        (lambda image: np.full_like(image, 120), "show nothing"),
        (lambda image: np.zeros_like(image), "dark"),
    ],
    ids=["dark", "overexposed", "grey", "black"],
)
def test_what_is_wrong_is_told_once_it_has_lasted(room, change, words):
    assert words in warned(change(room))
    assert warned(change(room), seconds=1.0) == ""


def test_a_picture_that_comes_back_is_good_at_once(room):
    health = PictureHealth()
    for now_s in np.arange(0.0, 5.0, 0.1):
        health.image(now_s, np.zeros_like(room))
    health.image(6.0, room)
    assert health.warning(6.1) == ""
