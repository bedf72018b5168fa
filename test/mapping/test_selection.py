"""Selection of map images from frames whose motion and sharpness are known; thumbnails."""

import cv2
import numpy as np
import pycolmap
import pytest

from visloc_ros.core.image_motion import measure_motion
from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.types import Frame
from visloc_ros.mapping.collection import encode_thumbnail
from visloc_ros.mapping.config import SelectionConfig
from visloc_ros.mapping.selection import select_frames as select_counted_frames

CAMERA = pycolmap.Camera(model="PINHOLE", width=320, height=240, params=[300.0, 300.0, 160.0, 120.0])
RATE_HZ = 30


def texture(seed=0, width=2400):
    """Detail of every size, as in photographs: noise whose contrast grows with its wavelength."""
    rng = np.random.default_rng(seed)
    total = np.zeros((240, width), np.float32)
    for cell in (4, 8, 16, 32, 64):
        noise = rng.normal(size=(240 // cell + 1, width // cell + 1)).astype(np.float32)
        total += cell**0.7 * cv2.resize(noise, (width, 240), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 60 * total / total.std(), 0, 255).astype(np.uint8)


WALL = texture()


def select_frames(frames, config):
    """Select from few frames as if they were many."""
    return select_counted_frames(frames, 10_000, config)


def frame(index, image):
    return Frame(round(index * 1e9 / RATE_HZ), image, CAMERA)


def pan(count, step_px, blurred=()):
    """Frames of a camera that moves along a wall, some of them blurred."""
    frames = []
    for index in range(count):
        view = WALL[:, round(index * step_px) : round(index * step_px) + 320].copy()
        frames.append(frame(index, cv2.GaussianBlur(view, (0, 0), 4.0) if index in blurred else view))
    return frames


class TestRate:
    @pytest.mark.parametrize(("rate_hz", "expected"), [(2.0, 4), (3.0, 6), (10.0, 20)])
    def test_a_moving_camera_gives_images_at_the_rate(self, rate_hz, expected):
        assert len(select_frames(pan(60, 4), SelectionConfig(rate_hz=rate_hz))) == expected

    def test_frames_that_come_at_the_rate_are_all_taken(self):
        frames = [frame(10 * index, WALL[:, 20 * index : 20 * index + 320]) for index in range(40)]
        assert select_frames(frames, SelectionConfig(rate_hz=3.0)) == list(range(40))

    def test_few_frames_are_a_choice_already(self):
        frames = pan(60, 6)
        assert select_counted_frames(frames, 60, SelectionConfig(keep_all_up_to=60)) == list(range(60))
        assert len(select_counted_frames(frames, 61, SelectionConfig(keep_all_up_to=60))) < 10

    def test_no_rate_takes_every_frame(self):
        assert select_frames(pan(12, 6), SelectionConfig(rate_hz=0.0)) == list(range(12))

    def test_the_last_period_is_not_forgotten(self):
        assert max(select_frames(pan(34, 6), SelectionConfig(rate_hz=3.0))) >= 30


class TestSharpness:
    def test_the_sharp_one_of_each_period_is_taken(self):
        sharp = {4, 13, 27}
        frames = pan(30, 4, blurred=set(range(30)) - sharp)
        assert set(select_frames(frames, SelectionConfig(rate_hz=3.0))) == sharp

    def test_blur_lowers_sharpness(self):
        view = WALL[:, :320]
        assert sharpness(cv2.GaussianBlur(view, (0, 0), 3.0)) < 0.3 * sharpness(view)


class TestMotion:
    def test_a_camera_that_stands_still_gives_one_image(self):
        rng = np.random.default_rng(1)
        still = WALL[:, :320].astype(int)
        frames = [frame(i, np.clip(still + rng.normal(0, 2, still.shape), 0, 255).astype(np.uint8)) for i in range(60)]
        assert len(select_frames(frames, SelectionConfig())) == 1

    def test_it_goes_on_when_the_camera_does(self):
        still = [frame(i, WALL[:, :320]) for i in range(30)]
        moving = [frame(30 + i, WALL[:, 6 * i : 6 * i + 320]) for i in range(30)]
        chosen = select_frames(still + moving, SelectionConfig(rate_hz=3.0))
        assert len([index for index in chosen if index < 30]) == 1
        assert len([index for index in chosen if index >= 30]) >= 2

    def test_a_view_that_is_left_quickly_is_not_missed(self):
        fast = select_frames(pan(30, 40), SelectionConfig(rate_hz=1.0))
        assert len(fast) >= 4
        assert max(np.diff(fast)) * 40 <= 2 * 320

    def test_photos_of_different_places_are_all_taken(self):
        frames = [frame(index, texture(seed=index, width=320)) for index in range(8)]
        assert select_frames(frames, SelectionConfig()) == list(range(8))

    @pytest.mark.parametrize("shift", [0, 7, 25])
    def test_motion_is_measured_in_image_widths(self, shift):
        motion = measure_motion(WALL[:, 100:420], WALL[:, 100 + shift : 420 + shift])
        assert motion.shift == pytest.approx(shift / 320, abs=2e-3)
        assert motion.overlap > 0.8

    def test_no_overlap_between_different_images(self):
        assert measure_motion(texture(1, 320), texture(2, 320)).overlap < 0.3

    def test_black_images_do_not_stop_it(self):
        frames = [frame(i, np.zeros((240, 320), np.uint8)) for i in range(5)] + pan(30, 4)
        assert len(select_frames(frames, SelectionConfig())) >= 3


class TestLimits:
    def test_the_most_frames_are_spread_evenly(self):
        chosen = select_frames(pan(60, 6), SelectionConfig(rate_hz=0.0, max_frames=7))
        assert chosen == [0, 10, 20, 30, 39, 49, 59]

    def test_no_frames_give_no_images(self):
        assert select_frames([], SelectionConfig()) == []

    def test_large_images_are_made_small_first(self):
        assert shrink(np.zeros((480, 640), np.uint8)).shape == (240, 320)
        assert shrink(np.zeros((100, 200), np.uint8)).shape == (100, 200)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (240, 320)), ((720, 1280), (180, 320)), ((376, 1241), (97, 320)), ((240, 320), (240, 320))],
)
def test_they_have_the_shape_of_the_image(size, expected):
    assert decoded(np.zeros(size, np.uint8)).shape[:2] == expected


def test_an_image_that_is_small_is_not_enlarged():
    assert decoded(np.zeros((90, 120), np.uint8)).shape[:2] == (90, 120)


def test_colours_stay_what_they_are():
    red = np.zeros((240, 320, 3), np.uint8)
    red[..., 0] = 200
    blue, green, found = decoded(red)[120, 160]
    assert abs(int(found) - 200) < 10
    assert max(blue, green) < 10


def decoded(image):
    return cv2.imdecode(np.frombuffer(encode_thumbnail(image), np.uint8), cv2.IMREAD_COLOR_BGR)
