import logging
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pycolmap
import pytest
from source_data import HEIGHT, WIDTH, colour_image, truncate

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml

QUARTER_TURN = (0, 1 << 16, 0, -1 << 16 & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)  # clockwise, ISO 14496-12 matrix


def write_video(path, count=6, rate=25.0, codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV cannot write {codec} videos")
    images = [colour_image(seed) for seed in range(count)]
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return images


def mean_difference(one, other):
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_frames_colours_and_presentation_times(tmp_path, name, codec):
    images = write_video(tmp_path / name, codec=codec)
    source = open_source(tmp_path / name)
    frames = list(source)
    assert (source.name, len(source), source.skipped, source.ground_truth) == ("a", 6, 0, None)
    assert [frame.stamp_ns for frame in frames] == [index * 40_000_000 for index in range(6)]
    assert [frame.name for frame in frames[:2]] == ["frame-000000", "frame-000001"]
    for index, frame in enumerate(frames):
        differences = [mean_difference(frame.image, image) for image in images]
        assert int(np.argmin(differences)) == index
        assert differences[index] < 12
    assert [frame.stamp_ns for frame in source] == [frame.stamp_ns for frame in frames]


def test_selected_frames_keep_their_own_stamps(tmp_path):
    write_video(tmp_path / "a.mp4", count=10)
    source = open_source(tmp_path / "a.mp4", SourceConfig(first=2, last=8, every=3))
    assert [frame.stamp_ns for frame in source] == [80_000_000, 200_000_000, 320_000_000]
    assert source.read_stamps_ns() == [80_000_000, 200_000_000, 320_000_000]
    assert len(source) == 3


def test_so_many_frames_a_second_are_read(tmp_path):
    write_video(tmp_path / "a.mp4", count=10)  # 25 a second
    source = open_source(tmp_path / "a.mp4", SourceConfig(fps=5.0))
    assert [frame.stamp_ns for frame in source] == [0, 200_000_000]
    assert len(source) == 2


def test_rate_replaces_the_videos_own(tmp_path):
    write_video(tmp_path / "a.mp4", count=3)
    source = open_source(tmp_path / "a.mp4", SourceConfig(rate_hz=10.0))
    assert [frame.stamp_ns for frame in source] == [0, 100_000_000, 200_000_000]


def test_camera_is_guessed_unless_a_calibration_is_given(tmp_path):
    write_video(tmp_path / "a.mp4", count=2)
    source = open_source(tmp_path / "a.mp4")
    assert source.calibration.source is CalibrationSource.GUESSED
    assert not source.calibrated
    assert all(frame.calibration is source.calibration for frame in source)
    assert source.camera.params[0] == pytest.approx(1.2 * WIDTH)
    camera = pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=[50, 51, 32, 24])
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    given = open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "camera.yaml")))
    assert given.calibration.source is CalibrationSource.GIVEN
    assert given.calibrated
    assert given.camera.params.tolist() == [50, 51, 32, 24]


def test_calibration_of_another_size_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", count=2)
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 500, 320, 240])
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    with pytest.raises(CalibrationError, match="the image is 64x48 but the calibration is for 640x480"):
        open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "camera.yaml")))


def test_rotation_metadata_turn_the_frames_upright(tmp_path):
    """A phone held upright writes landscape frames and a quarter turn in the track header."""
    path = tmp_path / "a.mp4"
    images = write_video(path, count=2)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9I", *QUARTER_TURN)
    path.write_bytes(content)
    source = open_source(path)
    frame = next(iter(source))
    assert (source.camera.width, source.camera.height) == (HEIGHT, WIDTH)
    assert mean_difference(frame.image, np.rot90(images[0], k=-1)) < 12


def test_a_video_cut_off_in_the_middle_gives_what_is_there_and_says_so(tmp_path, caplog):
    write_video(tmp_path / "a.avi", count=40, codec="MJPG")
    whole = len(list(open_source(tmp_path / "a.avi")))
    truncate(tmp_path / "a.avi", 0.5)
    source = open_source(tmp_path / "a.avi")
    with caplog.at_level(logging.WARNING):
        frames = list(source)
    assert whole == 40
    assert f"ends after {len(frames)} of 40 frames" in caplog.text
    assert 10 < len(frames) < 30
    assert len(frames) + source.skipped == len(source)


def test_a_video_without_its_index_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", count=6)
    truncate(tmp_path / "a.mp4", 0.5)
    with pytest.raises(SourceError, match="truncated"):
        open_source(tmp_path / "a.mp4")


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match="cannot open the video"):
        open_source(tmp_path / "a.mp4")


def test_a_codec_that_opencv_does_not_decode_is_named(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        try:
            stream = container.add_stream("libsvtav1", rate=10, width=128, height=96, pix_fmt="yuv420p")
        except av.FFmpegError:
            pytest.skip("this PyAV cannot write AV1")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(colour_image(0, 128, 96), format="rgb24")))
        container.mux(stream.encode())
    if cv2.VideoCapture(str(tmp_path / "a.mkv")).read()[0]:
        pytest.skip("this OpenCV decodes AV1")
    with pytest.raises(SourceError, match=r"OpenCV lacks its codec, av1: convert it, as by 'ffmpeg -i a\.mkv"):
        open_source(tmp_path / "a.mkv")


def test_selection_beyond_the_end_is_an_error(tmp_path):
    write_video(tmp_path / "a.mp4", count=3)
    with pytest.raises(SourceError, match="selects none of the 3 images"):
        open_source(tmp_path / "a.mp4", SourceConfig(first=3))


def write_anamorphic(path, aspect):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(colour_image(index), format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_pixels_that_are_not_square_become_square(tmp_path):
    write_anamorphic(tmp_path / "a.mp4", Fraction(4, 3))
    wide = round(WIDTH * 4 / 3)
    source = open_source(tmp_path / "a.mp4")
    assert (source.camera.width, source.camera.height) == (wide, HEIGHT)
    assert [frame.image.shape for frame in source] == [(HEIGHT, wide, 3)] * 3


@pytest.mark.parametrize("width", [WIDTH, round(WIDTH * 4 / 3)])
def test_a_calibration_is_of_squeezed_pixels_or_of_square_ones(tmp_path, width):
    write_anamorphic(tmp_path / "a.mp4", Fraction(4, 3))
    camera = pycolmap.Camera(model="PINHOLE", width=width, height=HEIGHT, params=[50, 60, 20, 24])
    write_camera_yaml(tmp_path / "camera.yaml", camera)
    source = open_source(tmp_path / "a.mp4", SourceConfig(camera=str(tmp_path / "camera.yaml")))
    assert source.camera.params.tolist() == [50, 60, 20, 24]
    assert [frame.image.shape for frame in source] == [(HEIGHT, width, 3)] * 3
