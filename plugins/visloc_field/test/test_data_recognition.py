"""Data sets are recognised below a folder as their archives unpack, and a part of one is named as such."""

import pytest
from benchmark_trees import (
    TREES,
    pose,
    words,
    write,
    write_image,
    write_lbr_aachen,
    write_lbr_robotcar,
    write_retriangulated,
    write_triangulated,
)

from visloc_field.excerpt import read_excerpt
from visloc_field.found_data import FoundData, find_data
from visloc_field.published import EUROC, KITTI, TUM, published_for, sequence_name
from visloc_ros.core.errors import SourceError


def write_euroc(root):
    """A flight as ETH's archive of it unpacks."""
    camera = root / "machine_hall" / "MH_05_difficult" / "mav0" / "cam0"
    write(camera / "sensor.yaml", "sensor_type: camera")
    write(camera / "data.csv", "#timestamp [ns],filename", "1403638518077829376,1403638518077829376.png", "2,2.png")
    for stamp in ("1403638518077829376", "2"):
        write_image(camera / "data" / f"{stamp}.png")
    return camera.parents[1]


def write_kitti(root):
    """A drive as the archives of grey images, calibration and poses unpack together."""
    folder = root / "dataset" / "sequences" / "06"
    write(folder / "calib.txt", "P0: 1 0 0 0 0 1 0 0 0 0 1 0")
    write(folder / "times.txt", "0.0", "0.1")
    for number in range(2):
        write_image(folder / "image_0" / f"{number:06d}.png")
    return folder


def write_tum(root):
    """A recording as TUM's archive of it unpacks."""
    folder = root / "rgbd_dataset_freiburg1_desk2"
    write(folder / "rgb.txt", "# color images", "# file: 'rgbd_dataset_freiburg1_desk2.bag'", "1.5 rgb/1.5.png")
    write(folder / "depth.txt", "# depth maps", "1.5 depth/1.5.png")
    write_image(folder / "rgb" / "1.5.png")
    return folder


SEQUENCES = {"euroc": write_euroc, "kitti": write_kitti, "tum": write_tum}


@pytest.mark.parametrize("name", TREES)
def test_a_data_set_is_recognised_where_it_is_and_below(tmp_path, name):
    TREES[name](tmp_path / "downloads" / "set")
    found = [FoundData(name, tmp_path / "downloads" / "set")]
    assert list(find_data(tmp_path)) == list(find_data(found[0].folder)) == found


def test_what_is_unpacked_in_one_folder_is_found_beside_each_other(tmp_path):
    for name in ("7scenes", "12scenes", "cambridge"):
        TREES[name](tmp_path)
    TREES["aachen"](tmp_path / "aachen_v1.1")
    sequences = {FoundData(name, write(tmp_path)) for name, write in SEQUENCES.items()}
    scenes = {FoundData(name, tmp_path) for name in ("7scenes", "12scenes", "cambridge")}
    assert set(find_data(tmp_path)) == sequences | scenes | {FoundData("aachen", tmp_path / "aachen_v1.1")}


OTHERS = {
    write_triangulated: "7scenes",
    write_retriangulated: "cambridge",
    write_lbr_aachen: "aachen",
    write_lbr_robotcar: "robotcar",
}


@pytest.mark.parametrize(("tree", "name"), OTHERS.items())
def test_the_trees_of_hloc_and_lbr_are_recognised(tmp_path, tree, name):
    tree(tmp_path)
    assert list(find_data(tmp_path)) == [FoundData(name, tmp_path)]


@pytest.mark.parametrize(("name", "write_it"), SEQUENCES.items())
def test_a_sequence_without_some_of_its_images_is_an_excerpt(tmp_path, name, write_it):
    folder = write_it(tmp_path)
    assert list(find_data(tmp_path)) == [FoundData(name, folder)]
    sorted(folder.rglob("*.png"))[0].unlink()
    assert list(find_data(tmp_path)) == [FoundData(name, folder, is_whole=False)]


def test_a_sequence_of_a_scene_is_mapped_at_its_beginning_and_searched_at_its_end(tmp_path):
    folder = tmp_path / "seq-01"
    for number in range(6):
        write_image(folder / f"frame-{number:06d}.color.png")
        write(folder / f"frame-{number:06d}.pose.txt", *[words(row) for row in pose(number).matrix])
    assert list(find_data(tmp_path)) == [FoundData("7scenes", folder, is_whole=False)]
    scene = read_excerpt(folder)
    assert (scene.name, len(scene.database), len(scene.queries)) == ("seq-01", 4, 2)
    assert scene.queries[0].map_from_camera.is_close(pose(4), 1e-9, 1e-6)
    for path in folder.glob("*.pose.txt"):
        path.unlink()
    with pytest.raises(SourceError, match="has no true poses: unpack all files"):
        read_excerpt(folder)


def test_a_folder_without_data_holds_none_and_a_missing_one_is_refused(tmp_path):
    write_image(tmp_path / "photos" / "1.jpg")
    assert list(find_data(tmp_path)) == []
    with pytest.raises(SourceError, match=r"there is no folder .*none: name the one"):
        list(find_data(tmp_path / "none"))


@pytest.mark.parametrize(
    ("data_set", "folder", "name"),
    [
        ("euroc", "MH_05_difficult", "MH_05"),
        ("euroc", "V1_01_easy", "V1_01"),
        ("euroc", "euroc_v203", "V2_03"),
        ("kitti", "06", "06"),
        ("kitti", "kitti_00_small", "00"),
        ("tum", "rgbd_dataset_freiburg1_desk2", "fr1_desk2"),
        ("tum", "tum_fr1_rpy_start", "fr1_rpy"),
        ("tum", "walk", "walk"),
    ],
)
def test_sequences_are_called_as_papers_call_them(data_set, folder, name):
    assert sequence_name(data_set, folder) == name


@pytest.mark.parametrize(
    ("data_set", "names", "method", "mean"),
    [
        ("euroc", EUROC, "DPVO", 0.104),
        ("euroc", EUROC, "DROID-VO", 0.186),
        ("euroc", EUROC, "DROID-SLAM", 0.022),
        ("euroc", EUROC, "ORB-SLAM3", 0.041),  # of ten
        ("kitti", KITTI, "DPVO", 53.61),
        ("kitti", KITTI, "DPV-SLAM", 53.03),
        ("kitti", KITTI, "DPV-SLAM++", 25.75),
        ("kitti", KITTI, "DROID-VO", 54.19),
        ("tum", TUM, "DPVO", 0.089),
        ("tum", TUM, "DROID-VO", 0.098),
        ("tum", TUM, "DROID-SLAM", 0.038),
    ],
)
def test_published_errors_have_the_mean_that_their_papers_state(data_set, names, method, mean):
    (errors,) = (one.ate_m for one in published_for(data_set) if one.method == method)
    assert set(errors) <= set(names)
    assert sum(errors.values()) / len(errors) == pytest.approx(mean, rel=0.025)
