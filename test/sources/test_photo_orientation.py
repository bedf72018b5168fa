"""Photos of a camera that was held upright, sideways or upside down, as their EXIF data say."""

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image, ImageOps
from PIL.ExifTags import IFD, Base
from source_data import HEIGHT, WIDTH, colour_image, shared_data

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.camera import project, turn_upright
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import write_tum
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag_writer import write_bag
from visloc_ros.sources.camera_files import write_camera_yaml
from visloc_ros.sources.pose_files import read_poses

UPRIGHT = 1
TURNED = {6: 1, 3: 2, 8: 3}  # clockwise quarter turns that show the photo upright
CAMERA = pycolmap.Camera(model="OPENCV", width=WIDTH, height=HEIGHT, params=[60, 66, 30, 25, -0.1, 0.01, 0.02, 0.01])


def write_photo(path, orientation, seed=0, focal_35mm=None):
    """Write a photo, and give its pixels as they are written."""
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    if focal_35mm is not None:
        exif.get_ifd(IFD.Exif)[Base.FocalLengthIn35mmFilm] = focal_35mm
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colour_image(seed)).save(path, exif=exif, quality=95)
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("orientation", range(10))
def test_photos_are_turned_upright_as_other_programs_show_them(tmp_path, orientation):
    write_photo(tmp_path / "a.jpg", orientation)
    (frame,) = open_source(tmp_path)
    shown = cv2.cvtColor(cv2.imread(str(tmp_path / "a.jpg")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(frame.image, shown)
    assert (frame.camera.height, frame.camera.width) == frame.image.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_other_formats_are_turned_upright_as_well(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    Image.fromarray(colour_image(0)).save(path, exif=exif, lossless=True)
    (frame,) = open_source(tmp_path)
    np.testing.assert_array_equal(frame.image, np.asarray(ImageOps.exif_transpose(Image.open(path))))
    write_bag(open_source(tmp_path), tmp_path / "bag")
    (copied,) = open_source(tmp_path / "bag")
    np.testing.assert_array_equal(copied.image, frame.image)


def test_photos_whose_orientation_programs_write_in_unusual_ways(tmp_path):
    for path in (shared_data("cases") / "photos").iterdir():
        photos = tmp_path / path.stem
        photos.mkdir()
        (photos / path.name).write_bytes(path.read_bytes())
        (frame,) = open_source(photos)
        with Image.open(path) as photo:
            np.testing.assert_allclose(frame.image, np.asarray(ImageOps.exif_transpose(photo).convert("RGB")), atol=8)
            assert frame.image.shape[:2] == (photo.width, photo.height)


def test_portrait_and_landscape_photos_of_a_folder_have_cameras_of_their_sizes(tmp_path):
    for name, orientation in (("a.jpg", 6), ("b.jpg", UPRIGHT), ("c.jpg", 8), ("d.jpg", 3)):
        write_photo(tmp_path / name, orientation, focal_35mm=28)
    source = open_source(tmp_path)
    portrait, landscape, other_portrait, other_landscape = source
    assert source.calibration is portrait.calibration is other_portrait.calibration
    assert landscape.calibration is other_landscape.calibration
    for frame in source:
        assert (frame.camera.height, frame.camera.width) == frame.image.shape[:2]
        assert frame.calibration.source is CalibrationSource.EXIF
    assert portrait.camera.mean_focal_length() == pytest.approx(landscape.camera.mean_focal_length())


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("is_given", [True, False])
def test_a_known_camera_is_turned_with_the_photo(tmp_path, orientation, is_given):
    written = write_photo(tmp_path / "photos" / "a.jpg", orientation)
    write_photo(tmp_path / "photos" / "b.jpg", UPRIGHT)
    file = tmp_path / "known.yaml" if is_given else tmp_path / "photos" / "camera.yaml"
    write_camera_yaml(file, CAMERA)
    turned, as_written = open_source(tmp_path / "photos", SourceConfig(camera=str(file) if is_given else ""))
    assert as_written.camera.params.tolist() == CAMERA.params.tolist()
    expected = CalibrationSource.GIVEN if is_given else CalibrationSource.RECORDED
    assert turned.calibration.source is as_written.calibration.source is expected
    point = np.array([0.15, -0.2, 1.0])  # seen at the same pixel by both cameras, that of the turned image being turned
    turns = TURNED[orientation]
    about_z = np.round(SE3.from_rotation_vector([0, 0, turns * np.pi / 2], [0, 0, 0]).rotation)
    x, y = project(CAMERA, point)[0]
    mark = np.zeros(written.shape[:2])
    mark[int(y), int(x)] = 1.0
    row, column = np.argwhere(np.rot90(mark, -turns))[0]
    np.testing.assert_allclose(project(turned.camera, about_z @ point)[0], [column + 0.5, row + 0.5], atol=0.51)


@pytest.mark.parametrize("turns", range(4))
def test_a_known_camera_is_mirrored_with_the_photo(turns):
    point = np.array([0.15, -0.2, 1.0])
    x, y = project(CAMERA, point)[0]
    mark = np.zeros((HEIGHT, WIDTH))
    mark[int(y), int(x)] = 1.0
    row, column = np.argwhere(np.rot90(np.fliplr(mark), -turns))[0]
    shown = turn_upright(CAMERA, WIDTH, HEIGHT, turns, is_mirrored=True)
    about_z = np.round(SE3.from_rotation_vector([0, 0, turns * np.pi / 2], [0, 0, 0]).rotation)
    np.testing.assert_allclose(project(shown, about_z @ (point * [-1, 1, 1]))[0], [column + 0.5, row + 0.5], atol=0.51)


def test_a_calibration_of_the_upright_size_is_taken_as_it_is(tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", 6)
    upright = pycolmap.Camera(model="PINHOLE", width=HEIGHT, height=WIDTH, params=[60, 61, 20, 30])
    write_camera_yaml(tmp_path / "upright.yaml", upright)
    (frame,) = open_source(tmp_path / "photos", SourceConfig(camera=str(tmp_path / "upright.yaml")))
    assert frame.camera.params.tolist() == [60, 61, 20, 30]
    assert frame.image.shape[:2] == (WIDTH, HEIGHT)


def test_a_camera_that_cannot_be_turned_is_refused_in_words(tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", 6)
    params = [60, 60, 32, 24, *[0.001] * 8]
    thin_prism = pycolmap.Camera(model="THIN_PRISM_FISHEYE", width=WIDTH, height=HEIGHT, params=params)
    write_camera_yaml(tmp_path / "thin_prism.yaml", thin_prism)
    with pytest.raises(CalibrationError, match="cannot be turned"):
        open_source(tmp_path / "photos", SourceConfig(camera=str(tmp_path / "thin_prism.yaml")))


def known_poses(camera, poses, folder):
    """The poses of a COLMAP model that holds nothing else, of images of this camera."""
    reconstruction = pycolmap.Reconstruction()
    reconstruction.add_camera_with_trivial_rig(pycolmap.Camera(camera.todict() | {"camera_id": 1}))
    for number, (name, pose) in enumerate(poses.items(), start=1):
        image = pycolmap.Image(name=name, camera_id=1, image_id=number)
        reconstruction.add_image_with_trivial_frame(image, pose.inverse.to_rigid3d())
    folder.mkdir(parents=True)
    reconstruction.write(folder)
    return read_poses(folder)


POSE = SE3.from_rotation_vector([0.1, -0.2, 0.3], [1.0, 2.0, 3.0])
SEEN = POSE @ np.array([[0.3, -0.2, 1.0], [-0.4, 0.25, 1.5], [0.1, 0.0, 2.0]])


@pytest.mark.parametrize("orientation", [UPRIGHT, *TURNED])
def test_poses_of_colmap_models_are_of_photos_as_they_are_stored(tmp_path, orientation):
    write_photo(tmp_path / "photos" / "a.jpg", orientation)
    write_camera_yaml(tmp_path / "camera.yaml", CAMERA)
    known = known_poses(CAMERA, {"a.jpg": POSE}, tmp_path / "sparse" / "0")
    (frame,) = open_source(tmp_path / "photos", SourceConfig(camera=str(tmp_path / "camera.yaml")))
    x, y = project(CAMERA, POSE.inverse @ SEEN).T
    turned = {UPRIGHT: (x, y), 6: (HEIGHT - y, x), 3: (WIDTH - x, HEIGHT - y), 8: (y, WIDTH - x)}[orientation]
    shown = project(frame.camera, known.find_shown(frame, "a.jpg").inverse @ SEEN)
    np.testing.assert_allclose(shown, np.column_stack(turned), atol=1e-6)


def test_poses_of_models_of_upright_photos_stay(tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", 6)
    write_photo(tmp_path / "photos" / "b.jpg", 3)
    upright = turn_upright(CAMERA, WIDTH, HEIGHT, 1)
    a, b = open_source(tmp_path / "photos")
    for frame, camera, folder in ((a, upright, "by_size"), (b, CAMERA, "map")):
        (tmp_path / "map" / "thumbnails").mkdir(exist_ok=True, parents=True)
        known = known_poses(camera, {frame.name: POSE}, tmp_path / folder / "sfm")
        assert known.find_shown(frame, frame.name).is_close(POSE, 1e-6, 1e-5)


def test_poses_of_photos_stored_mirrored_are_refused(tmp_path):
    write_photo(tmp_path / "photos" / "a.jpg", 2)
    known = known_poses(CAMERA, {"a.jpg": POSE}, tmp_path / "sparse")
    (frame,) = open_source(tmp_path / "photos")
    with pytest.raises(SourceError, match=r"a\.jpg is stored mirrored.*write the photo upright"):
        known.find_shown(frame, "a.jpg")


def test_images_with_true_poses_stay_as_they_are_written(tmp_path):
    written = write_photo(tmp_path / "rgb" / "0.jpg", 6)
    write_camera_yaml(tmp_path / "camera.yaml", CAMERA)
    write_tum(tmp_path / "groundtruth_tum.txt", [0], [SE3.identity()])
    (frame,) = open_source(tmp_path)
    np.testing.assert_array_equal(frame.image, written)
    assert frame.camera.params.tolist() == CAMERA.params.tolist()


def test_a_bag_of_photos_holds_them_upright_without_loss(tmp_path):
    for name, orientation in (("a.jpg", 6), ("b.jpg", 8)):
        write_photo(tmp_path / "photos" / name, orientation)
    photos = open_source(tmp_path / "photos")
    write_bag(photos, tmp_path / "bag")
    for photo, frame in zip(photos, open_source(tmp_path / "bag"), strict=True):
        np.testing.assert_array_equal(frame.image, photo.image)
