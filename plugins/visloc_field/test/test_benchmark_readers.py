"""Data sets are read as they lie on disk: names, cameras, poses, conditions, and what the server calls an image."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from benchmark_trees import (
    STAMPS,
    TREES,
    pose,
    write,
    write_image,
    write_retriangulated,
    write_seven_scenes,
    write_triangulated,
)

from visloc_field.data_sets import DATA_SETS
from visloc_field.listings import read_nvm
from visloc_field.protocol import open_images
from visloc_field.robotcar import CONDITIONS
from visloc_field.scene import INDOOR, OUTDOOR
from visloc_ros.core.errors import SourceError
from visloc_ros.core.trajectory_files import read_tum


def read(name, root, scenes=()):
    TREES[name](root)
    return DATA_SETS[name].read(root, scenes)


def is_pose(one, number):
    return one.map_from_camera.is_close(pose(number), 1e-9, 1e-6)


def test_seven_scenes(tmp_path):
    (scene,) = read("7scenes", tmp_path)
    assert (scene.name, scene.thresholds, scene.unit) == ("redkitchen", INDOOR, "cm")
    assert [image.name for image in scene.database] == [f"seq-01/frame-00000{n}.color.png" for n in range(3)]
    assert [query.result_name for query in scene.queries] == [f"seq-02/frame-00000{n}.color.png" for n in range(3)]
    assert all(is_pose(image, n) for n, image in enumerate(scene.database))
    assert scene.queries[0].camera.params.tolist() == [525, 525, 320, 240]
    assert [image.name for image in scene.thinned(2).database] == [scene.database[0].name, scene.database[2].name]


def test_seven_scenes_with_the_models_of_hloc(tmp_path):
    write_triangulated(tmp_path)
    (scene,) = DATA_SETS["7scenes"].read(tmp_path, [])
    assert [image.name[:6] for image in scene.database] == ["seq-01", "seq-03"]
    (query,) = scene.queries
    assert (query.name, query.path) == ("seq-02/frame-000000.color.png", tmp_path / "stairs" / query.name)
    assert (scene.name, scene.thresholds, query.camera.params[0]) == ("stairs", INDOOR, 585)
    assert is_pose(query, 1)
    write(tmp_path / "7scenes_sfm_triangulated" / "stairs" / "triangulated" / "list_test.txt", "seq-09/other.png")
    with pytest.raises(SourceError, match=r"list_test\.txt:1 lists the image 'seq-09/other\.png' which its model"):
        DATA_SETS["7scenes"].read(tmp_path, [])


def test_twelve_scenes(tmp_path):
    (scene,) = read("12scenes", tmp_path)
    assert scene.name == "apt1/kitchen"
    assert [query.name for query in scene.queries] == ["frame-000000.color.jpg", "frame-000001.color.jpg"]
    assert [image.name for image in scene.database] == ["frame-000002.color.jpg", "frame-000003.color.jpg"]  # 4 is lost
    assert is_pose(scene.database[0], 2)
    camera = scene.queries[0].camera
    assert (camera.width, camera.height, *camera.params) == (1296, 968, 1170, 1171, 647.5, 483.5)


def test_cambridge_as_released(tmp_path):
    (scene,) = read("cambridge", tmp_path, ["ShopFacade"])
    assert scene.thresholds == OUTDOOR
    assert [query.name for query in scene.queries] == [f"seq2/frame0000{n}.png" for n in range(3)]
    assert all(is_pose(query, n) for n, query in enumerate(scene.queries))
    assert scene.database[0].camera.params.tolist() == [1600, 960, 540, 0]


def test_cambridge_with_the_models_of_hloc(tmp_path):
    write_retriangulated(tmp_path)
    (scene,) = DATA_SETS["cambridge"].read(tmp_path, ["KingsCollege"])
    assert [image.name[-5] for image in scene.database] == ["0", "1"]
    assert [query.camera.width for query in scene.queries] == [1920, 1024]  # of the list, else of the model
    assert all(is_pose(query, 2 + n) for n, query in enumerate(scene.queries))
    folder = tmp_path / "CambridgeLandmarks_Colmap_Retriangulated_1024px" / "KingsCollege"
    (folder / "list_query.txt").unlink()
    write(folder / "list_db.txt", "seq1/frame00003.png")
    (other,) = DATA_SETS["cambridge"].read(tmp_path, [])
    assert [image.name for image in other.database] == ["seq1/frame00003.png"]


def test_aachen(tmp_path):
    (scene,) = read("aachen", tmp_path)
    assert [image.name for image in scene.database] == ["db/1.jpg", "db/2.jpg", "sequences/nexus/3.png"]
    assert is_pose(scene.database[2], 2)
    assert [(query.condition, query.result_name) for query in scene.queries] == [("day", "4.jpg"), ("night", "5.jpg")]
    assert all(query.map_from_camera is None for query in scene.queries)
    assert scene.conditions == ("day", "night")
    assert scene.queries[1].camera.params.tolist() == [1469.2, 800, 600, -0.0353019]


def test_aachen_as_hloc_has_it(tmp_path):
    TREES["aachen"](tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images_upright").rename(tmp_path / "images" / "images_upright")
    (tmp_path / "queries" / "day_time_queries_with_intrinsics.txt").unlink()
    (scene,) = DATA_SETS["aachen"].read(tmp_path, ["aachen"])
    assert scene.conditions == ("night",)


def test_robotcar(tmp_path):
    (scene,) = read("robotcar", tmp_path)
    tested, trained = STAMPS
    assert [image.name for image in scene.database] == [
        "overcast-reference/rear/1417176458999821.jpg",
        "overcast-reference/left/1417176458999821.jpg",
    ]
    assert is_pose(scene.database[1], 1)
    assert scene.database[1].camera.params.tolist() == [400, 500.107605, 511.461426, 0]
    rear, left, known = scene.queries
    assert (rear.name, rear.result_name) == (f"night-rain/rear/{tested}.jpg", f"rear/{tested}.jpg")
    assert (left.condition, left.result_name) == ("night-rain", f"left/{tested}.jpg")
    assert (known.condition, known.result_name) == ("dawn", None)
    assert known.name == f"dawn/rear/{trained}.jpg"
    assert is_pose(known, 7)


def test_robotcar_with_conditions_missing(tmp_path, caplog):
    TREES["robotcar"](tmp_path)
    shutil.rmtree(tmp_path / "images" / "night-rain")
    (scene,) = DATA_SETS["robotcar"].read(tmp_path, [])
    assert scene.conditions == ("dawn",)
    assert scene.missing == tuple(condition for condition in CONDITIONS if condition != "dawn")
    assert "without the conditions dusk, night, night-rain," in caplog.text
    for name in ("test", "train"):
        (tmp_path / f"robotcar_v2_{name}.txt").unlink()
    for condition, stamp in (("night-rain", STAMPS[0]), ("dawn", STAMPS[1])):
        listing = tmp_path / "queries" / f"{condition}_queries_with_intrinsics.txt"
        write(listing, f"{condition}/rear/{stamp}.jpg SIMPLE_RADIAL 1024 1024 400 500 500 0")
    (first,) = DATA_SETS["robotcar"].read(tmp_path, ["rear"])
    assert {query.condition for query in first.queries} == {"dawn"}


def test_a_camera_of_robotcar_is_a_scene(tmp_path):
    TREES["robotcar"](tmp_path)
    left, rear = DATA_SETS["robotcar"].read(tmp_path, ["left", "rear"])
    assert [(scene.name, len(scene.database), len(scene.queries)) for scene in (left, rear)] == [
        ("left", 1, 1),
        ("rear", 1, 2),
    ]
    assert [query.name.split("/")[1] for query in (*left.queries, *rear.queries)] == ["left", "rear", "rear"]


def test_extended_cmu(tmp_path):
    urban, park = read("cmu", tmp_path)
    assert (urban.name, urban.conditions) == ("slice2", ("urban",))
    assert (park.name, park.conditions) == ("slice18", ("park",))
    (query,) = urban.queries
    assert query.result_name == query.path.name == "img_00200_c1_128428370us.jpg"
    assert query.camera.params[3] == 397.27
    shutil.rmtree(tmp_path / "slice18")
    (tmp_path / "intrinsics.txt").unlink()
    (tmp_path / "slice2" / "test-images-slice2.txt").unlink()
    (published,) = DATA_SETS["cmu"].read(tmp_path, [])
    assert published.queries[0].camera.params[3] == 397.272397


@pytest.mark.parametrize("name", TREES)
def test_no_image_is_opened_to_read_the_lists(tmp_path, name):
    TREES[name](tmp_path)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".jpg", ".png"):
            path.write_bytes(b"")
    assert DATA_SETS[name].read(tmp_path, [])


def test_cameras_are_scaled_to_the_images_on_disk(tmp_path):
    TREES["cambridge"](tmp_path)
    (scene,) = DATA_SETS["cambridge"].read(tmp_path, [])
    for query in scene.queries:
        write_image(query.path, np.zeros((270, 480, 3), np.uint8))
    frames = list(open_images("shop", scene.queries))
    assert [frame.name for frame in frames] == [query.name for query in scene.queries]
    assert frames[0].camera.params.tolist() == [400, 240, 135, 0]


def test_nvm_distortion_and_names_with_blanks(tmp_path):
    write(tmp_path / "model.nvm", "NVM_V3 FixedK", "", "1", "a b.jpg\t500 1 0 0 0 1 2 3 -0.05 0", "", "12", "x y z")
    (camera,) = read_nvm(tmp_path / "model.nvm")
    assert (camera.name, camera.focal_px, camera.distortion) == ("a b.jpg", 500.0, -0.05)
    assert camera.map_from_camera.translation.tolist() == [1, 2, 3]


def test_real_frames_in_the_layout_as_released(shared_data, tmp_path):
    real = shared_data / "7scenes_redkitchen"
    if not real.is_dir():
        pytest.skip(f"the red kitchen is not at {real}")
    truth = read_tum(real / "groundtruth_tum.txt")
    write_seven_scenes(tmp_path, [(np.zeros((6, 8, 3), np.uint8), truth.poses[0])])
    sequence = tmp_path / "redkitchen" / "seq-02"
    shutil.rmtree(sequence)
    sequence.mkdir()
    for number in range(0, 50, 10):
        name = f"frame-{number:06d}"
        (sequence / f"{name}.color.jpg").symlink_to(real / "rgb" / f"{name}.color.jpg")
        np.savetxt(sequence / f"{name}.pose.txt", truth.poses[number].matrix)
    (scene,) = DATA_SETS["7scenes"].read(tmp_path, [])
    assert len(scene.queries) == 5
    assert all(query.map_from_camera.is_close(truth.poses[10 * n], 1e-6, 1e-4) for n, query in enumerate(scene.queries))
    assert next(iter(open_images("kitchen", scene.queries))).image.shape == (480, 640, 3)
