"""The folder that an anchor node's maps lie in: listed, loaded from by name, and not left by any path."""

import shutil

import pytest

pytest.importorskip("rclpy")

from node_harness import started

from visloc_msgs.srv import ListMaps, LoadMap, SaveMap
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.nodes.anchor_node import AnchorNode


@pytest.fixture
def maps(room_map, tmp_path):
    """A map, the same packed, one that is broken, and what is no map; beside the folder one that is out of reach."""
    folder = tmp_path / "maps"
    folder.mkdir()
    shutil.copytree(room_map, folder / "room")
    pack_map(room_map, folder / "packed.tar.gz")
    shutil.copytree(room_map, folder / "broken")
    (folder / "broken" / "manifest.json").write_text('{"format_version": 1, "counts": 7}')
    (folder / "videos").mkdir()
    (folder / "notes.txt").write_text("not a map")
    shutil.copytree(room_map, tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    return folder


def test_the_maps_of_the_folder_are_listed_those_that_are_broken_too(maps, ros_domain):
    with started(AnchorNode, "-p", f"map_path:={maps / 'room'}", "-p", f"maps_folder:={maps}") as harness:
        answer = harness.call(ListMaps, "anchor_node/list_maps", ListMaps.Request())
        found = {item.path.rpartition("/")[2]: item for item in answer.maps}
        assert (answer.code, set(found)) == (ListMaps.Response.SUCCESS, {"room", "packed.tar.gz", "broken", "link"})
        room, packed, broken = found["room"], found["packed.tar.gz"], found["broken"]
        assert (room.in_use, packed.in_use, broken.in_use) == (True, False, False)
        truth = open_map(maps / "room")
        for item in (room, packed):
            assert (item.name, item.images, item.points) == ("room", len(truth.images), len(truth.points))
            assert (item.metric, item.problem) == (truth.manifest.metric, "")
        assert packed.size == (maps / "packed.tar.gz").stat().st_size < room.size
        assert "manifest.json" in broken.problem
        assert "leads out of" in found["link"].problem


def test_maps_are_loaded_by_name_and_saved_but_none_from_and_to_outside(maps, ros_domain):
    def load(path: object) -> LoadMap.Response:
        return harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(path)))

    def save(path: object) -> SaveMap.Response:
        return harness.call(SaveMap, "anchor_node/save_map", SaveMap.Request(path=str(path)))

    with started(AnchorNode, "-p", f"map_path:={maps / 'room'}", "-p", f"maps_folder:={maps}") as harness:
        assert load("packed.tar.gz").code == LoadMap.Response.SUCCESS
        assert load(maps / "room").code == LoadMap.Response.SUCCESS
        assert load("absent").code == LoadMap.Response.MAP_DOES_NOT_EXIST
        for outside in ("../secret", maps.parent / "secret", "link", "", "."):
            answer = load(outside)
            assert answer.code == LoadMap.Response.INVALID_REQUEST, outside
            assert "stays loaded" in answer.message
        assert save("copy.tar.gz").code == SaveMap.Response.SUCCESS
        assert len(open_map(maps / "copy.tar.gz").points) == len(open_map(maps / "room").points)
        assert save(maps.parent / "copy.tar.gz").code == SaveMap.Response.INVALID_REQUEST
        assert not (maps.parent / "copy.tar.gz").exists()


def test_without_a_folder_there_is_nothing_to_list(room_map, ros_domain, tmp_path):
    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        answer = harness.call(ListMaps, "anchor_node/list_maps", ListMaps.Request())
        assert (answer.code, "maps_folder" in answer.message) == (ListMaps.Response.NO_MAPS_FOLDER, True)
    with started(AnchorNode, "-p", f"map_path:={room_map}", "-p", f"maps_folder:={tmp_path / 'absent'}") as harness:
        answer = harness.call(ListMaps, "anchor_node/list_maps", ListMaps.Request())
        assert (answer.code, "absent" in answer.message) == (ListMaps.Response.NO_MAPS_FOLDER, True)
