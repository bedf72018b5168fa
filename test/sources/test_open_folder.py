import logging

import numpy as np
import pycolmap
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from source_data import HEIGHT, WIDTH, colour_image, encode, truncate, write_images

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.sources import EncodedSource, SourceConfig, open_source
from visloc_ros.sources.camera_files import write_camera_yaml

CAMERA = pycolmap.Camera(model="OPENCV", width=WIDTH, height=HEIGHT, params=[60, 61, 32, 24, -0.1, 0.01, 0, 0])


def read_stamps(source):
    return [frame.stamp_ns for frame in source]


def test_plain_folder_is_read_in_natural_order_at_the_default_rate_or_another(tmp_path):
    images = write_images(tmp_path, ["view9.png", "view10.png", "view11.png"])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".view1.png").write_bytes(b"resource fork")
    source = open_source(tmp_path)
    frames = list(source)
    assert [frame.name for frame in frames] == ["view9.png", "view10.png", "view11.png"]
    assert [frame.stamp_ns for frame in frames] == [0, 33333333, 66666667]
    for frame, image in zip(frames, images, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    assert (source.name, len(source), source.skipped, source.ground_truth) == (tmp_path.name, 3, 0, None)
    assert read_stamps(source) == [0, 33333333, 66666667]  # once more
    assert read_stamps(open_source(tmp_path, SourceConfig(rate_hz=8.0))) == [0, 125_000_000, 250_000_000]


def test_without_calibration_the_camera_is_guessed_and_says_so(tmp_path):
    write_images(tmp_path, ["a.png"])
    source = open_source(tmp_path)
    assert not source.calibrated
    assert source.camera.model.name == "SIMPLE_RADIAL"
    assert source.camera.params.tolist() == [1.2 * WIDTH, WIDTH / 2, HEIGHT / 2, 0]


def test_grey_images_stay_grey(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(colour_image(0)[..., 0].copy(), ".png"))
    (frame,) = open_source(tmp_path)
    assert frame.image.shape == (HEIGHT, WIDTH)


def test_simulated_layout(tmp_path):
    """Camera.yaml in COLMAP pixels, rgb/<ns>.jpg and true poses with all nanoseconds."""
    stamps_ns = [0, 33333333, 66666667]
    write_images(tmp_path / "rgb", [f"{stamp_ns:019d}.jpg" for stamp_ns in stamps_ns])
    write_camera_yaml(tmp_path / "camera.yaml", CAMERA)
    poses = [SE3.from_rotation_vector([0, 0.1 * index, 0], [index, 0, 0]) for index in range(3)]
    write_tum(tmp_path / "groundtruth_tum.txt", stamps_ns, poses)
    source = open_source(tmp_path)
    assert read_stamps(source) == stamps_ns
    assert source.calibrated
    assert source.camera.params.tolist() == CAMERA.params.tolist()
    assert source.ground_truth.stamps_ns.tolist() == stamps_ns
    assert all(given.is_close(true, 1e-8, 1e-6) for given, true in zip(source.ground_truth.poses, poses, strict=True))
    with pytest.raises(ConfigError, match="carry their own stamps"):
        open_source(tmp_path, SourceConfig(rate_hz=10.0))


def test_camera_file_given_beats_the_folders_own(tmp_path):
    write_images(tmp_path / "set", ["a.png"])
    write_camera_yaml(tmp_path / "set" / "camera.yaml", CAMERA)
    other = pycolmap.Camera(model="PINHOLE", width=WIDTH, height=HEIGHT, params=[50, 50, 32, 24])
    write_camera_yaml(tmp_path / "other.yaml", other)
    source = open_source(tmp_path / "set", SourceConfig(camera=str(tmp_path / "other.yaml")))
    assert source.camera.params.tolist() == [50, 50, 32, 24]


@pytest.mark.parametrize(
    ("config", "indices"),
    [
        (SourceConfig(), [0, 1, 2, 3, 4, 5, 6]),
        (SourceConfig(first=2), [2, 3, 4, 5, 6]),
        (SourceConfig(last=2), [0, 1, 2]),
        (SourceConfig(last=100, every=3), [0, 3, 6]),
        (SourceConfig(first=1, last=5, every=2), [1, 3, 5]),
        (SourceConfig(first=6, last=6), [6]),
    ],
)
def test_frames_are_selected_by_index_ends_included(tmp_path, config, indices):
    write_images(tmp_path, [f"{index}.png" for index in range(7)])
    source = open_source(tmp_path, config)
    assert [int(frame.name.removesuffix(".png")) for frame in source] == indices
    assert read_stamps(source) == [round(index * 1e9 / 30) for index in indices]
    assert len(source) == len(indices)


@pytest.mark.parametrize(
    ("fps", "indices"), [(0.0, range(12)), (10.0, [0, 3, 6, 9]), (4.0, [0, 8]), (100.0, range(12)), (1.0, [0])]
)
def test_so_many_images_a_second_are_read(tmp_path, fps, indices):
    write_images(tmp_path, [f"{index}.png" for index in range(12)])  # 30 a second
    source = open_source(tmp_path, SourceConfig(fps=fps))
    assert [int(frame.name.removesuffix(".png")) for frame in source] == list(indices)
    assert len(source) == len(indices)


@pytest.mark.parametrize("options", [{"max_frames": 2}, {"fps": 10.0, "max_frames": 2}, {"every": 3, "max_frames": 99}])
def test_at_most_so_many_of_them_are_read(tmp_path, options):
    write_images(tmp_path, [f"{index}.png" for index in range(6)])
    step = 1 if len(options) == 1 else 3
    source = open_source(tmp_path, SourceConfig(**options))
    assert [frame.name for frame in source] == ["0.png", f"{step}.png"]
    assert len(source) == 2


def test_photos_at_uneven_times_are_thinned_by_time_not_by_number(tmp_path):
    write_images(tmp_path, [f"{seconds:.1f}.png" for seconds in (0.0, 0.1, 0.2, 1.5, 1.6, 3.0)])
    assert read_stamps(open_source(tmp_path, SourceConfig(fps=1.0))) == [0, 1_500_000_000, 3_000_000_000]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (SourceConfig(every=2, fps=5.0), ConfigError, "every=2 and fps=5"),
        (SourceConfig(first=5), SourceError, "first=5 to last=the end selects none of the 2 images"),
        (SourceConfig(first=1, last=0), SourceError, "first=1 to last=0 selects none"),
    ],
)
def test_selecting_nothing_or_thinning_in_two_ways_is_an_error(tmp_path, config, error, message):
    write_images(tmp_path, ["a.png", "b.png"])
    with pytest.raises(error, match=message):
        open_source(tmp_path, config)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_broken_image_is_skipped_counted_and_logged(tmp_path, caplog, broken):
    names = ["a.jpg", "b.jpg", "c.jpg"]
    write_images(tmp_path, names)
    truncate(tmp_path / names[broken], 0.6)
    source = open_source(tmp_path)
    with caplog.at_level(logging.WARNING):
        frames = list(source)
    assert [frame.name for frame in frames] == [name for name in names if name != names[broken]]
    assert [frame.stamp_ns for frame in frames] == [round(i * 1e9 / 30) for i in range(3) if i != broken]
    assert source.skipped == 1
    assert f"skipping {names[broken]}" in caplog.text
    list(source)
    assert source.skipped == 1


def test_an_image_that_only_decoding_finds_broken_is_skipped_but_one_must_be_left(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:60] + bytes(20) + b"IEND")
    source = open_source(tmp_path)
    assert [frame.name for frame in source] == ["a.png"]
    assert source.skipped == 1
    for name in ("a.png", "b.png"):
        truncate(tmp_path / name, 0.5)
    with pytest.raises(SourceError, match="none of the 2 images"):
        open_source(tmp_path)


def test_photos_of_two_sizes_are_of_two_cameras(tmp_path):
    write_images(tmp_path, ["a.png", "b.png", "c.png"])
    (tmp_path / "b.png").write_bytes(encode(colour_image(0, 32, 24), ".png"))
    cameras = [frame.camera for frame in open_source(tmp_path)]
    assert [(camera.width, camera.height) for camera in cameras] == [(WIDTH, HEIGHT), (32, 24), (WIDTH, HEIGHT)]
    assert cameras[1].params.tolist() == [1.2 * 32, 16, 12, 0]
    assert cameras[0] is cameras[2]


def test_a_photo_with_a_focal_length_in_its_exif_data_has_a_camera_of_its_own(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.jpg"])
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = 50
    Image.open(tmp_path / "b.jpg").save(tmp_path / "b.jpg", exif=exif)
    Image.open(tmp_path / "b.jpg").save(tmp_path / "c.jpg", exif=exif)
    guessed, known, again = (frame.calibration for frame in open_source(tmp_path))
    assert (guessed.source, known.source) == (CalibrationSource.GUESSED, CalibrationSource.EXIF)
    assert guessed.camera.mean_focal_length() == 1.2 * WIDTH
    assert known.camera.mean_focal_length() == pytest.approx(50.0 / 43.27 * np.hypot(WIDTH, HEIGHT), rel=0.02)
    assert known.focal_sigma < guessed.focal_sigma
    assert again is known  # photos of one camera


def test_images_of_two_sizes_are_refused_where_one_calibration_is_given(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "b.png").write_bytes(encode(colour_image(0, 32, 24), ".png"))
    params = [50, 50, WIDTH / 2, HEIGHT / 2]
    write_camera_yaml(tmp_path / "camera.yaml", pycolmap.Camera(model="PINHOLE", width=64, height=48, params=params))
    with pytest.raises(CalibrationError, match=r"b\.png: the image is 32x24 but the calibration is for 64x48"):
        list(open_source(tmp_path))


def test_calibration_of_another_size_is_refused_when_opening(tmp_path):
    write_images(tmp_path, ["a.png"])
    write_camera_yaml(
        tmp_path / "camera.yaml", pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500, 500, 320, 240])
    )
    with pytest.raises(CalibrationError, match="the image is 64x48 but the calibration is for 640x480"):
        open_source(tmp_path)


def test_two_images_of_one_stamp_are_refused(tmp_path):
    write_images(tmp_path, ["1403638538.577829376.jpg", "1403638538.577829376.png"])
    with pytest.raises(SourceError, match="same stamp"):
        open_source(tmp_path)


def test_encoded_frames_are_the_files_themselves(tmp_path):
    write_images(tmp_path, ["a.jpg", "b.png"])
    source = open_source(tmp_path)
    assert isinstance(source, EncodedSource)
    encoded = list(source.iter_encoded())
    assert [item.data for item in encoded] == [(tmp_path / "a.jpg").read_bytes(), (tmp_path / "b.png").read_bytes()]
    assert [(item.format, item.stamp_ns, item.name) for item in encoded] == [
        ("jpeg", 0, "a.jpg"),
        ("png", 33333333, "b.png"),
    ]


def test_images_in_a_subfolder_are_found_and_depth_beside_them_ignored(tmp_path):
    write_images(tmp_path / "photos", ["a.png"])
    assert [frame.name for frame in open_source(tmp_path)] == ["a.png"]
    write_images(tmp_path / "rgb", ["b.png"])
    write_images(tmp_path / "depth", ["b.png"])
    assert [frame.name for frame in open_source(tmp_path)] == ["b.png"]


def test_what_cannot_be_opened_says_why(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("x")
    (tmp_path / "a.xyz").write_text("x")
    (tmp_path / "a.bag").write_text("#ROSBAG V2.0")
    write_images(tmp_path / "two" / "left", ["a.png"])
    write_images(tmp_path / "two" / "right", ["a.png"])
    for name, message in {
        "missing": "there is no video, image folder or bag",
        "empty": "is empty",
        "texts": r"holds no images \(.jpg, .jpeg, .jfif, .png, .webp, .heic, .heif, .hif\)",
        "a.xyz": r"'.xyz' is none of .mp4",
        "a.bag": "ROS 1 bag: convert it with 'rosbags-convert",
        "two": r"several folders of images \(left, right\)",
    }.items():
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / name)


def test_a_single_photo_is_read_as_in_its_folder(tmp_path):
    write_images(tmp_path, ["a.png", "b.png"])
    (of_folder, _), (alone,) = open_source(tmp_path), open_source(tmp_path / "a.png")
    assert (alone.name, alone.camera.params.tolist()) == ("a.png", of_folder.camera.params.tolist())
    assert np.array_equal(alone.image, of_folder.image)
