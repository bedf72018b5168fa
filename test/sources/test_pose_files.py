"""Known poses from TUM files, COLMAP models and kapture data sets, by stamp or by name."""

import numpy as np
import pycolmap
import pytest
from source_data import shared_data

from visloc_ros.core.errors import MapError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import Trajectory, write_tum
from visloc_ros.sources.named_poses import NamedPoses
from visloc_ros.sources.pose_files import read_poses

POSES = {"rgb/a.jpg": SE3.from_rotation_vector([0.1, 0.2, 0.3], [1, 2, 3]), "rgb/b.jpg": SE3(np.eye(3), [4, 5, 6])}


@pytest.fixture
def model():
    """A reconstruction that holds nothing but cameras and posed images."""
    reconstruction = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[60, 60, 32, 24], camera_id=1)
    reconstruction.add_camera_with_trivial_rig(camera)
    for image_id, (name, pose) in enumerate(POSES.items(), start=1):
        image = pycolmap.Image(name=name, camera_id=1, image_id=image_id)
        reconstruction.add_image_with_trivial_frame(image, pose.inverse.to_rigid3d())
    return reconstruction


def check(found):
    assert isinstance(found, NamedPoses)
    assert len(found) == 2
    assert all(found.find(name).is_close(pose, 1e-6, 1e-5) for name, pose in POSES.items())


@pytest.mark.parametrize("place", ["", "sfm", "sparse/0", "sparse"])
@pytest.mark.parametrize("write", ["write_text", "write_binary"])
def test_colmap_models(tmp_path, model, write, place):
    folder = tmp_path / "model" / place
    folder.mkdir(parents=True)
    getattr(model, write)(folder)
    check(read_poses(tmp_path / "model"))


@pytest.mark.parametrize(("write", "name"), [("write_text", "images.txt"), ("write_binary", "images.bin")])
def test_the_images_of_a_model_are_enough(tmp_path, model, write, name):
    getattr(model, write)(tmp_path)
    for path in tmp_path.iterdir():
        if path.name != name:
            path.unlink()
    check(read_poses(tmp_path))
    check(read_poses(tmp_path / name))


def test_a_tum_file_gives_poses_by_stamp(tmp_path):
    write_tum(tmp_path / "poses.txt", [1, 2], list(POSES.values()))
    found = read_poses(tmp_path / "poses.txt")
    assert isinstance(found, Trajectory)
    assert found.stamps_ns.tolist() == [1, 2]


def test_a_kapture_data_set():
    found = read_poses(shared_data("virtual_gallery") / "query")
    assert len(found) == 4
    pose = found.find("rgb_00267.jpg")
    assert np.allclose(pose.inverse.translation, [-0.9806765, 0.975211, 1.882934])


class TestNames:
    def test_a_file_name_alone_is_enough_where_one_image_has_it(self):
        assert NamedPoses(POSES).find("a.jpg") is POSES["rgb/a.jpg"]
        assert NamedPoses({"a.jpg": SE3.identity()}).find("other/a.jpg") is not None

    def test_a_name_that_fits_several_finds_none(self):
        poses = NamedPoses({"left/a.jpg": SE3.identity(), "right/a.jpg": SE3.identity()})
        assert poses.find("a.jpg") is None
        assert poses.find("right/a.jpg") is not None
        assert poses.find("b.jpg") is None

    def test_the_folder_of_the_images_distinguishes_those_of_one_name(self):
        first, second = SE3.identity(), SE3.from_rotation_vector([0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
        poses = NamedPoses({"a.jpg": first, "right/a.jpg": second})  # as maps name the images of two sources
        assert poses.find("a.jpg", "left") is first
        assert poses.find("a.jpg", "right") is second

    def test_a_file_name_that_several_of_the_images_have_is_not_enough(self):
        poses, size = NamedPoses({"a.jpg": SE3.identity()}), (64, 48)
        assert list(poses.find_all(dict.fromkeys(["a.jpg", "right/a.jpg", "b.jpg"], size))) == ["a.jpg"]
        assert list(poses.find_all({"right/a.jpg": size})) == ["right/a.jpg"]

    def test_poses_of_images_turned_by_a_quarter_are_left_out(self):
        poses = NamedPoses({"a.jpg": SE3.identity(), "b.jpg": SE3.identity()}, {"a.jpg": (64, 48), "b.jpg": (48, 64)})
        assert list(poses.find_all({"a.jpg": (640, 480), "b.jpg": (640, 480)})) == ["a.jpg"]


class TestBadInput:
    def test_a_folder_without_poses(self, tmp_path):
        with pytest.raises(SourceError, match="holds no known poses"):
            read_poses(tmp_path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(SourceError, match="cannot read"):
            read_poses(tmp_path / "poses.txt")

    def test_an_image_that_is_there_twice(self, tmp_path):
        line = "{} 1 0 0 0 0 0 0 1 a.jpg\n\n"
        (tmp_path / "images.txt").write_text(line.format(1) + line.format(2))
        with pytest.raises(SourceError, match=r"holds the image 'a\.jpg' twice"):
            read_poses(tmp_path)

    @pytest.mark.parametrize(
        "line", ["1 nan 0 0 0 0 0 0 1 a.jpg", "1 2 0 0 0 0 0 0 1 a.jpg", "1 1 0 0 0 0 0", "one 1 0 0", "{not a model}"]
    )
    def test_garbled_text(self, tmp_path, line):
        (tmp_path / "images.txt").write_text(f"# Image list\n{line}\n\n")
        with pytest.raises(MapError, match="at line 2"):
            read_poses(tmp_path)

    def test_no_images(self, tmp_path):
        (tmp_path / "images.txt").write_text("# none\n")
        with pytest.raises(SourceError, match="holds no images"):
            read_poses(tmp_path)

    def test_a_truncated_model(self, tmp_path, model):
        model.write_binary(tmp_path)
        content = (tmp_path / "images.bin").read_bytes()
        (tmp_path / "images.bin").write_bytes(content[:-5])
        with pytest.raises(MapError, match="truncated"):
            read_poses(tmp_path)


@pytest.mark.parametrize("place", ["", "sparse"])
def test_of_several_models_the_largest_is_taken_and_all_are_named(caplog, place):
    folder = shared_data("cases/two_models") / place
    assert len(read_poses(folder)) == 46
    assert all(words in caplog.text for words in ("0 with 4 images", "1 with 46 images", "1, the largest"))
    assert len(read_poses(shared_data("cases/two_models") / "sparse" / "0")) == 4


def test_models_of_one_size_leave_the_choice_open(tmp_path, model):
    for number in ("0", "10"):
        (tmp_path / "sparse" / number).mkdir(parents=True)
        model.write_binary(tmp_path / "sparse" / number)
    with pytest.raises(SourceError, match=r"sparse/0 with 2 images, sparse/10 with 2 images\): give one of these"):
        read_poses(tmp_path)


def test_a_comment_may_follow_blanks(tmp_path, model):
    model.write_text(tmp_path)
    path = tmp_path / "images.txt"
    path.write_text("  # made by hand\n" + path.read_text())
    check(read_poses(tmp_path))
