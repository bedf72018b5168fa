"""What the pose is made from is changed by a service call, while the robot runs."""

import threading

import pytest

pytest.importorskip("rclpy")

from fusion_probe import Setup, odom_from_camera, running, stamp_of
from lifecycle_msgs.srv import GetState
from node_harness import started
from rclpy.parameter import Parameter

from visloc_msgs.msg import LocalizationStatus
from visloc_msgs.srv import SetMode
from visloc_ros.core.types import OdometryPose
from visloc_ros.nodes.fusion_node import FusionNode


def call(setup: Setup, kind: type, name: str, **fields: object) -> object:
    client = setup.probe.create_client(kind, f"fusion_node/{name}")
    setup.wait_for(client.service_is_ready, f"service {name}")
    future = client.call_async(kind.Request(**fields))
    setup.wait_for(future.done, f"answer of {name}")
    return future.result()


def test_anchors_alone_then_both_then_odometry_alone(ros_domain):
    with running() as setup:
        setup.localize()
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED

        assert call(setup, SetMode, "set_mode", mode="hloc").code == SetMode.Response.SUCCESS
        setup.wait_for(lambda: setup.probe.anchor.get_subscription_count() == 1, "subscription to anchors")
        setup.wait_for(lambda: not setup.probe.odometry.get_subscription_count(), "end of odometry")
        setup.mount()
        assert setup.send_anchor_alone(60).state == LocalizationStatus.LOCALIZED

        assert call(setup, SetMode, "set_mode", mode="fused").code == SetMode.Response.SUCCESS
        setup.wait_for(lambda: setup.probe.odometry.get_subscription_count() == 1, "subscription to odometry")
        assert setup.send_frame(70).state != LocalizationStatus.LOCALIZED  # the place in the map is forgotten
        setup.localize(begin=71, anchors=(0, 20, 40))
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED

        assert call(setup, SetMode, "set_mode", mode="odom").code == SetMode.Response.SUCCESS
        assert setup.node.get_parameter("mode").value == "odom"
        setup.wait_for(lambda: not setup.probe.anchor.get_subscription_count(), "end of anchors")


def test_a_mode_that_there_is_not_and_one_that_is_in_use_change_nothing(ros_domain):
    with running() as setup:
        setup.localize()
        answer = call(setup, SetMode, "set_mode", mode="fusd")
        assert (answer.code, "fused, hloc, odom" in answer.message) == (SetMode.Response.INVALID_MODE, True)
        assert call(setup, SetMode, "set_mode", mode="fused").code == SetMode.Response.SUCCESS
        assert setup.send_frame(60).state == LocalizationStatus.LOCALIZED


def test_a_node_that_is_not_active_is_configured_by_its_parameter(ros_domain):
    with running() as setup:
        setup.node.trigger_deactivate()
        answer = call(setup, SetMode, "set_mode", mode="hloc")
        assert (answer.code, "parameter 'mode'" in answer.message) == (SetMode.Response.NOT_ACTIVE, True)
        setup.node.trigger_cleanup()
        assert setup.node.set_parameters([Parameter("mode", value="hloc")])[0].successful
        assert call(setup, GetState, "get_state").current_state.label == "unconfigured"


def test_the_mode_changes_while_another_thread_gives_frames(ros_domain):
    """As in ``localization_node``: what a frame is published with is not taken down before it is out."""
    errors, given, is_over = [], [], threading.Event()
    with started(lambda: FusionNode(takes_odometry=False), "-p", "base_frame:=camera") as harness:

        def give_frames() -> None:
            while not is_over.wait(0.002):  # a camera's pause between two frames
                try:
                    with harness.node.lend_backend("camera", stamp_of(len(given))) as backend:
                        if backend is not None:
                            backend.add_odometry(OdometryPose(stamp_of(len(given)), odom_from_camera(0), 0, 100))
                            given.append(backend)
                except Exception as error:
                    errors.append(error)

        thread = threading.Thread(target=give_frames)
        thread.start()
        for mode in ("odom", "fused") * 5:
            answer = harness.call(SetMode, "fusion_node/set_mode", SetMode.Request(mode=mode))
            assert answer.code == SetMode.Response.SUCCESS
        is_over.set()
        thread.join()
        assert errors == []
        assert given
        assert harness.node.guard.failures == {}
