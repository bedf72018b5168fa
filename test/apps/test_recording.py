"""From the JSON lines of a replay to the records that reports are made from."""

import json

import numpy as np
import pytest

from visloc_ros.apps.recording import Recording
from visloc_ros.core.types import Reason, State, Support
from visloc_ros.evaluation.records import InnovationRecord

AHEAD_NS = 100_000_000
IDENTITY = [1.0, 0.0, 0.0, 0.0]


def transforms(stamp_ns, arrival_s, x):
    """``map -> odom`` dated ahead, ``odom -> camera`` at the image's stamp."""
    pairs = (("map", "odom", stamp_ns + AHEAD_NS, [10.0, 0.0, 0.0]), ("odom", "camera", stamp_ns, [x, 0.0, 0.0]))
    return {
        "topic": "tf",
        "arrival_s": arrival_s,
        "transforms": [
            {"stamp_ns": stamp, "parent": parent, "child": child, "pose": [*position, *IDENTITY]}
            for parent, child, stamp, position in pairs
        ],
    }


def lines():
    """Four images; from the second on fusion knows where the camera is, the last arrives without any answer."""
    stamps = [row * AHEAD_NS for row in range(1, 5)]
    yield from ({"topic": "image", "stamp_ns": stamp, "arrival_s": 1e-9 * stamp} for stamp in stamps)
    for stamp, state, support, reason in (
        (stamps[0], "INITIALIZING", "NONE", "SCALE_UNSET"),
        (stamps[1], "LOCALIZED", "ANCHOR", ""),
        (stamps[2], "LOCALIZED", "MAP_TRACKING", ""),
    ):
        counts = {"anchors_accepted": 3, "anchors_rejected": 1}
        told = {"state": state, "support": support, "reason": reason, **counts}
        yield {"topic": "status", "stamp_ns": stamp, "arrival_s": 1e-9 * stamp + 0.02, **told}
    yield transforms(stamps[0], 0.12, 1.0)
    for stamp, x in zip(stamps[1:3], (2.0, 3.0), strict=True):
        yield transforms(stamp, 1e-9 * stamp + 0.02, x)
        yield {"topic": "pose", "stamp_ns": stamp, "covariance": np.eye(6).ravel().tolist()}
    yield {"topic": "innovation", "stamp_ns": stamps[1], "source": "anchor", "squared": 4.5, "accepted": True}
    yield {"topic": "innovation", "stamp_ns": stamps[2], "source": "tracked", "squared": 99.0, "accepted": False}


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "recording.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines()), encoding="utf-8")
    return Recording(path)


def test_frames_carry_what_their_pose_rests_on(recording):
    frames = recording.frames("map", "odom", "camera")
    assert [frame.state for frame in frames] == [
        State.INITIALIZING, State.LOCALIZED, State.LOCALIZED, State.UNINITIALIZED,
    ]  # fmt: skip
    assert [frame.support for frame in frames] == [Support.NONE, Support.ANCHOR, Support.MAP_TRACKING, Support.NONE]
    assert frames[0].reason is Reason.SCALE_UNSET


def test_poses_are_composed_as_a_transform_listener_does(recording):
    frames = recording.frames("map", "odom", "camera")
    assert frames[0].map_from_camera is None  # the first map -> odom is dated after it
    assert [frame.map_from_camera.translation[0] for frame in frames[1:3]] == pytest.approx([12.0, 13.0])
    assert frames[1].pose_age_ms == pytest.approx(20.0)
    assert frames[3].map_from_camera is None


def test_innovations_are_kept_with_their_verdict(recording):
    assert recording.innovations() == (
        InnovationRecord(200_000_000, "anchor", 4.5, True),
        InnovationRecord(300_000_000, "tracked", 99.0, False),
    )


def test_processor_shares_are_means_of_whole_seconds_added_up_by_stage(tmp_path):
    path = tmp_path / "recording.jsonl"
    percents = ((0.9, 90.0), (2.0, 10.0), (3.0, 20.0))  # the first tells of the second before the interval
    lines = [
        {"topic": "diagnostics", "arrival_s": at_s, "processor_percent": {node: {"decoding": percent}, "other": {}}}
        for at_s, percent in percents
        for node in ("odometry_node: status", "anchor_node: status")
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    assert Recording(path).processor_shares((0.5, 3.5)) == {"decoding": pytest.approx(0.3)}


def test_the_localized_part_begins_with_the_first_fix(recording):
    assert recording.localized_s == pytest.approx((0.22, 0.4))


def test_counts_are_those_of_the_last_status(recording):
    assert recording.fused_anchors() == (3, 1)
    assert recording.frames_dropped == 4
    assert recording.configs() == {}
