"""The map builder and the anchor node: services that answer after the fact, and keep what was there."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from action_msgs.msg import GoalStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from mapped_room import SIMULATION
from nav_msgs.msg import OccupancyGrid
from node_harness import COMPRESSED, DEMO_MAP, TIMEOUT_S, Goal, given, jpeg_msg, localize_request, started
from sensor_msgs.msg import CameraInfo, PointCloud2

from visloc_msgs.action import BuildMap as BuildMapAction
from visloc_msgs.msg import Anchor
from visloc_msgs.srv import BuildMap, LoadMap, Localize, SaveMap
from visloc_ros.core.errors import OutputError
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import NANOSECONDS, write_tum
from visloc_ros.features import make_extractor
from visloc_ros.localization import AnchorEngine, anchor
from visloc_ros.mapping import MapSummary
from visloc_ros.nodes import anchor_node, conversions, map_builder_node
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.maps_folder import MapsFolder
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import LATCHED
from visloc_ros.simulation import simulate
from visloc_ros.sources import ros_messages

TRUTH = simulate(SIMULATION, "map").pose(3)


@pytest.fixture(scope="module")
def frame():
    """A frame of the room, whose camera is at ``TRUTH``."""
    return simulate(SIMULATION, "map").frame(3)


def test_a_path_of_a_request_may_begin_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/robot")
    assert MapsFolder("").path("~/maps/office") == Path("/home/robot/maps/office")


def test_a_map_is_built_by_a_service_call(recording, tmp_path, ros_domain):
    truth = simulate(SIMULATION, "map").ground_truth
    write_tum(tmp_path / "poses.tum", truth.stamps_ns, truth.poses)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        request = BuildMap.Request(source=str(recording), name="room", reference_poses=str(tmp_path / "poses.tum"))
        answer = harness.call(BuildMap, "map_builder_node/build_map", request)
        assert answer.code == BuildMap.Response.SUCCESS, answer.message
        assert answer.registered_images == len(open_map(tmp_path / "room").images)
        assert answer.points > 100

        again = harness.call(BuildMap, "map_builder_node/build_map", request)
        assert again.code == BuildMap.Response.MAP_EXISTS
        assert len(open_map(tmp_path / "room").images) == answer.registered_images


def test_a_build_that_cannot_be_is_refused_in_words(tmp_path, ros_domain):
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        for source, name, code in (
            ("nowhere.mp4", "a", BuildMap.Response.SOURCE_UNUSABLE),
            ("x", "../a", BuildMap.Response.INVALID_REQUEST),
            ("x", "", BuildMap.Response.INVALID_REQUEST),
        ):
            answer = harness.call(BuildMap, "map_builder_node/build_map", BuildMap.Request(source=source, name=name))
            assert answer.code == code
            assert answer.message
        assert list(tmp_path.iterdir()) == []


def build_on_a_full_disk(send, plan):
    """Stands for a build; goes on when a file has appeared, and then has no room."""
    send("stage", "wait", 1)
    while not Path(plan.source).exists():
        time.sleep(0.01)
    raise OutputError("cannot write: free some space")


def die_while_building(_, plan):
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_second_build_is_told_that_one_is_running_and_a_full_disk_is_called_so(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "build", build_on_a_full_disk)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        client = harness.probe.create_client(BuildMap, "map_builder_node/build_map")
        harness.wait_for(client.service_is_ready, "service")
        first = client.call_async(BuildMap.Request(source=str(tmp_path / "go on"), name="room"))
        second = harness.call(BuildMap, "map_builder_node/build_map", BuildMap.Request(source="x", name="hall"))
        assert second.code == BuildMap.Response.BUSY
        (tmp_path / "go on").touch()
        harness.wait_for(first.done, "answer")
        assert first.result().code == BuildMap.Response.WRITE_FAILED


def test_a_build_that_crashes_is_answered_and_the_next_one_is_begun(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "build", die_while_building)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        for _ in range(2):
            answer = harness.call(BuildMap, "map_builder_node/build_map", BuildMap.Request(source="x", name="room"))
            assert (answer.code, "SIGSEGV" in answer.message) == (BuildMap.Response.UNDEFINED, True), answer.message


def test_a_node_that_is_stopped_stops_its_build(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "build", build_on_a_full_disk)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        client = harness.probe.create_client(BuildMap, "map_builder_node/build_map")
        harness.wait_for(client.service_is_ready, "service")
        client.call_async(BuildMap.Request(source=str(tmp_path / "go on"), name="room"))
        harness.wait_for(lambda: multiprocessing.active_children(), "build")
    assert not multiprocessing.active_children()


def test_the_anchor_node_localizes_one_image_by_a_service_call(frame, room_map, ros_domain):
    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        request = localize_request(frame)
        for camera_info in (request.camera_info, CameraInfo()):  # the latter is that of an uncalibrated camera
            request.camera_info = camera_info
            anchor = harness.call(Localize, "anchor_node/localize", request).anchor
            assert anchor.accepted
            assert ros_messages.pose_from_msg(anchor.pose.pose).is_close(TRUTH, 0.03, 0.5)
            assert (anchor.map_name, anchor.metric) == ("room", True)

        grey = localize_request(frame, np.full_like(frame.image, 90))
        answer = harness.call(Localize, "anchor_node/localize", grey)
        assert answer.message.startswith("FEW_FEATURES")
        assert "add light" in answer.message
        request.image.data = b"no image"
        answer = harness.call(Localize, "anchor_node/localize", request)
        assert answer.message == "the image is neither JPEG nor PNG"
        assert (answer.anchor.accepted, answer.anchor.reason) == (False, "BAD_MESSAGE")


def test_the_fused_pose_of_a_frame_or_a_search_prior_says_where_to_search(frame, room_map, ros_domain):
    with started(AnchorNode, "-p", f"map_path:={room_map}", *COMPRESSED) as harness:
        anchors = harness.received(Anchor, "anchor")
        infos, images = harness.camera()
        infos.publish(conversions.camera_to_msg(frame.stamp_ns, "camera", frame.camera))
        for count, topic in enumerate(("camera_pose", "search_prior"), 1):
            stamp_ns = frame.stamp_ns + 10 * count * NANOSECONDS
            prediction = PoseWithCovarianceStamped(header=conversions.header(stamp_ns, "map"))
            prediction.pose = conversions.pose_with_covariance_to_msg(TRUTH, np.eye(6) * 1e-4)
            harness.publisher(PoseWithCovarianceStamped, topic).publish(prediction)
            images.publish(jpeg_msg(frame.image, stamp_ns))
            harness.wait_for(lambda count=count: len(anchors) == count, "anchor")
            assert anchors[-1].accepted
            assert ros_messages.pose_from_msg(anchors[-1].pose.pose).is_close(TRUTH, 0.03, 0.5)
            assert "guided" in {stage.name for stage in anchors[-1].stages}


def test_a_map_whose_z_axis_points_up_is_shown_from_above(ros_domain):
    with started(AnchorNode, "-p", f"map_path:={DEMO_MAP}") as harness:
        plans = harness.received(OccupancyGrid, "map_plan", LATCHED)
        harness.wait_for(lambda: plans, "latched plan of the map")
    plan = plans[0]
    assert 0.02 < plan.info.resolution < 0.1
    assert (plan.info.width * plan.info.resolution, plan.info.height * plan.info.resolution) == pytest.approx(
        (6, 5), 0.1
    )
    assert len(plan.data) == plan.info.width * plan.info.height
    assert {-1, 100} < set(plan.data)


def test_a_map_that_cannot_be_loaded_leaves_the_old_one_in_use(room_map, tmp_path, ros_domain):
    def load(path):
        return harness.call(LoadMap, "anchor_node/load_map", LoadMap.Request(map_path=str(path)))

    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        clouds = harness.received(PointCloud2, "map_points", LATCHED)
        harness.wait_for(lambda: clouds, "latched map points")
        assert clouds[0].width == len(open_map(room_map).points)
        assert load(tmp_path / "absent").code == LoadMap.Response.MAP_DOES_NOT_EXIST
        broken = tmp_path / "broken"
        shutil.copytree(room_map, broken)
        (broken / "features.h5").write_bytes(b"")
        answer = load(broken)
        assert answer.code == LoadMap.Response.INVALID_MAP_DATA
        assert "features.h5" in answer.message
        assert "'room' stays loaded" in answer.message
        (broken / "manifest.json").write_text("{}")
        answer = load(broken)
        assert answer.code == LoadMap.Response.INVALID_MAP_METADATA
        assert "manifest.json" in answer.message
        answer = load("maps/room")
        assert answer.code == LoadMap.Response.MAP_DOES_NOT_EXIST
        assert "absolute path" in answer.message

        loaded = load(room_map)
        assert (loaded.code, loaded.map_name) == (LoadMap.Response.SUCCESS, "room")


def test_of_many_requests_one_map_is_loaded_at_a_time_with_the_models_in_use(room_map, ros_domain, monkeypatch):
    loading, most, models = [], [], []

    def slow_open_map(path):
        loading.append(path)
        most.append(len(loading))
        time.sleep(0.05)  # so that another request could come in between
        loading.pop()
        return open_map(path)

    def counted(config):
        models.append(make_extractor(config))
        return models[-1]

    monkeypatch.setattr(anchor_node, "open_searchable_map", slow_open_map)
    monkeypatch.setattr(anchor, "make_extractor", counted)
    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        client = harness.probe.create_client(LoadMap, "anchor_node/load_map")
        harness.wait_for(client.service_is_ready, "service load_map")
        answers = [client.call_async(LoadMap.Request(map_path=str(room_map))) for _ in range(4)]
        harness.wait_for(lambda: all(answer.done() for answer in answers), "answers of load_map")
    assert {answer.result().code for answer in answers} == {LoadMap.Response.SUCCESS}
    assert most == [1] * 5
    assert len(models) == 1


def test_a_map_that_is_loaded_during_a_search_gives_its_name_to_no_anchor_of_the_old_one(
    frame, room_map, tmp_path, ros_domain, monkeypatch
):
    """The search holds the engine until its anchor is on its way; the service and the camera search in turns."""
    other = tmp_path / "hall"
    shutil.copytree(room_map, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"name": "hall"}))
    searching, go_on, running = threading.Event(), threading.Event(), []
    find = AnchorEngine.solve

    def slow_find(engine, query, prior=None):
        running.append(engine.map.name)
        searching.set()
        go_on.wait(TIMEOUT_S)
        assert running == [engine.map.name], "two searches at once"
        running.clear()
        return find(engine, query, prior)

    monkeypatch.setattr(AnchorEngine, "solve", slow_find)
    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        request = localize_request(frame)
        clients = {
            name: harness.probe.create_client(kind, f"anchor_node/{name}")
            for name, kind in (("localize", Localize), ("load_map", LoadMap))
        }
        harness.wait_for(lambda: all(client.service_is_ready() for client in clients.values()), "services")
        found = clients["localize"].call_async(request)
        harness.wait_for(searching.is_set, "search")
        again = clients["localize"].call_async(request)
        loaded = clients["load_map"].call_async(LoadMap.Request(map_path=str(other)))
        for _ in range(20):
            harness.wait_for(lambda: True, "turn of the executor")
        assert not loaded.done()
        go_on.set()
        harness.wait_for(lambda: found.done() and again.done() and loaded.done(), "answers")
        assert found.result().anchor.map_name == "room"
        assert loaded.result().map_name == "hall"
        assert harness.call(Localize, "anchor_node/localize", request).anchor.map_name == "hall"


def test_the_map_in_use_is_packed_into_a_file_that_opens(room_map, tmp_path, ros_domain):
    def save(path):
        return harness.call(SaveMap, "anchor_node/save_map", SaveMap.Request(path=str(path)))

    archive = tmp_path / "room.tar.gz"
    with started(AnchorNode, "-p", f"map_path:={room_map}") as harness:
        answer = save(archive)
        assert answer.code == SaveMap.Response.SUCCESS, answer.message
        assert answer.size == archive.stat().st_size
        assert len(open_map(archive).points) == len(open_map(room_map).points)

        assert save(archive).code == SaveMap.Response.FILE_EXISTS
        assert save(tmp_path / "room.zip").code == SaveMap.Response.INVALID_REQUEST
        answer = save("room.tar.gz")
        assert answer.code == SaveMap.Response.INVALID_REQUEST
        assert "absolute path" in answer.message
        answer = save(tmp_path / "absent" / "room.tar.gz")
        assert answer.code == SaveMap.Response.WRITE_FAILED
        assert "there is no folder" in answer.message
        assert not (tmp_path / "absent").exists()
        (tmp_path / "file").write_text("")
        answer = save(tmp_path / "file" / "room.tar.gz")
        assert answer.code == SaveMap.Response.WRITE_FAILED
        assert str(tmp_path / "file") in answer.message
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "room.tar.gz"]


def test_an_anchor_machine_localizes_from_the_keyframes_of_the_odometry(frame, room_map, ros_domain):
    """Only keyframes and camera_info cross over to the anchor node; the images stay with the odometry."""
    remapping = ("-r", "anchor_node:image/compressed:=keyframe/compressed")
    options = (*given(f"map_path:={room_map}"), *COMPRESSED, *remapping)
    with started(OdometryNode, *options, others=[AnchorNode]) as harness:
        node, anchors = harness.node, harness.received(Anchor, "anchor")
        infos, images = harness.camera()
        harness.wait_for(
            lambda: (
                infos.get_subscription_count() == 2
                and node._output.keyframes._publisher.get_subscription_count()
                and harness.probe.count_publishers("anchor")
            ),
            "subscriptions of both nodes",
        )
        infos.publish(conversions.camera_to_msg(frame.stamp_ns, "camera", frame.camera))
        images.publish(jpeg_msg(frame.image, frame.stamp_ns))
        harness.wait_for(lambda: anchors, "anchor")
        assert node._output.keyframes_sent == 1
    assert anchors[0].accepted
    assert ros_messages.stamp_from_msg(anchors[0].header.stamp) == frame.stamp_ns
    assert ros_messages.pose_from_msg(anchors[0].pose.pose).is_close(TRUTH, 0.03, 0.5)


def test_an_anchor_node_without_a_map_does_not_start(tmp_path, ros_domain):
    with started(AnchorNode, succeeds=False):
        pass
    with started(AnchorNode, "-p", f"map_path:={tmp_path / 'absent'}", succeeds=False):
        pass


def build_goal(harness, **fields):
    return Goal(harness, BuildMapAction, "map_builder_node/build_map", **fields)


def build_in_two_stages(tell, plan):
    """Stands for a build that reports its progress, and ends once a file has appeared."""
    for stage in ("select", "extract"):
        tell("stage", stage, 3)
        for _ in range(3):
            tell("advance", 1)
    while not Path(plan.source).exists():
        time.sleep(0.01)
    return MapSummary("room", 3, 2, 500, 1500, 3.0, 0.5, True, True)


def test_a_map_is_built_by_an_action_that_reports_its_progress(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "build", build_in_two_stages)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        goal = build_goal(harness, source=str(tmp_path / "go on"), name="room")
        harness.wait_for(lambda: len(goal.feedback) == 8, "feedback")  # once a goal has ended a client takes no more
        (tmp_path / "go on").touch()
        status, result = goal.result()
        assert (status, result.code) == (GoalStatus.STATUS_SUCCEEDED, result.SUCCESS), result.message
        assert (result.registered_images, result.total_images, result.points) == (2, 3, 500)
        steps = [(one.stage, one.done, one.total, round(one.percent)) for one in goal.feedback]
        percents = ((0, 0), (1, 33), (2, 67), (3, 100))
        assert steps == [(stage, done, 3, percent) for stage in ("select", "extract") for done, percent in percents]


def test_a_build_that_is_cancelled_ends_and_the_next_one_is_begun(tmp_path, ros_domain, monkeypatch):
    monkeypatch.setattr(map_builder_node, "build", build_on_a_full_disk)
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}") as harness:
        for _ in range(2):
            goal = build_goal(harness, source=str(tmp_path / "go on"), name="room")
            harness.wait_for(lambda goal=goal: goal.feedback, "feedback")
            busy = build_goal(harness, source="x", name="hall").result()
            assert (busy[0], busy[1].code) == (GoalStatus.STATUS_ABORTED, BuildMapAction.Result.BUSY)
            goal.handle.cancel_goal_async()
            status, result = goal.result()
            assert (status, result.code) == (GoalStatus.STATUS_CANCELED, result.CANCELLED)
        assert not multiprocessing.active_children()
        assert not list(tmp_path.iterdir())
