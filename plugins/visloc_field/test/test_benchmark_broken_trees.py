"""Every broken data set is refused in words that say what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from benchmark_trees import STAMPS, TREES, write, write_image, write_retriangulated

from visloc_field.data_sets import DATA_SETS
from visloc_field.robotcar import CONDITIONS
from visloc_ros.core.errors import SourceError

RETRIANGULATED = Path("CambridgeLandmarks_Colmap_Retriangulated_1024px", "KingsCollege")


def remove(path):
    def change(root):
        if (root / path).is_dir():
            shutil.rmtree(root / path)
        else:
            (root / path).unlink()

    return change


def replace_in(path, old, new):
    def change(root):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return change


def add_line(path, line):
    def change(root):
        with (root / path).open("a") as file:
            file.write(line + "\n")

    return change


def double_first_line(path, number=0):
    def change(root):
        lines = (root / path).read_text().splitlines()
        (root / path).write_text("\n".join([*lines, lines[number], ""]))

    return change


def add_unknown_stamp(root):
    """Where all conditions are there, every image must be."""
    for condition in CONDITIONS:
        (root / "images" / condition).mkdir(exist_ok=True)
    add_line("robotcar_v2_test.txt", "rear/15.jpg")(root)


KITCHEN, ROOM, SHOP = "redkitchen", "apt1/kitchen", "ShopFacade"
DAY = "queries/day_time_queries_with_intrinsics.txt"
ALL = "3D-models/all-merged/all.nvm"

BROKEN = [
    ("7scenes", [], remove(f"{KITCHEN}/TestSplit.txt"), "TestSplit.txt.*missing.*unpack"),
    ("7scenes", [], remove(f"{KITCHEN}/seq-02/frame-000001.pose.txt"), "frame-000001.pose.txt.*unpack"),
    ("7scenes", [], remove(f"{KITCHEN}/seq-02"), r"unpack seq-02\.zip"),
    (
        "7scenes",
        [],
        lambda root: write(root / KITCHEN / "seq-01/frame-000000.pose.txt", "1 0 0"),
        "unpack the sequence",
    ),
    ("7scenes", [], lambda root: write(root / KITCHEN / "TrainSplit.txt", "seq one"), "'sequenceN'"),
    ("7scenes", ["kitchen"], lambda root: None, "no scene 'kitchen'; choose from chess"),
    ("7scenes", ["chess"], lambda root: None, "unpack this scene"),
    ("7scenes", [], remove(KITCHEN), "holds no scene of 7-Scenes: name the folder"),
    ("7scenes", [], add_line(f"{KITCHEN}/TestSplit.txt", "sequence1"), "image 'seq-01/frame-000000.color.png' twice"),
    ("12scenes", [], remove(f"{ROOM}/info.txt"), "info.txt.*unpack"),
    ("12scenes", [], remove(f"{ROOM}/data/frame-000001.pose.txt"), "frame-000001.pose.txt.*unpack"),
    ("12scenes", [], replace_in(f"{ROOM}/split.txt", "frames=2", "frames=3"), "do not follow each other"),
    ("12scenes", [], replace_in(f"{ROOM}/split.txt", "sequence1", "part"), "of the form 'sequenceN"),
    ("12scenes", [], lambda root: write(root / ROOM / "split.txt", "sequence0 [frames=2] [start=0 ; end=1]"), "fewer"),
    ("12scenes", [], replace_in(f"{ROOM}/info.txt", "1170 0 647", "1170 0"), "no colour camera .*: unpack"),
    ("12scenes", [], replace_in(f"{ROOM}/info.txt", "1170", "-1"), "no colour camera .*: unpack"),
    ("12scenes", ["apt1/attic"], lambda root: None, "no scene 'apt1/attic'; choose from apt1/kitchen"),
    ("12scenes", [], lambda root: write_image(root / ROOM / "data/frame-000001.color.png"), "twice"),
    ("cambridge", [], remove(f"{SHOP}/reconstruction.nvm"), "reconstruction.nvm.*missing.*unpack"),
    ("cambridge", [], remove(f"{SHOP}/seq2/frame00001.png"), "1 of 6 images.*unpack"),
    ("cambridge", [], replace_in(f"{SHOP}/reconstruction.nvm", "\n6\n", "\n9\n"), "no line|ends before its 9 cameras"),
    ("cambridge", [], replace_in(f"{SHOP}/reconstruction.nvm", "\t1600.0", "\tfar"), "no line of the form 'NAME FOCAL"),
    ("cambridge", [], replace_in(f"{SHOP}/reconstruction.nvm", "seq2/frame00001.jpg", "x.jpg"), "no camera of 'seq2/"),
    ("cambridge", [], lambda root: write(root / SHOP / "reconstruction.nvm", "NVM_V2"), "no NVM file"),
    ("cambridge", [], add_line(f"{SHOP}/dataset_test.txt", "seq2/a.png 1 2 3"), "'IMAGE X Y Z QW QX QY QZ'"),
    ("cambridge", [], add_line(f"{SHOP}/dataset_test.txt", "seq2/a.png 1 2 3 9 0 0 0"), "'IMAGE X Y Z QW QX QY QZ'"),
    ("cambridge", [], lambda root: write(root / SHOP / "dataset_test.txt", "x"), "no heading 'ImageFile"),
    ("cambridge", ["Street"], lambda root: None, "no scene 'Street'"),
    ("cambridge", [], double_first_line(f"{SHOP}/dataset_train.txt", 3), "image 'seq1/frame00000.png' twice"),
    ("hloc", [], remove(RETRIANGULATED / "list_query.txt"), "neither list_query.txt nor list_db.txt"),
    ("hloc", [], add_line(RETRIANGULATED / "list_query.txt", "seq9/a.png"), "'seq9/a.png' which its model"),
    ("hloc", [], double_first_line(RETRIANGULATED / "list_query.txt"), "frame00002.png' twice"),
    ("hloc", [], remove(RETRIANGULATED / "empty_all/images.txt"), "cannot be read: unpack it again"),
    ("hloc", [], replace_in("KingsCollege/query_list_with_intrinsics.txt", "1080", "tall"), "'NAME MODEL WIDTH"),
    ("aachen", [], remove(DAY.replace("day_", "night_")), None),
    ("aachen", [], remove("queries"), "holds neither day_time"),
    ("aachen", [], remove("images_upright"), "there is no folder"),
    ("aachen", [], remove("images_upright/db/2.jpg"), "1 of 5 images of scene 'aachen' are missing.*unpack"),
    ("aachen", [], remove("3D-models/aachen_v_1_1/cameras.txt"), "cannot be read: unpack it again"),
    ("aachen", [], replace_in(DAY, " -0.0353019", ""), "'NAME MODEL WIDTH HEIGHT PARAMETERS'"),
    ("aachen", [], replace_in(DAY, "SIMPLE_RADIAL", "SIMPLE_ROUND"), "'NAME MODEL WIDTH HEIGHT PARAMETERS'"),
    ("aachen", [], lambda root: write(root / DAY.replace("day", "dusk"), ""), "no condition of Aachen"),
    ("aachen", ["db"], lambda root: None, "no scene 'db': leave --scenes out"),
    ("aachen", [], double_first_line(DAY), "a second time"),
    ("aachen", [], replace_in(DAY, "nexus4/4.jpg", "../night/nexus5x/5.jpg"), "image '5.jpg' twice"),
    ("robotcar", [], remove("images"), "there is no folder"),
    ("robotcar", [], remove("robotcar_v2_test.txt"), "robotcar_v2_test.txt.*missing.*unpack"),
    ("robotcar", [], remove("images/overcast-reference/left"), "no folder .*reference/left: unpack all"),
    ("robotcar", ["rear"], remove("images/night-rain/left"), None),
    ("robotcar", ["rear"], remove("images/overcast-reference/left"), None),
    ("robotcar", [], remove("images/overcast-reference/left/1417176458999821.jpg"), "1 of 5 images"),
    ("robotcar", [], remove("images/night-rain/left"), "must be there once for each camera"),
    ("robotcar", [], add_line("robotcar_v2_test.txt", "rear/15.jpg"), None),  # of a condition that is not unpacked
    ("robotcar", [], add_unknown_stamp, "is in none: unpack"),
    ("robotcar", [], replace_in("robotcar_v2_train.txt", " 1.0\n", "\n"), "the 16 numbers of its pose"),
    ("robotcar", [], replace_in(ALL, "\n2\n", "\ntwo\n"), "NUMBER OF CAMERAS"),
    ("robotcar", [], replace_in(ALL, "\t400.0", "\t0"), "'NAME FOCAL"),
    ("robotcar", [], replace_in(ALL, "/rear/", "/front/"), "no overcast-reference/CAMERA/STAMP"),
    ("robotcar", [], lambda root: (root / "images/fog").mkdir(), "fog is no condition of RobotCar Seasons"),
    ("robotcar", ["night"], lambda root: None, "no scene 'night'"),
    ("robotcar", [], double_first_line("robotcar_v2_test.txt"), f"night-rain/rear/{STAMPS[0]}.jpg' twice"),
    ("robotcar", [], lambda root: write_image(root / f"images/sun/rear/{STAMPS[0]}.jpg"), "is in night-rain/rear, "),
    ("cmu", [], remove("slice2/sparse"), "cannot be read: unpack it again"),
    ("cmu", [], remove("slice2/query"), "1 of 3 images of scene 'slice2'"),
    ("cmu", [], remove("intrinsics.txt"), None),
    ("cmu", [], replace_in("intrinsics.txt", "\nc1", "\n#"), "must list the cameras c0 and c1"),
    ("cmu", [], replace_in("intrinsics.txt", "868.99 ", ""), "'NAME MODEL WIDTH HEIGHT PARAMETERS'"),
    ("cmu", [], add_line("slice2/test-images-slice2.txt", "img_1_c7_2us.jpg"), "names no camera"),
    ("cmu", ["slice7"], lambda root: None, "no scene 'slice7'; choose from slice2"),
    ("cmu", [], double_first_line("slice2/test-images-slice2.txt"), "twice"),
    ("cmu", [], lambda root: write(root / "slice2/test-images-slice2.txt"), "no images to find"),
]


@pytest.mark.parametrize(("name", "scenes", "change", "complaint"), BROKEN)
def test_a_broken_data_set(tmp_path, name, scenes, change, complaint):
    (write_retriangulated if name == "hloc" else TREES[name])(tmp_path)
    change(tmp_path)
    read = DATA_SETS["cambridge" if name == "hloc" else name].read
    if complaint is None:  # it can be done without
        assert read(tmp_path, scenes)
        return
    with pytest.raises(SourceError, match=complaint):
        read(tmp_path, scenes)
