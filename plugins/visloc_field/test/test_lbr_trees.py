"""LBR's own trees: read beside those of hloc, with masks and styles for images of the database alone."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from benchmark_trees import STAMPS, pose, write, write_aachen, write_image, write_lbr_aachen, write_lbr_robotcar
from test_benchmark_broken_trees import DAY, remove, replace_in

from visloc_field.aachen import read_aachen
from visloc_field.protocol import BenchmarkConfig, prepare_scenes
from visloc_field.robotcar import read_robotcar
from visloc_field.scene import ResultNames
from visloc_ros.core.errors import SourceError
from visloc_ros.core.progress import SilentProgress

RIGHT, MISSPELT = "global_seg_instance", "gloabl_seg_instance"
REAR = "overcast-reference/rear/1417176458999821"
STYLED, NIGHT_LIST = "stylized/overcast-reference_aug_d", "queries/night_queries_with_intrinsics.txt"


def test_aachen(tmp_path):
    write_lbr_aachen(tmp_path)
    (scene,) = read_aachen(tmp_path)
    one, two, sequence = scene.database
    assert one.path == tmp_path / "images/db/1.jpg"
    assert sequence.map_from_camera.is_close(pose(2), 1e-9, 1e-6)
    assert scene.masks == tmp_path / RIGHT
    assert one.styles == {
        "aug1": tmp_path / "stylized/images_aug1/db/1.jpg",
        "aug2": tmp_path / "stylized/images_aug2/db/1.png",
    }
    assert list(two.styles) == ["aug1"]
    assert [(query.condition, query.result_name) for query in scene.queries] == [("day", "4.jpg"), ("night", "5.jpg")]


def test_the_tree_of_hloc_has_neither_masks_nor_styles(tmp_path):
    write_aachen(tmp_path)
    (scene,) = read_aachen(tmp_path)
    assert scene.masks is None
    assert not any(image.styles for image in scene.database)


@pytest.mark.parametrize("spelling", [RIGHT, MISSPELT])
def test_the_rear_camera_of_robotcar(tmp_path, spelling):
    write_lbr_robotcar(tmp_path)
    (tmp_path / MISSPELT).rename(tmp_path / spelling)
    (scene,) = read_robotcar(tmp_path, ["rear"])
    (image,) = scene.database
    assert (scene.name, image.name) == ("rear", f"{REAR}.jpg")
    assert image.map_from_camera.is_close(pose(0), 1e-9, 1e-6)
    assert scene.masks == tmp_path / spelling
    assert sorted(image.styles) == ["aug_d", "aug_nr", "aug_r"]
    dawn, night = scene.queries  # all images of the conditions
    assert (dawn.condition, dawn.result_name) == ("dawn", f"rear/{STAMPS[1]}.jpg")
    assert night.camera.params.tolist() == [400, 508.222931, 498.187378, 0]
    assert scene.with_result_names(ResultNames.file).queries[0].result_name == f"{STAMPS[1]}.jpg"


def test_another_camera_has_neither_masks_nor_styles(tmp_path):
    write_lbr_robotcar(tmp_path)
    write_image(tmp_path / f"images/night/left/{STAMPS[0]}.jpg")
    left, rear = read_robotcar(tmp_path, ["left", "rear"])
    assert (left.masks, rear.masks) == (None, tmp_path / MISSPELT)
    assert not left.database[0].styles


def test_lists_of_the_first_seasons(tmp_path):
    write_lbr_robotcar(tmp_path)
    shutil.rmtree(tmp_path / "images/overcast-reference/left")
    camera = "SIMPLE_RADIAL 1024 1024 400 508 498 0.01"
    write(tmp_path / NIGHT_LIST, f"night/rear/{STAMPS[0]}.jpg {camera}", f"night/left/{STAMPS[0]}.jpg {camera}")
    (scene,) = read_robotcar(tmp_path, ["rear"])
    (query,) = scene.queries
    assert (query.name, query.condition) == (f"night/rear/{STAMPS[0]}.jpg", "night")
    assert query.camera.params.tolist() == [400, 508, 498, 0.01]
    with pytest.raises(SourceError, match=r"no folder .*overcast-reference/left: .*name another camera by --scenes"):
        read_robotcar(tmp_path)


def test_masks_and_styles_of_the_database_teach_and_nothing_of_queries_does(tmp_path, monkeypatch):
    write_lbr_aachen(tmp_path)
    (scene,) = read_aachen(tmp_path)
    taught = []

    class Strategy:
        preparation = BenchmarkConfig

        def is_prepared(self, manifests):
            return False

        def prepare(self, paths, options, progress, examples):
            taught.append(examples)

    monkeypatch.setattr("visloc_field.protocol.find_strategy", lambda name: Strategy())
    monkeypatch.setattr("visloc_field.protocol.read_manifest", lambda path: None)
    prepare_scenes([scene], [Path("maps/aachen")], "instances", BenchmarkConfig(), SilentProgress())
    prepare_scenes([scene] * 2, [Path("maps/one"), Path("maps/two")], "x", BenchmarkConfig(), SilentProgress())
    names, queries = ({image.name for image in images} for images in (scene.database, scene.queries))
    assert set(taught[0].styles) == names
    assert not names & queries
    assert not any(name.startswith("query/") for name in names)  # masks are named as the images that they are of
    assert taught[0].masks == tmp_path / RIGHT
    assert len(taught[0].styles["db/1.jpg"]) == 2
    assert set(taught[1].styles) == {f"{place}/{name}" for place in ("one", "two") for name in names}


def test_missing_masks_are_counted(tmp_path, caplog):
    write_lbr_aachen(tmp_path)
    (tmp_path / RIGHT / "db/2.png").unlink()
    with caplog.at_level(logging.WARNING):
        assert read_aachen(tmp_path)
    assert "1 of 3 images of the database have no mask" in caplog.text


def move(source, target):
    return lambda root: (root / source).rename(root / target)


def empty(folder, of="*"):
    return lambda root: [path.unlink() for path in (root / folder).rglob(f"{of}.*")]


def cut(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:-3])


AACHEN = [
    (remove("images"), "there is no folder .*images_upright: name the folder"),
    (remove("images/db/2.jpg"), "1 of 5 images of scene 'aachen' are missing.*unpack"),
    (remove("3D-models"), r"neither a folder .*aachen_v_1_1 nor a model in .*3D-models: unpack the model of Aachen"),
    (remove("3D-models/points3D.bin"), r"3D-models cannot be read: unpack it again .*points3D.bin"),
    (cut("3D-models/images.bin"), r"unpack it again .*images.bin is truncated"),
    (remove("queries"), "holds neither day_time.*unpack the queries again"),
    (replace_in(DAY, "1469.2 ", ""), "'NAME MODEL WIDTH HEIGHT PARAMETERS'"),
    (lambda root: shutil.copytree(root / RIGHT, root / MISSPELT), "remove one of the folders"),
    (empty(RIGHT), r"global_seg_instance holds no mask of the database, such as .*/db/1.png: unpack the masks again"),
    (move(f"{RIGHT}/db", f"{RIGHT}/database"), None),  # those of sequences are still there
    (empty("stylized/images_aug1"), r"images_aug1 holds no image of the database, such as .*images_aug1/db/1.jpg: unp"),
    (move("stylized/images_aug2", "stylized/aug1"), "second folder of the style 'aug1': remove one of the two"),
]
ROBOTCAR = [
    (remove("images"), "there is no folder .*images: name the folder of RobotCar Seasons, all unpacked"),
    (remove("3D-models"), "all.nvm: it is missing: unpack"),
    (remove("3D-models/sfm-sift/cameras.bin"), "sfm-sift cannot be read: unpack it again .*cameras.bin"),
    (cut("3D-models/sfm-sift/images.bin"), "sfm-sift cannot be read.*images.bin"),
    (remove(f"images/{REAR}.jpg"), f"1 of 3 images of scene 'rear' are missing, .*{REAR}.jpg the first"),
    (empty("images", STAMPS[0]), None),
    (remove("images/night"), None),
    (lambda root: [shutil.rmtree(root / "images" / name) for name in ("night", "dawn")], "has no images to find"),
    (empty(MISSPELT), f"gloabl_seg_instance holds no mask of the database, such as .*{REAR}.png"),
    (move(f"{MISSPELT}/overcast-reference/rear", f"{MISSPELT}/rear"), "gloabl_seg_instance holds no mask"),
    (lambda root: shutil.copytree(root / MISSPELT, root / RIGHT), "remove one of the folders"),
    (move(f"{STYLED}/rear", f"{STYLED}/left"), r"_aug_d holds no image of the database, such as .*_d/rear/14\d*.jpg"),
    (lambda root: write(root / NIGHT_LIST, "a.jpg SIMPLE_PINHOLE 8 6 5 4 3"), "lists 'a.jpg', which is no CONDITION"),
    (lambda root: write(root / NIGHT_LIST, "night/rear/1.jpg"), "'NAME MODEL WIDTH HEIGHT PARAMETERS'"),
    (lambda root: (root / "images/fog").mkdir(), "fog is no condition of RobotCar Seasons"),
]


@pytest.mark.parametrize(
    ("make", "read", "change", "complaint"),
    [
        *((write_lbr_aachen, lambda root: read_aachen(root), *case) for case in AACHEN),
        *((write_lbr_robotcar, lambda root: read_robotcar(root, ["rear"]), *case) for case in ROBOTCAR),
    ],
)
def test_a_broken_tree(tmp_path, make, read, change, complaint):
    make(tmp_path)
    change(tmp_path)
    if complaint is None:  # it can be done without
        assert read(tmp_path)
        return
    with pytest.raises(SourceError, match=complaint) as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_query_in_the_model_is_refused(tmp_path):
    write_aachen(tmp_path)
    images = tmp_path / "3D-models/aachen_v_1_1/images.txt"
    images.write_text(images.read_text().replace("db/2.jpg", "query/day/nexus4/9.jpg"))
    write_image(tmp_path / "images_upright/query/day/nexus4/9.jpg")
    with pytest.raises(SourceError, match=r"has the query 'query/day/nexus4/9.jpg': unpack the model"):
        read_aachen(tmp_path)
