"""Videos as phones write them: stored by a sensor that is turned, at uneven times, with a maker."""

import struct

import numpy as np
import pycolmap
import pytest
from phone_videos import set_durations, sign, write_video
from source_data import HEIGHT, WIDTH, colour_image

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.camera import project
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import SE3
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.phones import phone_advice, phone_of
from visloc_ros.sources.video_file import read_index, read_maker

DURATIONS_MS = [33, 50, 20, 33, 100, 33, 34, 17, 33, 33]
STAMPS_NS = [1_000_000 * sum(DURATIONS_MS[:index]) for index in range(len(DURATIONS_MS))]
IMAGES = [colour_image(seed) for seed in range(3)]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_are_upright_however_the_phone_was_held(tmp_path, turns):
    write_video(tmp_path / "a.mp4", IMAGES, turns=turns)
    write_video(tmp_path / "plain.mp4", IMAGES)
    source, plain = open_source(tmp_path / "a.mp4"), open_source(tmp_path / "plain.mp4")
    assert source.clockwise_turns == turns
    assert (source.camera.width, source.camera.height) == (WIDTH, HEIGHT)
    assert source.camera.params.tolist() == plain.camera.params.tolist()
    for frame, other, image in zip(source, plain, IMAGES, strict=True):
        assert frame.stamp_ns == other.stamp_ns
        assert np.abs(frame.image.astype(int) - image).mean() < 12
        assert np.abs(frame.image.astype(int) - other.image).mean() < 12


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_calibration_of_the_sensor_is_turned_with_the_frames(tmp_path, turns):
    write_video(tmp_path / "a.mp4", IMAGES, turns=turns)
    width, height = (HEIGHT, WIDTH) if turns % 2 else (WIDTH, HEIGHT)
    params = [60, 66, 0.45 * width, 0.52 * height, -0.1, 0.01, 0.02, 0.01]
    stored = pycolmap.Camera(model="OPENCV", width=width, height=height, params=params)
    write_camera_yaml(tmp_path / "stored.yaml", stored)
    source = open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "stored.yaml")))
    assert (source.camera.width, source.camera.height) == (WIDTH, HEIGHT)
    assert source.calibration.source is CalibrationSource.GIVEN
    assert next(iter(source)).camera is source.camera
    point = np.array([0.15, -0.2, 1.0])
    about_z = np.round(SE3.from_rotation_vector([0, 0, turns * np.pi / 2], [0, 0, 0]).rotation)
    x, y = project(stored, point)[0]
    for _ in range(turns):
        (x, y), height = (height - y, x), width
        width = HEIGHT if height == WIDTH else WIDTH
    np.testing.assert_allclose(project(source.camera, about_z @ point)[0], [x, y], atol=1e-9)


def test_a_calibration_of_the_upright_frames_is_taken_as_it_is(tmp_path):
    write_video(tmp_path / "a.mp4", IMAGES, turns=1)
    camera = pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=[60, 61, 30, 25])
    write_camera_yaml(tmp_path / "upright.yaml", camera)
    source = open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "upright.yaml")))
    assert source.camera.params.tolist() == [60, 61, 30, 25]


def test_a_calibration_that_fits_neither_way_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", IMAGES, turns=1)
    camera = pycolmap.Camera(model="PINHOLE", width=480, height=640, params=[500, 500, 240, 320])
    write_camera_yaml(tmp_path / "other.yaml", camera)
    with pytest.raises(CalibrationError, match="the image is 64x48 but the calibration is for"):
        open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "other.yaml")))


@pytest.mark.parametrize("turns", [0, 1])
def test_frames_at_uneven_times_keep_their_presentation_times(tmp_path, turns):
    write_video(tmp_path / "a.mp4", [colour_image(seed) for seed in range(len(DURATIONS_MS))], turns=turns)
    set_durations(tmp_path / "a.mp4", DURATIONS_MS)
    stamps_ns = [frame.stamp_ns for frame in open_source(tmp_path / "a.mp4")]
    np.testing.assert_allclose(stamps_ns, STAMPS_NS, atol=1000)
    np.testing.assert_array_equal(read_index(tmp_path / "a.mp4").stamps_ns, STAMPS_NS)
    ten_a_second = open_source(tmp_path / "a.mp4", SourceConfig(fps=10.0))
    np.testing.assert_allclose([frame.stamp_ns / 1e6 for frame in ten_a_second], [0, 103, 236, 303], atol=1e-3)
    at_rate = open_source(tmp_path / "a.mp4", SourceConfig(rate_hz=10.0, fps=5.0))
    assert [frame.stamp_ns for frame in at_rate] == [0, 200_000_000, 400_000_000, 600_000_000, 800_000_000]


@pytest.mark.parametrize(
    ("texts", "maker"),
    [
        ({"com.apple.quicktime.model": "iPhone 13", "com.apple.quicktime.make": "Apple"}, "Apple iPhone 13"),
        ({"com.android.version": "14", "com.android.manufacturer": "samsung"}, "samsung"),
    ],
)
def test_a_phone_is_known_by_its_maker(tmp_path, texts, maker):
    write_video(tmp_path / "a.mp4", IMAGES)
    assert phone_of(open_source(tmp_path / "a.mp4")) == ""
    sign(tmp_path / "a.mp4", texts)
    source = open_source(tmp_path / "a.mp4")
    assert source.camera_maker == phone_of(source) == maker
    assert "move slowly" in phone_advice(maker)
    assert len(list(source)) == len(IMAGES)


def test_makers_of_other_cameras_are_no_phones(tmp_path):
    write_video(tmp_path / "a.mp4", IMAGES)
    sign(tmp_path / "a.mp4", {"com.apple.quicktime.make": "Canon"})
    source = open_source(tmp_path / "a.mp4")
    assert (source.camera_maker, phone_of(source)) == ("Canon", "")


def test_nothing_is_known_of_what_is_no_video(tmp_path):
    for content in (b"", b"RIFF" + bytes(100), bytes(8), struct.pack(">I4s", 8, b"free") * 3):
        (tmp_path / "a").write_bytes(content)
        assert (read_maker(tmp_path / "a"), read_index(tmp_path / "a")) == ("", None)
    assert (read_maker(tmp_path / "gone"), read_index(tmp_path / "gone")) == ("", None)


def test_damaged_indices_do_no_harm(tmp_path):
    write_video(tmp_path / "a.mp4", IMAGES)
    sign(tmp_path / "a.mp4", {"com.apple.quicktime.make": "Apple"})
    content = (tmp_path / "a.mp4").read_bytes()
    begin, rng = content.index(b"moov"), np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(begin - 4, len(content), 4):
            damaged[place] = rng.integers(256)
        (tmp_path / "b.mp4").write_bytes(damaged[: int(rng.integers(begin, len(content) + 1))])
        index = read_index(tmp_path / "b.mp4")
        assert isinstance(read_maker(tmp_path / "b.mp4"), str)
        assert index is None or index.stamps_ns.min() == 0
