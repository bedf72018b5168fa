import cv2
import numpy as np
import pytest

from visloc_ros.nodes.camera_health import PictureHealth
from visloc_ros.simulation import SimulationConfig, simulate


@pytest.fixture(scope="module")
def room():
    return simulate(SimulationConfig(width=320, height=240, duration_s=1.0, rate_hz=2.0), "map").frame(0).image


def warned(image, seconds=5.0):
    health = PictureHealth()
    for now_s in np.arange(0.0, seconds, 0.1):
        health.image(now_s, image)
    return health.warning(seconds)


def warned_of_two(image):
    """Of an image that has been the same from before its patience began to after it ended."""
    health = PictureHealth()
    for now_s in (0.0, 5.0):
        health.image(now_s, image)
    return health.warning(5.0)


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


SEQUENCES = (
    "7scenes_redkitchen",
    "euroc_mh05",
    "euroc_v101_still",
    "exif_gps",
    "kitti_00_small",
    "kitti_06",
    "sacre_coeur",
    "street_lund",
    "tum_fr1_rpy_start",
    "virtual_gallery",
)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_lens_out_of_focus_is_told_at_every_place_and_never_a_sharp_one(shared_data, name):
    paths = sorted(path for path in (shared_data / name).rglob("*") if path.suffix.lower() in (".png", ".jpg"))
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths[:: max(1, len(paths) // 6)]]
    images = [image for image in images if image is not None and image.dtype == np.uint8 and image.shape[1] >= 320]
    assert len(images) >= 5
    blurred = 0
    for image in images:
        assert "blurred" not in warned_of_two(image)
        for sigma in (3.0, 6.0):  # pixels of an image 640 wide
            soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma * image.shape[1] / 640)
            noisy = soft + np.random.default_rng(0).normal(0.0, 1.5, soft.shape)
            blurred += "blurred" in warned_of_two(np.clip(noisy, 0, 255).astype(np.uint8))
    assert blurred >= 0.9 * 2 * len(images)
