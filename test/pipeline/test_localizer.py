from dataclasses import replace

import cv2
import numpy as np
import pycolmap

from testing.fusion_replay import position_errors, squared_errors
from testing.fusion_runs import make_anchor, simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import ACCEPTED, AnchorPose, Frame, MapIdentity, Reason, Rejection, State, TrackedPose
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener, InlineAnchors, Localizer, TrackingListener

CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=4, params=[4, 4, 2, 2])
SCENARIO = FusionScenario(duration_s=15.0, rate_hz=10.0)


class SimulatedOdometry:
    def __init__(self, run):
        self.results = {result.stamp_ns: result for result in run.odometry}
        self.loops = {loop.later_ns: loop for loop in run.loops}
        self.closed = []

    def track(self, frame):
        self.closed += [self.loops[frame.stamp_ns]] if frame.stamp_ns in self.loops else []
        return self.results[frame.stamp_ns]

    def take_loops(self):
        taken, self.closed = self.closed, []
        return taken

    def settle(self):
        return {}

    def reset(self):
        self.resets = getattr(self, "resets", 0) + 1


class SimulatedEngine:
    """Sees the true pose, but nothing in the first second."""

    map_identity = MapIdentity("room", metric=True)

    def __init__(self, run):
        self.truth = dict(zip(run.stamps_ns, run.truth, strict=True))
        self.priors = []

    def localize(self, frame, prior=None):
        self.priors.append((frame.stamp_ns, prior))
        if frame.stamp_ns < 2 * SECOND:
            return Rejection(frame.stamp_ns, Reason.FEW_MATCHES)
        return make_anchor(SCENARIO, frame.stamp_ns, self.truth[frame.stamp_ns])


class Recorder(BackendListener, TrackingListener):
    def __init__(self):
        self.odometry, self.anchors, self.loops, self.tracked, self.order = [], [], [], [], []

    def on_published(self, published):
        self.order.append(("published", published.stamp_ns))

    def on_loop(self, loop, verdict):
        self.loops.append((loop, verdict))

    def on_odometry(self, frame, result):
        self.odometry.append(result)

    def on_anchor(self, anchor, verdict):
        self.anchors.append((anchor.result, verdict))
        self.order.append(("anchor", anchor.result.stamp_ns))

    def on_tracked(self, result, verdict):
        self.tracked.append((result, verdict))
        self.order.append(("tracked", result.stamp_ns))


def localize_run(seed=0, scenario=SCENARIO):
    run = simulate_run(scenario, seed)
    engine, recorder = SimulatedEngine(run), Recorder()
    anchors = InlineAnchors(engine, period_s=0.5, latency_s=0.8)
    localizer = Localizer(
        SimulatedOdometry(run), Backend(BackendConfig(), anchors, listener=recorder), listener=recorder
    )
    return run, [localizer.process(frame_at(s)) for s in run.stamps_ns], engine, recorder


def test_frames_become_poses_and_the_search_gets_a_prior():
    run, estimates, engine, _ = localize_run()
    assert [e.stamp_ns for e in estimates] == run.stamps_ns
    assert estimates[0].state is State.INITIALIZING
    assert estimates[-1].state is State.LOCALIZED
    assert np.median(position_errors(run, estimates)) < 0.08
    stamp, prior = engine.priors[-1]
    assert np.linalg.norm(prior.translation - engine.truth[stamp].translation) < 0.3
    assert engine.priors[0][1] is None


def test_frames_without_odometry_are_searched_too_since_it_may_begin_with_their_poses():
    run = simulate_run(replace(SCENARIO, losses=((0.0, 0.75), (6.0, 1.3))), 0)
    engine = SimulatedEngine(run)
    localizer = Localizer(SimulatedOdometry(run), Backend(BackendConfig(), InlineAnchors(engine)))
    for stamp_ns in run.stamps_ns:
        localizer.process(frame_at(stamp_ns))
    searched = [(stamp_ns - run.stamps_ns[0]) / SECOND for stamp_ns, _ in engine.priors]
    assert searched[0] == 0.0
    assert min(seconds for seconds in searched if seconds >= 6.0) < 6.6


def test_anchors_join_late_and_the_listener_hears_everything():
    run, estimates, _, recorder = localize_run()
    assert len(recorder.odometry) == len(run.stamps_ns)
    refused = [verdict for result, verdict in recorder.anchors if isinstance(result, Rejection)]
    assert refused
    assert all(verdict.reason is Reason.FEW_MATCHES for verdict in refused)
    assert any(isinstance(result, AnchorPose) and verdict is ACCEPTED for result, verdict in recorder.anchors)
    ages = [e.age_ns for e in estimates if e.age_ns is not None]
    assert min(ages) >= 0.8 * SECOND


def test_loops_of_the_odometry_reach_the_fuser_and_the_listener():
    run, _, _, recorder = localize_run(scenario=replace(SCENARIO, path="turns", loop_period_s=0.5, loop_gap_s=2.0))
    assert [loop for loop, _ in recorder.loops] == list(run.loops)
    assert {verdict is ACCEPTED for _, verdict in recorder.loops} == {
        True,
        False,
    }  # before the first fix there is no use


def test_the_same_run_gives_the_same_answer():
    first, second = localize_run()[1], localize_run()[1]
    for a, b in zip(first, second, strict=True):
        assert a.state is b.state
        if a.map_from_camera is not None:
            np.testing.assert_array_equal(a.map_from_camera.matrix, b.map_from_camera.matrix)


class SimulatedPoints:
    """Follows the points of the last accepted anchor at the true pose; remembers what it was told."""

    def __init__(self, run, map_name="room"):
        self.truth, self.map = dict(zip(run.stamps_ns, run.truth, strict=True)), MapIdentity(map_name, metric=True)
        self.anchors, self.predictions, self.kept_ns, self.skipped_ns, self.resets = [], [], [], [], 0

    def reset(self):
        self.resets += 1

    def must_track(self, stamp_ns, predicted):
        return False

    def keep(self, frame, predicted):
        self.kept_ns.append(frame.stamp_ns)

    def keep_skipped(self, frame):
        self.skipped_ns.append(frame.stamp_ns)

    def track(self, frame, predicted):
        self.predictions.append(predicted)
        if not self.anchors:
            return Rejection(frame.stamp_ns, Reason.FEW_MATCHES)
        pose, small = self.truth[frame.stamp_ns], 1e-6 * np.eye(6)
        return TrackedPose(frame.stamp_ns, pose, 2e-4 * np.eye(6), self.anchors[-1].stamp_ns, small, 50, 60, 0.5)

    def track_others(self, stamp_ns, predicted):
        return None

    def link(self, anchor):
        return None

    def restart(self, anchor, catch_up=False):
        self.anchors.append(anchor)


def follow_points(run, points, **how):
    recorder = Recorder()
    anchors = InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.8)
    backend = Backend(BackendConfig(), anchors, listener=recorder)
    localizer = Localizer(SimulatedOdometry(run), backend, points, recorder, **how)
    for stamp_ns in run.stamps_ns:
        localizer.process(frame_at(stamp_ns))
    return recorder, localizer


def frame_at(stamp_ns):
    """A frame with an image of its own: one that repeats is FROZEN."""
    pixels = np.frombuffer(np.full(2, stamp_ns, np.int64).tobytes(), np.uint8)
    return Frame(stamp_ns, pixels.reshape(4, 4), CAMERA)


def test_a_camera_that_is_frozen_is_left_out_at_once_and_found_again():
    run = simulate_run(SCENARIO, 0)
    recorder, engine = Recorder(), SimulatedEngine(run)
    backend = Backend(BackendConfig(), InlineAnchors(engine, period_s=0.5, latency_s=0.4), listener=recorder)
    localizer = Localizer(SimulatedOdometry(run), backend, SimulatedPoints(run), recorder)
    begin, end = len(run.stamps_ns) // 3, len(run.stamps_ns) // 2
    frozen = frame_at(run.stamps_ns[begin - 1])
    frames = [
        replace(frozen, stamp_ns=stamp_ns) if begin <= index < end else frame_at(stamp_ns)
        for index, stamp_ns in enumerate(run.stamps_ns)
    ]
    estimates = [localizer.process(frame) for frame in frames]
    assert {one.reason for one in estimates[begin:end]} == {Reason.FROZEN}
    carried = [one for one in estimates[begin:end] if one.state is State.LOCALIZED]
    assert 0 < len(carried) <= 3, "at 10 Hz a pose is carried on for 0.3 s"
    assert all(one.map_from_camera is None for one in estimates[begin + 3 : end])
    assert estimates[end - 1].state is State.LOST
    assert estimates[-1].state is State.LOCALIZED
    searched = {result.stamp_ns for result, _ in recorder.anchors}
    assert searched.isdisjoint(run.stamps_ns[begin:end])


def test_an_image_from_before_odometry_began_again_is_still_known():
    run, rng = simulate_run(SCENARIO, 0), np.random.default_rng(0)
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5))
    localizer = Localizer(SimulatedOdometry(run), backend, SimulatedPoints(run))
    wall = cv2.GaussianBlur(rng.normal(128.0, 400.0, (64, 400)), (0, 0), 8.0)
    shown = [(4 * index) for index in range(12)]
    shown[-2] = shown[-5]
    estimates = []
    for stamp_ns, start in zip(run.stamps_ns[:12], shown, strict=True):
        image = np.clip(wall[:, start : start + 80] + rng.normal(0.0, 2.0, (64, 80)), 0, 255).astype(np.uint8)
        estimates.append(localizer.process(Frame(stamp_ns, image, CAMERA)))
        if len(estimates) == 9:
            localizer.restart_odometry()
    assert [index for index, one in enumerate(estimates) if one.reason is Reason.FROZEN] == [10]


def test_what_odometry_finds_frozen_is_neither_searched_nor_followed_nor_carried_on():
    run = simulate_run(SCENARIO, 0)
    recorder, odometry, points = Recorder(), SimulatedOdometry(run), SimulatedPoints(run)
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5), listener=recorder)
    localizer = Localizer(odometry, backend, points, recorder)
    frozen = run.stamps_ns[len(run.stamps_ns) // 3 : len(run.stamps_ns) // 2]
    for stamp_ns in frozen:  # it is looked at once, and then left out at once
        stages = {"track": 5.0} if stamp_ns == frozen[0] else {}
        odometry.results[stamp_ns] = Rejection(stamp_ns, Reason.FROZEN, stage_ms=stages)
    estimates = {stamp_ns: localizer.process(frame_at(stamp_ns)) for stamp_ns in run.stamps_ns}
    assert {estimates[stamp_ns].reason for stamp_ns in frozen} == {Reason.FROZEN}
    assert State.LOCALIZED not in {estimates[stamp_ns].state for stamp_ns in frozen}
    assert all(estimates[stamp_ns].map_from_camera is None for stamp_ns in frozen)
    assert estimates[run.stamps_ns[-1]].state is State.LOCALIZED
    used = {result.stamp_ns for result, _ in (*recorder.anchors, *recorder.tracked)}
    assert used.isdisjoint(frozen)


def test_while_odometry_is_lost_other_cameras_give_the_frames_that_there_is_no_time_for():
    run = simulate_run(SCENARIO, 0)
    odometry, points = SimulatedOdometry(run), SimulatedPoints(run)
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4))
    localizer = Localizer(odometry, backend, points)
    lost = len(run.stamps_ns) // 2
    odometry.results[run.stamps_ns[lost]] = Rejection(run.stamps_ns[lost], Reason.BLURRED)
    asked = []
    points.track_others = lambda stamp_ns, predicted: asked.append(stamp_ns)
    for index, stamp_ns in enumerate(run.stamps_ns[: lost + 1]):
        if index in (lost - 2, lost - 4):
            localizer.skip(stamp_ns)
        else:
            localizer.process(frame_at(stamp_ns))
    assert not asked, "odometry follows the frames around these"
    localizer.skip(run.stamps_ns[lost + 1])
    assert asked == [run.stamps_ns[lost + 1]]


def test_a_frame_that_there_is_no_time_for_is_kept_since_the_next_anchor_may_be_of_it():
    run = simulate_run(SCENARIO, 0)
    points = SimulatedPoints(run)
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4))
    localizer = Localizer(SimulatedOdometry(run), backend, points)
    first, second, third, *_ = run.stamps_ns
    localizer.process(frame_at(first))
    localizer.skip(second, frame=frame_at(second))
    localizer.skip(third, Reason.FROZEN, frame_at(third))
    assert points.skipped_ns == [second]


def test_odometry_that_goes_on_at_a_wrong_place_waits_for_points_that_were_followed_meanwhile():
    """As of a leading camera whose image is upside down, while another one on the body sees the map."""
    scenario = replace(SCENARIO, duration_s=20.0, tracked=True)
    run, lost = simulate_run(scenario, 0), range(120, 130)
    points = SimulatedPoints(run)
    odometry = SimulatedOdometry(run)
    turned = SE3(rotation_matrix([0.0, 0.0, np.radians(10.0)]), np.zeros(3))
    before = run.odometry[lost[0] - 1].odom_from_camera
    for index in lost:
        odometry.results[run.stamps_ns[index]] = Rejection(run.stamps_ns[index], Reason.FEW_INLIERS)
    for index in range(lost[-1] + 1, len(run.stamps_ns)):
        pose = before @ turned @ before.inverse @ run.odometry[index].odom_from_camera
        wrong = replace(run.odometry[index], odom_from_camera=pose, is_recovered=index == lost[-1] + 1)
        odometry.results[wrong.stamp_ns] = wrong
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4))
    localizer = Localizer(odometry, backend, points)
    estimates = [localizer.process(frame_at(stamp_ns)) for stamp_ns in run.stamps_ns]
    assert all(estimates[index].state is State.LOCALIZED for index in lost)
    assert points.predictions[lost[-1] + 1] is None
    after = slice(lost[-1] + 1, lost[-1] + 6)
    squared = squared_errors(replace(run, truth=run.truth[after]), estimates[after])
    assert len(squared) == 5
    assert max(squared) < 25.0


def test_odometry_found_again_at_a_wrong_place_waits_for_points_though_there_was_no_time_for_them_before():
    """As of a leading camera that sends an old image, on a busy computer."""
    run, turned = simulate_run(replace(SCENARIO, rate_hz=30.0, tracked=True), 0), 300
    odometry, points, behind = SimulatedOdometry(run), SimulatedPoints(run), {turned - 1, turned}
    one, elsewhere = run.odometry[turned], SE3(rotation_matrix([0.0, np.radians(10.0), 0.0]), np.zeros(3))
    wrong = replace(one, odom_from_camera=one.odom_from_camera @ elsewhere, is_recovered=True)
    odometry.results[one.stamp_ns] = wrong
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4))
    index = 0
    localizer = Localizer(odometry, backend, points, is_behind=lambda: index in behind)
    estimates = []
    for index in range(turned + 1):
        estimates.append(localizer.process(frame_at(run.stamps_ns[index])))
    assert points.kept_ns[-1] == run.stamps_ns[turned - 1]
    squared = squared_errors(replace(run, truth=run.truth[turned : turned + 1]), estimates[turned:])
    assert len(squared) == 1
    assert squared[0] < 25.0


def test_a_simulators_images_may_repeat():
    run = simulate_run(SCENARIO, 0)
    backend = Backend(BackendConfig(), InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4))
    localizer = Localizer(SimulatedOdometry(run), backend, is_noiseless=True)
    same = frame_at(0)
    estimates = [localizer.process(replace(same, stamp_ns=stamp_ns)) for stamp_ns in run.stamps_ns]
    assert estimates[-1].state is State.LOCALIZED


def test_points_of_accepted_anchors_are_followed_in_every_frame():
    run = simulate_run(SCENARIO, 0)
    points = SimulatedPoints(run)
    recorder, _ = follow_points(run, points)
    kept = [result for result, verdict in recorder.anchors if not isinstance(verdict, Rejection)]
    assert len(kept) > len(set(map(id, kept))), "those of the first fix were pending"
    assert points.anchors == list(dict.fromkeys(kept))
    assert [result.stamp_ns for result, _ in recorder.tracked] == run.stamps_ns
    assert sum(verdict is ACCEPTED for _, verdict in recorder.tracked) > 0.5 * len(run.stamps_ns)
    assert points.predictions[0] is None
    assert np.linalg.norm(points.predictions[-1].translation - run.truth[-1].translation) < 0.3


def test_map_points_that_have_held_the_pose_for_a_second_are_followed_less_often():
    run = simulate_run(replace(SCENARIO, rate_hz=30.0), 0)
    points = SimulatedPoints(run)
    recorder, localizer = follow_points(run, points)
    gaps = np.diff([result.stamp_ns for result, _ in recorder.tracked])
    assert np.all(gaps[:20] < SECOND // 20)
    assert gaps.max() < SECOND // 14
    assert np.mean(gaps > SECOND // 20) > 0.3
    assert localizer.skipped == 0  # nothing waits


def test_the_pose_of_a_frame_goes_out_before_anything_joins_that_takes_longer():
    run = simulate_run(SCENARIO, 0)
    recorder, _ = follow_points(run, SimulatedPoints(run))
    kinds = [kind for kind, _ in recorder.order]
    frames = " ".join(kinds).split("published")[1:]
    assert {tuple(dict.fromkeys(after.split())) for after in frames} == {("tracked",), ("anchor", "tracked")}


def test_where_a_newer_frame_waits_the_map_points_are_left_out_but_not_for_long():
    run = simulate_run(SCENARIO, 0)
    points = SimulatedPoints(run)
    recorder, localizer = follow_points(run, points, is_behind=lambda: True)
    followed = [result.stamp_ns for result, _ in recorder.tracked]
    assert np.diff(followed).max() == 3 * SECOND // 10  # frames come each 0.1 s; those of a new anchor at once
    assert len(run.stamps_ns) / 3 <= len(followed) <= len(run.stamps_ns) / 3 + len(points.anchors) + 1
    assert localizer.skipped == len(run.stamps_ns) - len(followed)
    assert points.kept_ns == [stamp_ns for stamp_ns in run.stamps_ns if stamp_ns not in set(followed)]
    assert recorder.odometry


def test_points_of_another_map_than_the_anchors_are_not_followed():
    run = simulate_run(SCENARIO, 0)
    points = SimulatedPoints(run, map_name="another room")
    recorder, localizer = follow_points(run, points)
    first_ns = recorder.anchors[0][0].stamp_ns + 8 * SECOND // 10  # when its search has ended
    assert points.anchors == []
    assert localizer.outcomes["anchor of another map"] > 0
    after = {result.reason for result, _ in recorder.tracked if result.stamp_ns > first_ns}
    assert after == {Reason.OTHER_FRAME}


def test_frames_out_of_order_are_left_out_and_a_looped_bag_begins_again():
    run = simulate_run(SCENARIO, 0)
    points = SimulatedPoints(run)
    _, localizer = follow_points(run, points)
    begin, end = run.stamps_ns[0], run.stamps_ns[-1]
    assert localizer.process(frame_at(end)) is None
    assert localizer.process(frame_at(end - SECOND // 2)) is None
    again = localizer.process(frame_at(begin))
    assert (again.state, again.map_from_camera) == (State.INITIALIZING, None)
    assert dict(localizer.refused) == {"unordered": 2, "clock jump": 1}
    assert (points.resets, localizer.odometry.resets) == (1, 1)


def test_a_frame_that_cannot_be_tracked_is_published_with_its_reason_and_reaches_no_tracker():
    published, recorder = [], Recorder()

    class NoTracker:
        def track(self, *_):
            raise AssertionError("tracked")

    recorder.on_published = published.append
    backend = Backend(BackendConfig(), listener=recorder)
    localizer = Localizer(NoTracker(), backend, None, recorder)
    frame = Frame(SECOND, np.zeros((4, 4), np.uint8), CAMERA)
    estimate = localizer.miss(frame, Reason.UNKNOWN_INTRINSICS)
    assert (estimate.stamp_ns, estimate.reason, estimate.map_from_camera) == (SECOND, Reason.UNKNOWN_INTRINSICS, None)
    assert [result.reason for result in recorder.odometry] == [Reason.UNKNOWN_INTRINSICS]
    assert [one.stamp_ns for one in published] == [SECOND]
    assert localizer.miss(frame, Reason.UNKNOWN_INTRINSICS) is None  # the same stamp again
    assert localizer.refused.total() == 1


class LateOdometry(SimulatedOdometry):
    """Begins some frames after the camera has, as one that waits for parallax."""

    begins = 45

    def track(self, frame):
        result = self.results[frame.stamp_ns]
        index = list(self.results).index(frame.stamp_ns)
        if index >= self.begins:
            return result
        reason = Reason.STANDING_STILL if index < RESTING else Reason.DEGENERATE_MOTION
        return Rejection(frame.stamp_ns, reason)


RESTING = 35


def resting_at_first(run):
    """The run with a camera that stands at its first pose for some frames, and sets out from there."""
    begin = run.truth[0]
    truth = [
        begin if index < RESTING else begin @ run.truth[RESTING].inverse @ pose for index, pose in enumerate(run.truth)
    ]
    return replace(run, truth=truth)


def test_a_robot_that_sets_out_from_a_standstill_has_a_pose_from_then_on_published_once_a_frame():
    run = resting_at_first(simulate_run(SCENARIO, 0))
    recorder = Recorder()
    anchors = InlineAnchors(SimulatedEngine(run), period_s=0.5, latency_s=0.4)
    backend = Backend(BackendConfig(), anchors, listener=recorder)
    localizer = Localizer(LateOdometry(run), backend, SimulatedPoints(run), recorder)
    estimates = [localizer.process(frame_at(stamp_ns)) for stamp_ns in run.stamps_ns]
    assert [stamp_ns for kind, stamp_ns in recorder.order if kind == "published"] == run.stamps_ns
    posed = [index for index, one in enumerate(estimates) if one.map_from_camera is not None]
    assert posed[0] < RESTING
    assert set(range(posed[0], LateOdometry.begins)) <= set(posed)
    assert estimates[RESTING - 1].state is State.LOCALIZED
    assert estimates[LateOdometry.begins - 1].state is State.LOCALIZED
    assert position_errors(run, estimates).max() < 0.1
