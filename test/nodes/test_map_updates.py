"""The map builder updates a map over DDS, and puts earlier versions back; what fails leaves the map as it was."""

import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus
from node_harness import Goal, started

from visloc_msgs.action import UpdateMap
from visloc_ros.core.errors import OutputError
from visloc_ros.core.map import open_map
from visloc_ros.mapping.update.report import UpdateRefusedError
from visloc_ros.nodes import map_builder_node
from visloc_ros.nodes.map_builder_node import MapBuilderNode

Result = UpdateMap.Result


@pytest.fixture
def maps(room_map, tmp_path):
    """A folder of maps with that of the room."""
    shutil.copytree(room_map, tmp_path / "room")
    return tmp_path


def contents(folder):
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {name: (folder / name).read_bytes() for name in names if name.parts[0] != "versions"}


def asked(harness, **fields):
    return Goal(harness, UpdateMap, "map_builder_node/update_map", **fields)


def test_a_map_learns_from_a_drive_and_goes_back_to_the_byte(maps, recording, ros_domain):
    """The drive shows what the map shows, so that the update has only to count it, which is quick."""
    before = contents(maps / "room")
    with started(MapBuilderNode, "-p", f"maps_folder:={maps}") as harness:
        goal = asked(harness, name="room", source=str(recording))
        status, result = goal.result()
        assert (status, result.code) == (GoalStatus.STATUS_SUCCEEDED, Result.SUCCESS), result.message
        assert (result.version, "taught the map" in result.message) == (2, True)
        assert {"select", "learn"} <= {one.stage for one in goal.feedback}
        assert open_map(maps / "room").manifest.version == 2

        status, result = asked(harness, name="room", roll_back=True).result()
        assert (status, result.code, result.version) == (GoalStatus.STATUS_SUCCEEDED, Result.SUCCESS, 1)
    assert contents(maps / "room") == {name: data for name, data in before.items() if name.name != "paging.h5"}


def learn_nothing(send, plan):
    """Stands for an update by a recording of another place."""
    raise UpdateRefusedError("the map learns nothing from this recording")


def test_what_cannot_be_is_refused_in_words_and_the_map_stays(maps, recording, ros_domain, monkeypatch):
    before = contents(maps / "room")
    with started(MapBuilderNode, "-p", f"maps_folder:={maps}") as harness:

        def assert_refused(code, words, **fields):
            status, result = asked(harness, **fields).result()
            assert (status, result.code) == (GoalStatus.STATUS_ABORTED, code), result.message
            assert words in result.message
            assert result.version == 0

        assert_refused(Result.MAP_UNUSABLE, "there is no map", name="hall", source=str(recording))
        assert_refused(Result.INVALID_REQUEST, "no name for a map", name="../room", source=str(recording))
        assert_refused(Result.SOURCE_UNUSABLE, "nowhere.mp4", name="room", source="nowhere.mp4")
        assert_refused(Result.INVALID_REQUEST, "nothing is recorded", name="room")
        assert_refused(Result.INVALID_REQUEST, "no earlier one", name="room", roll_back=True)
        assert_refused(Result.INVALID_REQUEST, "no version 7", name="room", roll_back=True, version=7)
        monkeypatch.setattr(map_builder_node, "update", learn_nothing)
        assert_refused(Result.RECORDING_REFUSED, "learns nothing", name="room", source=str(recording))
    assert contents(maps / "room") == before


def update_when_told(send, plan):
    """Stands for an update: waits until a file has appeared, and has no room then."""
    send("stage", "learn", 1)
    while not Path(plan.recording).exists():
        time.sleep(0.01)
    raise OutputError("cannot write: free some space")


def test_an_update_keeps_others_waiting_and_can_be_cancelled(maps, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "update", update_when_told)
    with started(MapBuilderNode, "-p", f"maps_folder:={maps}") as harness:
        goal = asked(harness, name="room", source=str(maps / "go on"))
        harness.wait_for(lambda: goal.feedback, "feedback")
        assert asked(harness, name="room", roll_back=True).result()[1].code == Result.BUSY
        goal.handle.cancel_goal_async()
        status, result = goal.result()
        assert (status, result.code) == (GoalStatus.STATUS_CANCELED, Result.CANCELLED), result.message

        (maps / "go on").touch()
        assert asked(harness, name="room", source=str(maps / "go on")).result()[1].code == Result.WRITE_FAILED
