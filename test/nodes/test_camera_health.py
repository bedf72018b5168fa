"""What a node says of its camera: images that do not arrive, pictures that show nothing, stamps of another clock."""

import cv2
import numpy as np
import pytest

from visloc_ros.nodes.camera_health import ClockHealth, ImageHealth, PictureHealth, StampHealth
from visloc_ros.simulation import SimulationConfig, simulate

BEGIN_S, RATE_HZ = 100.0, 12.0
RAW, SMALL = 640 * 480, 160 * 120  # bytes of a message


def health():
    return ImageHealth("/camera/image", BEGIN_S)


def arrived(watched, seconds, every=1, size=RAW):
    """Camera_infos at the camera's rate, with every n-th image; gives the time afterwards."""
    for index in range(round(seconds * RATE_HZ)):
        now_s = BEGIN_S + index / RATE_HZ
        watched.camera_info(now_s)
        if index % every == 0:
            watched.image(now_s, size)
            watched.used()
    return BEGIN_S + seconds


def test_images_that_come_as_they_should_are_no_problem():
    watched = health()
    assert watched.problem(arrived(watched, 10.0), num_publishers=1) == ""


def test_nothing_is_said_before_a_camera_had_time_to_start():
    assert health().problem(BEGIN_S + 1.0, num_publishers=0) == ""


def test_a_topic_that_nobody_publishes_is_named():
    words = health().problem(BEGIN_S + 4.0, num_publishers=0)
    assert words.startswith("No image comes: no node publishes /camera/image")


def test_a_publisher_whose_images_never_come_is_distinguished():
    words = health().problem(BEGIN_S + 4.0, num_publishers=1)
    assert "although it is published" in words
    assert "camera.qos" in words


def test_a_camera_that_stops_is_reported_with_for_how_long():
    watched = health()
    end_s = arrived(watched, 5.0)
    assert watched.problem(end_s + 1.0, num_publishers=1) == ""
    assert watched.problem(end_s + 7.0, num_publishers=1).startswith("No image has come for 7 s on /camera/image")


def test_images_that_cannot_be_used_are_reported_with_the_reason_until_one_can():
    watched = health()
    for index in range(40):
        watched.image(BEGIN_S + index / RATE_HZ, RAW)
        watched.unused(BEGIN_S + index / RATE_HZ, "an image has no stamp")
    now_s = BEGIN_S + 40 / RATE_HZ
    assert watched.problem(now_s, num_publishers=1).endswith("none can be used: an image has no stamp")
    watched.used()
    assert watched.problem(now_s, num_publishers=1) == ""


def test_one_bad_image_is_no_problem():
    watched = health()
    end_s = arrived(watched, 5.0)
    watched.unused(end_s, "an image has no stamp")
    assert watched.problem(end_s + 0.1, num_publishers=1) == ""


def test_images_that_get_lost_on_the_way_are_reported_with_both_rates():
    watched = health()
    words = watched.problem(arrived(watched, 10.0, every=4), num_publishers=1)
    assert words.startswith("Only 3.0 of 12.0 images a second arrive on /camera/image")


MIDDLEWARE, SENDER, LOAD = "use image_transport:=compressed", "set camera.qos to reliable", "end other programs"


@pytest.mark.parametrize(
    ("size", "are_compressed", "overloaded", "words"),
    [
        (RAW, False, "", MIDDLEWARE),
        (RAW, False, "9.1 programs share", LOAD),
        (RAW, True, "", SENDER),
        (RAW, True, "9.1 programs share", LOAD),
        (SMALL, False, "", SENDER),
    ],
)
def test_what_loses_images_is_told_by_what_they_are_and_by_the_load(size, are_compressed, overloaded, words):
    watched = ImageHealth("/camera/image", BEGIN_S, are_compressed=are_compressed)
    before = watched.problem(BEGIN_S + 4.0, 1, overloaded)
    lossy = watched.problem(arrived(watched, 10.0, every=4, size=size), 1, overloaded)
    assert words in lossy
    assert [one in lossy for one in (MIDDLEWARE, SENDER, LOAD)].count(True) == 1
    assert words in before or size == SMALL  # nobody knows the size of an image that has not come


def test_keyframes_come_as_the_camera_moves():
    watched = ImageHealth("/keyframe", BEGIN_S, are_keyframes=True)
    assert watched.problem(BEGIN_S + 4.0, num_publishers=0).startswith("No image comes")
    end_s = arrived(watched, 10.0, every=6)
    assert watched.problem(end_s, num_publishers=1) == ""
    assert watched.problem(end_s + 60.0, num_publishers=1) == ""


def test_a_camera_without_camera_info_may_be_as_slow_as_it_likes():
    watched = health()
    for index in range(10):
        watched.image(BEGIN_S + index, RAW)
        watched.used()
    assert watched.problem(BEGIN_S + 9.5, num_publishers=1) == ""


@pytest.fixture(scope="module")
def room():
    return simulate(SimulationConfig(width=320, height=240, duration_s=1.0, rate_hz=2.0), "map").frame(0).image


def warned(image, seconds=5.0):
    """Of an image that has been the same for a while."""
    health = PictureHealth()
    for now_s in (0.0, seconds):
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
def test_what_is_wrong_is_reported_once_it_has_lasted(room, change, words):
    assert words in warned(change(room))
    assert warned(change(room), seconds=1.0) == ""


def test_a_picture_that_comes_back_is_good_at_once(room):
    health = PictureHealth()
    for now_s in (0.0, 5.0):
        health.image(now_s, np.zeros_like(room))
    assert health.warning(5.0)
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
def test_a_lens_out_of_focus_is_reported_at_every_place_and_never_a_sharp_one(shared_data, name):
    paths = sorted(path for path in (shared_data / name).rglob("*") if path.suffix.lower() in (".png", ".jpg"))
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths[:: max(1, len(paths) // 6)]]
    images = [image for image in images if image is not None and image.dtype == np.uint8 and image.shape[1] >= 320]
    assert len(images) >= 5
    blurred = 0
    for image in images:
        assert "blurred" not in warned(image)
        for sigma in (3.0, 6.0):  # pixels of an image 640 wide
            soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma * image.shape[1] / 640)
            noisy = soft + np.random.default_rng(0).normal(0.0, 1.5, soft.shape)
            blurred += "blurred" in warned(np.clip(noisy, 0, 255).astype(np.uint8))
    assert blurred >= 0.9 * 2 * len(images)


NOW_NS = 1_700_000_000_000_000_000


def warned_of_stamps(age_s, uses_sim_time=False, is_clock_published=False, now_ns=NOW_NS, images=20):
    health = StampHealth(uses_sim_time)
    for index in range(images):
        arrived_ns = now_ns + index * 50_000_000 if now_ns else 0
        health.image(arrived_ns - round(age_s * 1e9), arrived_ns)
    return health.warning(is_clock_published)


@pytest.mark.parametrize("age_s", [-0.02, 0.0, 0.03, 0.4, 0.9])
def test_stamps_of_a_camera_on_this_clock_are_as_they_should_be(age_s):
    assert warned_of_stamps(age_s) == ""


@pytest.mark.parametrize(
    ("age_s", "words"),
    [
        (-0.3, "stamped 0.30 s in the future"),
        (2.5, "arrive 2.5 s after they were taken"),
        (7200.0, "2 hours before this computer's clock: synchronize the clocks"),
        (-3.0 * 86400, "3 days after this computer's clock"),
    ],
)
def test_another_clock_is_reported_with_by_how_much(age_s, words):
    assert words in warned_of_stamps(age_s)


def test_a_forgotten_use_sim_time_is_reported_by_the_clock_that_somebody_publishes():
    assert "a replay needs use_sim_time:=true" in warned_of_stamps(4e7, is_clock_published=True)
    assert "use_sim_time:=true" not in warned_of_stamps(0.0, is_clock_published=True)


def test_use_sim_time_without_a_clock_or_with_live_images_is_reported():
    assert "no time comes on /clock" in warned_of_stamps(0.0, uses_sim_time=True, now_ns=0)
    assert "use_sim_time:=false" in warned_of_stamps(-4e7, uses_sim_time=True, is_clock_published=True)


def test_images_of_a_replay_may_be_ahead_of_a_clock_that_comes_in_steps():
    assert warned_of_stamps(-0.1, uses_sim_time=True, is_clock_published=True) == ""
    assert "in the future" in warned_of_stamps(-0.5, uses_sim_time=True, is_clock_published=True)


def test_one_odd_stamp_is_no_habit():
    health = StampHealth(False)
    for index in range(30):
        health.image(NOW_NS + (10**12 if index == 7 else 0), NOW_NS)
    assert health.warning(False) == ""


def test_a_clock_that_is_mended_is_good_again():
    health = StampHealth(False)
    for index in range(200):
        health.image(NOW_NS + (10**9 if index < 100 else 0), NOW_NS)
    assert health.warning(False) == ""


def test_a_camera_that_sends_one_image_again_and_again_is_named_until_it_goes_on():
    health = ImageHealth("/image", 0.0)
    for index in range(100):
        health.image(0.05 * index, 1000)
        (health.repeated if 40 <= index < 80 else lambda _: health.changed())(0.05 * index)
        problem = health.problem(0.05 * index, 1)
        assert bool(problem) == (46 <= index < 80), (index, problem)
        assert not problem or "frozen; restart it" in problem


def test_a_clock_that_stands_still_is_reported_until_it_goes_on():
    clock = ClockHealth()
    assert clock.problem(0, 100.0, 1) == ""
    assert clock.problem(0, 110.0, 1) == ""  # it has not begun
    assert [clock.problem(NOW_NS + step, 111.0 + step, 1) for step in range(10)] == [""] * 10
    assert clock.problem(NOW_NS + 9, 122.0, 1) == ""
    assert clock.problem(NOW_NS + 9, 130.0, 1) == "/clock has stood still for 10 s: let the bag or the simulator go on."
    assert "no node publishes it any more" in clock.problem(NOW_NS + 9, 130.0, 0)
    assert clock.problem(NOW_NS + 10, 130.5, 1) == ""
