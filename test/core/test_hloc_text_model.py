"""COLMAP's text model gives what the binary one gives, and every broken file is refused with its line."""

import numpy as np
import pytest

from visloc_ros.core.colmap_model import read_colmap_model
from visloc_ros.core.colmap_text import read_model, read_text_model
from visloc_ros.core.errors import MapError

FILES = ("cameras.txt", "images.txt", "points3D.txt")


@pytest.fixture
def model(parts, tmp_path):
    parts[0].write_text(tmp_path)
    return tmp_path


def change(path, line_start, old, new):
    """Replace text in the first line that starts so."""
    lines = path.read_text().split("\n")
    row = next(row for row, line in enumerate(lines) if line.startswith(line_start))
    assert old in lines[row]
    lines[row] = lines[row].replace(old, new, 1)
    path.write_text("\n".join(lines))


def test_text_and_binary_agree(parts, model, tmp_path):
    binary_folder = tmp_path / "binary"
    binary_folder.mkdir()
    parts[0].write_binary(binary_folder)
    text, binary = read_model(model), read_colmap_model(binary_folder)
    order, known = np.argsort(text.point_ids), np.argsort(binary.point_ids)
    assert np.allclose(text.points[order], binary.points[known])
    assert np.array_equal(text.track_lengths[order], binary.track_lengths[known])
    assert np.allclose(text.point_errors[order], binary.point_errors[known])
    assert [camera.params.tolist() for camera in text.cameras.values()] == [[600.0, 320.0, 240.0, 0.02]]
    by_name = {image.name: image for image in binary.images}
    for image in text.images:
        assert np.allclose(image.keypoints, by_name[image.name].keypoints)
        assert np.array_equal(image.point_ids, by_name[image.name].point_ids)
        assert np.allclose(image.map_from_camera.matrix, by_name[image.name].map_from_camera.matrix)


def test_an_image_without_keypoints_has_an_empty_line(model):
    lines = (model / "images.txt").read_text().split("\n")
    first = next(row for row, line in enumerate(lines) if line and not line.startswith("#"))
    lines[first + 1] = ""
    (model / "images.txt").write_text("\n".join(lines))
    images = read_text_model(model).images
    assert len(images) == 6
    assert len(images[0].keypoints) == 0


def test_names_may_hold_spaces(model):
    text = (model / "images.txt").read_text()
    name = read_text_model(model).images[0].name
    (model / "images.txt").write_text(text.replace(name, f"my room/{name}"))
    assert f"my room/{name}" in {image.name for image in read_text_model(model).images}


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(model, name):
    (model / name).unlink()
    with pytest.raises(MapError, match=name):
        read_text_model(model)


@pytest.mark.parametrize("name", FILES)
def test_a_line_cut_short_is_named(model, name):
    lines = (model / name).read_text().rstrip("\n").split("\n")
    (model / name).write_text("\n".join([*lines[:-1], " ".join(lines[-1].split()[:4])]))
    with pytest.raises(MapError, match=rf"{name}.*line \d+"):
        read_text_model(model)


@pytest.mark.parametrize(
    ("name", "line_start", "old", "new"),
    [
        ("cameras.txt", "1 ", "SIMPLE_RADIAL", "PERISCOPE"),
        ("cameras.txt", "1 ", "640", "0"),
        ("cameras.txt", "1 ", "600", "nan"),
        ("cameras.txt", "1 ", " 600", ""),
        ("images.txt", "1 ", "1 ", "1 9 "),
        ("points3D.txt", "1 ", "1 ", "1 inf "),
        ("points3D.txt", "1 ", "1 ", "one "),
    ],
)
def test_impossible_values_are_refused(model, name, line_start, old, new):
    change(model / name, line_start, old, new)
    with pytest.raises(MapError, match=rf"{name}.*line \d+"):
        read_text_model(model)


def test_a_camera_without_a_focal_length_is_refused_by_name(model):
    lines = (model / "cameras.txt").read_text().splitlines()
    panorama = ["1 EQUIRECTANGULAR 640 480 640 480" if line.startswith("1 ") else line for line in lines]
    (model / "cameras.txt").write_text("\n".join(panorama))
    with pytest.raises(MapError, match=r"cameras\.txt.*line \d+: EQUIRECTANGULAR has no focal length"):
        read_text_model(model)


def test_an_unknown_camera_is_refused(model):
    change(model / "cameras.txt", "1 ", "1 ", "7 ")
    with pytest.raises(MapError, match=r"images\.txt.*unknown camera 1"):
        read_text_model(model)


def test_bytes_that_are_no_text_are_refused(model):
    (model / "images.txt").write_bytes(b"\xff\xfe\x00 1 2")
    with pytest.raises(MapError, match=r"images\.txt"):
        read_text_model(model)
