"""An estimator restarts where its numbers break down, reports anchors that had to wait, and keeps its last pose."""

import os
from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import play
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.errors import OutputError, SourceError
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix
from visloc_ros.core.types import (
    ACCEPTED,
    PENDING,
    AnchorPose,
    Estimate,
    LoopClosure,
    MapIdentity,
    OdometryPose,
    Reason,
    Rejection,
    State,
    TrackedPose,
)
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import MAX_PENDING, Fuser
from visloc_ros.fusion.last_pose import FILE_NAME, LastPose, read_last_pose, write_last_pose

CALM = FusionScenario(duration_s=8.0, rate_hz=10.0, jitter=0.0, jitter_deg=0.0, outlier_share=0.0)
SOUND = Estimate(1, State.LOCALIZED, None, SE3.identity(), SE3.identity(), np.eye(6))


@pytest.fixture
def run():
    return simulate_run(CALM, seed=1)


def raising(*_):
    raise np.linalg.LinAlgError("57-th leading minor not positive definite")


@pytest.mark.parametrize(
    ("method", "fails", "argument", "otherwise"),
    [
        ("add_odometry", "_take_odometry", OdometryPose(5, SE3.identity(), 0, 10), None),
        ("predict", "_predict", 5, None),
        ("add_anchor", "_judge_anchor", AnchorPose(5, SE3.identity(), np.eye(6), 1, 1, 0.5), Reason.INTERNAL_ERROR),
        (
            "add_tracked",
            "_judge_tracked",
            TrackedPose(5, SE3.identity(), np.eye(6), 1, np.eye(6), 1, 1, 0.5),
            Reason.INTERNAL_ERROR,
        ),
        ("add_loop", "_judge_loop", LoopClosure(1, 5, None, np.eye(7)), Reason.INTERNAL_ERROR),
    ],
)
def test_a_failure_is_a_refusal_with_its_reason_and_a_fresh_start(
    monkeypatch, method, fails, argument, otherwise, caplog
):
    estimator = Fuser(FusionConfig(), metric=True)
    restarted = []
    monkeypatch.setattr(estimator, fails, raising)
    monkeypatch.setattr(estimator, "restart", lambda: restarted.append(method))
    answer = getattr(estimator, method)(argument)
    assert (answer if otherwise is None else answer.reason) == otherwise
    assert restarted == [method]
    assert estimator.failures == 1
    assert "57-th leading minor" in caplog.text


@pytest.mark.parametrize(
    "absurd",
    [
        replace(SOUND, map_from_odom=SE3(np.eye(3), np.array([1e155, 0.0, 0.0]))),
        replace(SOUND, odom_from_camera=SE3(np.full((3, 3), np.nan), np.zeros(3))),
        replace(SOUND, covariance=-np.eye(6)),
        replace(SOUND, covariance=np.full((6, 6), np.inf)),
    ],
    ids=["far", "no rotation", "negative covariance", "infinite covariance"],
)
def test_an_absurd_pose_is_never_given(monkeypatch, absurd):
    estimator = Fuser(FusionConfig(), metric=True)
    answers = iter([absurd, Estimate(1, State.INITIALIZING)])
    monkeypatch.setattr(estimator, "_estimate", lambda stamp_ns: next(answers))
    assert estimator.estimate(1).map_from_camera is None
    assert estimator.failures == 1


def test_after_a_failure_the_odometry_frame_goes_on_and_anchors_align_it_again(run, monkeypatch):
    fuser = Fuser(FusionConfig(), metric=True)
    play(fuser, run)
    before = fuser.estimate(run.stamps_ns[-1]).odom_from_camera
    fuser.restart()
    later = [stamp + run.stamps_ns[-1] - run.stamps_ns[0] + 10**8 for stamp in run.stamps_ns]
    shift_ns = later[0] - run.stamps_ns[0]
    again = replace(
        run,
        stamps_ns=later,
        odometry=[replace(one, stamp_ns=one.stamp_ns + shift_ns) for one in run.odometry],
        anchors=[(arrival + shift_ns, replace(one, stamp_ns=one.stamp_ns + shift_ns)) for arrival, one in run.anchors],
    )
    estimates = play(fuser, again)
    found = [one for one in estimates if one.map_from_camera is not None]
    assert np.linalg.norm(found[0].odom_from_camera.translation - before.translation) < 0.5
    truth = dict(zip(later, run.truth, strict=True))
    assert estimates[-1].map_from_camera.is_close(truth[later[-1]], 0.1, 2.0)


def test_an_anchor_that_waits_for_its_odometry_is_settled_when_it_is_judged(run):
    """Each is delivered at once, long before odometry has come to its image."""
    fuser, settled = Fuser(FusionConfig(), metric=True), {}
    for _, anchor in run.anchors[:8]:
        assert fuser.add_anchor(anchor) is PENDING
    assert fuser.counts == {}
    for odometry in run.odometry:
        fuser.add_odometry(odometry)
        settled |= {anchor.stamp_ns: (verdict, odometry.stamp_ns) for anchor, verdict in fuser.take_settled()}
    assert {verdict for verdict, _ in settled.values()} == {ACCEPTED}
    assert set(settled) == {anchor.stamp_ns for _, anchor in run.anchors[:8]}
    assert all(judged_ns >= stamp_ns for stamp_ns, (_, judged_ns) in settled.items())
    assert fuser.counts == {"ACCEPTED": 8}


def test_a_waiting_anchor_that_is_given_up_is_counted(run):
    fuser = Fuser(FusionConfig(), metric=True)
    many = [replace(run.anchors[0][1], stamp_ns=run.stamps_ns[-1] + index) for index in range(MAX_PENDING + 3)]
    for anchor in many:
        assert fuser.add_anchor(anchor) is PENDING
    settled = fuser.take_settled()
    assert [anchor.stamp_ns for anchor, _ in settled] == [anchor.stamp_ns for anchor in many[:3]]
    assert {verdict.reason for _, verdict in settled} == {Reason.STALE}
    fuser.relocalize()
    assert len(fuser.take_settled()) == MAX_PENDING
    assert fuser.counts == {"STALE": MAX_PENDING + 3}


def test_anchors_of_the_first_fix_are_settled_together(run):
    """Those that agree are accepted with the one that makes the fix, one that does not is refused."""
    fuser, verdicts = Fuser(FusionConfig(), metric=True), {}
    waiting = [anchor for _, anchor in run.anchors]
    wrong = replace(waiting[0], map_from_camera=SE3(np.eye(3), np.array([50.0, 0.0, 0.0])))
    for odometry in run.odometry:
        fuser.add_odometry(odometry)
        while waiting and waiting[0].stamp_ns <= odometry.stamp_ns:
            anchor = waiting.pop(0)
            verdicts[anchor.stamp_ns] = fuser.add_anchor(wrong if not verdicts else anchor)
        verdicts |= {anchor.stamp_ns: verdict for anchor, verdict in fuser.take_settled()}
    first, *others = verdicts.values()
    assert isinstance(first, Rejection)
    assert set(others) == {ACCEPTED}
    assert sum(fuser.counts.values()) == len(run.anchors)


POSE = LastPose(
    "room",
    1_700_000_000_123_456_789,
    SE3.from_rotation_vector([0.1, -0.4, 2.0], [1.5, -2.5, 0.25]),
    np.diag(np.arange(6) + 0.5),
)


def test_a_pose_comes_back_exactly(tmp_path):
    assert read_last_pose(tmp_path / "new") is None
    write_last_pose(tmp_path / "new", POSE)
    again = read_last_pose(tmp_path / "new")
    assert (again.map_name, again.stamp_ns) == (POSE.map_name, POSE.stamp_ns)
    assert again.map_from_base.is_close(POSE.map_from_base, 1e-12, 1e-6)
    assert np.array_equal(again.covariance, POSE.covariance)
    assert os.listdir(tmp_path / "new") == [FILE_NAME]


def test_a_saved_pose_is_used_in_its_frame_and_carried_over_by_an_alignment():
    frame, aligned_from_room = (
        CoordinateFrame.new(),
        Sim3(1.5, rotation_matrix([0.0, 0.0, 0.7]), np.array([3.0, -2.0, 0.5])),
    )
    pose = replace(POSE, frame_uuid=frame.uuid)
    room = MapIdentity("room", metric=True, frame=frame)
    assert pose.in_map(replace(room, name="hall"))[0].is_close(POSE.map_from_base)
    moved, covariance = pose.in_map(replace(room, frame=frame.moved(aligned_from_room)))
    assert moved.is_close(aligned_from_room.apply_to_pose(POSE.map_from_base), 1e-12, 1e-6)
    assert np.trace(covariance[:3, :3]) == pytest.approx(1.5**2 * np.trace(POSE.covariance[:3, :3]))
    assert pose.in_map(replace(room, frame=CoordinateFrame.new())) is None
    assert POSE.in_map(room) is None  # of an older version, which kept no frame


def test_a_failed_write_keeps_the_old_pose_and_leaves_nothing_behind(tmp_path):
    write_last_pose(tmp_path, POSE)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_last_pose(tmp_path, LastPose("room", 1, POSE.map_from_base, np.full((6, 6), np.nan)))
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_last_pose(tmp_path / "file", POSE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace("1.5", "1e999"),
        lambda text: text.replace("1.5", '"there"'),
        lambda text: text.replace('"quaternion_wxyz": [', '"quaternion_wxyz": [1.0, '),
        lambda text: text.replace("2.5", "[2.5]"),
        lambda text: "[" * 100_000,
        lambda text: text + " " * 100_000,
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path, spoil):
    write_last_pose(tmp_path, POSE)
    path = tmp_path / FILE_NAME
    path.write_text(spoil(path.read_text()))
    with pytest.raises(SourceError, match="delete it"):
        read_last_pose(tmp_path)


def test_a_quaternion_of_another_length_is_no_rotation(tmp_path):
    write_last_pose(tmp_path, LastPose("room", 1, SE3.identity(), np.eye(6)))
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"quaternion_wxyz": [1.0', '"quaternion_wxyz": [2.0'))
    with pytest.raises(SourceError, match="length"):
        read_last_pose(tmp_path)
