"""The real node processes over DDS: a real bag in, true poses out, and the same poses again from what was recorded."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from visloc_ros.apps.recomputation import recompute
from visloc_ros.apps.replay import Layout, ReplayPlan, replay
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.types import State
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import PairConfig, SelectionConfig
from visloc_ros.nodes.bag_recorder import message_class, write_recording
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_messages import iterate_serialized

# The bag holds every second frame of the sequence from this one on; the map is made of others.
FIRST_FRAME, LAST_FRAME, MAP_EVERY = 101, 181, 8
NUM_FRAMES = 40  # of the bag that are played
RATES = (0.5, 0.15, 0.05)  # slower where a busy computer drops frames


@pytest.fixture(scope="module")
def flight_map(shared_data, tmp_path_factory):
    source = open_source(shared_data / "euroc_mh05", SourceConfig(first=FIRST_FRAME, last=LAST_FRAME, every=MAP_EVERY))
    config = MappingConfig(
        selection=SelectionConfig(rate_hz=0.0, min_motion=0.0), pairs=PairConfig(window=2, retrieval=1)
    )
    folder = tmp_path_factory.mktemp("maps") / "flight"
    build_map(source, folder, config, reference_poses=source.ground_truth)
    return folder


@pytest.fixture(scope="module")
def flight(shared_data, tmp_path_factory):
    """The bag's beginning."""
    whole = shared_data / "ros2bag_mh05_mcap"
    *_, last = BagSource(whole, SourceConfig(last=NUM_FRAMES - 1))
    messages = (
        (received_ns, topic, message_class(kind), data)
        for received_ns, topic, kind, data in iterate_serialized(whole)
        if received_ns <= last.stamp_ns
    )
    bag = tmp_path_factory.mktemp("bags") / "flight"
    write_recording(bag, list(messages), {})
    return bag


@pytest.mark.timeout(300)
@pytest.mark.parametrize("layout", [Layout.SEARCH_APART, Layout.COMPOSED], ids=lambda layout: layout.value)
def test_a_real_bag_is_localized_by_the_nodes(flight_map, flight, ros_domain, layout, tmp_path):
    source = BagSource(flight, SourceConfig())
    for rate in RATES:
        plan = ReplayPlan(flight_map, flight, rate, ros_domain, layout=layout, recorded_bag=tmp_path / "recording")
        record = replay(plan, source, source.ground_truth)
        if record.frames_dropped == 0:
            break

    assert len(record.frames) == NUM_FRAMES
    assert record.frames_dropped == 0
    found = [frame for frame in record.frames if frame.map_from_camera is not None]
    assert len(found) >= 12, "the camera was found too late or lost"
    first = record.frames.index(found[0])
    assert len(found) >= 0.95 * len(record.frames[first:])
    assert all(frame.state in (State.LOCALIZED, State.DEGRADED) for frame in found)

    poses = [source.ground_truth.nearest(frame.stamp_ns, 0) for frame in found]
    pairs = [(frame.map_from_camera, pose) for frame, pose in zip(found, poses, strict=True)]
    errors_m = [np.linalg.norm(estimate.translation - true.translation) for estimate, true in pairs]
    errors_deg = [rotation_angle_deg(estimate.rotation, true.rotation) for estimate, true in pairs]
    assert np.median(errors_m) < 0.05
    assert np.max(errors_m) < 0.20
    assert np.median(errors_deg) < 0.5
    assert any(anchor.accepted for anchor in record.anchors)

    again = recompute(tmp_path / "recording")
    assert again.is_complete
    assert again.common >= 3 * len(found)  # map -> odom, odom -> base, and the pose
    assert again.largest_difference < 1e-9
