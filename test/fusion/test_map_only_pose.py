"""The pose by the map alone, before odometry has a scale: of a camera that stands still, sets out, or moves."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import chi2

from testing.fusion_replay import play, position_errors
from testing.fusion_runs import make_anchor, simulate_run
from testing.fusion_scenario import EXACT, FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import UNCONFIRMED_S, OdometryPose, Reason, Rejection, State, Support, TrackedPose
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

CONFIG = FusionConfig()
NOISY = FusionScenario()
PLACE = SE3(rotation_matrix([0.3, -1.2, 0.7]), np.array([2.0, -1.0, 1.3]))
ELSEWHERE = SE3(rotation_matrix([0.3, 1.2, -0.7]), np.array([6.0, 4.0, 1.3]))
FRAME, EVERY = SECOND // 10, 5


def anchor_at(stamp_ns, rng=None, place=PLACE):
    """An anchor of the place, with the noise that its covariance tells of where there is a generator."""
    sigmas = np.repeat([NOISY.anchor_sigma, np.deg2rad(NOISY.anchor_sigma_deg)], 3)
    error = np.zeros(6) if rng is None else sigmas * rng.standard_normal(6)
    return make_anchor(NOISY, stamp_ns, perturbed(place, error), 0.03)


def stand(fuser, frames, anchor_of=anchor_at, result_of=lambda stamp_ns: Rejection(stamp_ns, Reason.STANDING_STILL)):
    """Estimates of frames; every fifth is found in the map, and that is known two frames later."""
    estimates = []
    for index in frames:
        fuser.add_odometry(result_of(index * FRAME))
        if index % EVERY == 2:
            anchor = anchor_of((index - 2) * FRAME)
            if anchor is not None:
                fuser.add_anchor(anchor)
        estimates.append(fuser.estimate(index * FRAME))
    return estimates


def states(estimates):
    return list(dict.fromkeys(one.state for one in estimates))


def test_anchors_that_agree_give_the_pose_and_no_scale():
    fuser = Fuser(CONFIG, metric=True)
    estimates = stand(fuser, range(1, 60))
    assert states(estimates) == [State.INITIALIZING, State.LOCALIZED]
    posed = [one for one in estimates if one.map_from_camera is not None]
    assert {one.state for one in posed} == {State.LOCALIZED}
    assert posed[0].stamp_ns <= 22 * FRAME, "a pose after four anchors"
    assert all(one.map_from_camera.is_close(PLACE, translation=1e-9, degrees=1e-6) for one in posed)
    assert {(one.scale, one.metric) for one in posed} == {(None, True)}
    assert fuser.raw_map_from_odom is not None
    assert fuser.predict(59 * FRAME).is_close(PLACE, translation=1e-9, degrees=1e-6)


def test_the_covariance_holds_over_many_standstills():
    squares = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        last = stand(Fuser(CONFIG, metric=True), range(1, 50), lambda stamp_ns, rng=rng: anchor_at(stamp_ns, rng))[-1]
        error = pose_difference(last.map_from_camera, PLACE)
        squares.append(error @ np.linalg.solve(last.covariance, error))
    assert max(squares) < chi2.ppf(0.999, 6)
    assert np.median(squares) < chi2.ppf(0.5, 6)


def test_a_frame_that_may_have_moved_ends_it_and_older_anchors_do_not_count():
    fuser = Fuser(CONFIG, metric=True)
    assert stand(fuser, range(1, 60))[-1].state is State.LOCALIZED
    moved = stand(fuser, range(60, 61), result_of=lambda stamp_ns: Rejection(stamp_ns, Reason.DEGENERATE_MOTION))[0]
    assert (moved.map_from_camera, moved.state) == (None, State.DEGRADED)
    late = stand(fuser, range(61, 80), lambda stamp_ns: anchor_at(min(stamp_ns, 60 * FRAME)))
    assert all(one.map_from_camera is None for one in late)
    assert stand(fuser, range(80, 120))[-1].map_from_camera.is_close(PLACE)


def test_a_robot_that_was_carried_in_the_dark_stands_where_it_is_now():
    fuser = Fuser(CONFIG, metric=True)
    stand(fuser, range(1, 60))
    stand(fuser, range(60, 80), lambda _: None, lambda stamp_ns: Rejection(stamp_ns, Reason.FEW_FEATURES))
    estimates = stand(fuser, range(80, 120), lambda stamp_ns: anchor_at(stamp_ns, place=ELSEWHERE))
    posed = [one for one in estimates if one.map_from_camera is not None]
    assert posed
    assert all(one.map_from_camera.is_close(ELSEWHERE) for one in posed)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_anchors_that_do_not_agree_give_no_wrong_pose(share):
    for seed in range(8):
        rng = np.random.default_rng(seed)

        def anchor_of(stamp_ns, rng=rng):
            place = SE3(rotation_matrix(rng.normal(size=3)), 5.0 * rng.normal(size=3))
            return anchor_at(stamp_ns, rng, place if rng.random() < share else PLACE)

        for one in stand(Fuser(CONFIG, metric=True), range(1, 100), anchor_of):
            pose = one.map_from_camera
            assert pose is None or np.linalg.norm(pose.translation - PLACE.translation) < 0.15


def test_anchors_that_come_to_contradict_it_are_reported():
    fuser = Fuser(CONFIG, metric=True)
    estimates = stand(fuser, range(1, 40)) + stand(fuser, range(40, 50), lambda t: anchor_at(t, place=ELSEWHERE))
    assert (estimates[-1].state, estimates[-1].reason) == (State.DEGRADED, Reason.ODOMETRY_DISAGREES)


def test_an_initial_pose_elsewhere_takes_more_anchors_to_be_given_up():
    fuser = Fuser(CONFIG, metric=True)
    stand(fuser, range(1, 2))
    fuser.set_initial_pose(FRAME, ELSEWHERE, 1e-2 * np.eye(6))
    estimates = stand(fuser, range(2, 60))
    first = next(one for one in estimates if one.map_from_camera is not None)
    assert first.map_from_camera.is_close(PLACE)
    least = CONFIG.gate.relocation_anchors
    assert first.stamp_ns >= (least - 1) * EVERY * FRAME


def test_odometry_that_begins_without_a_scale_and_does_not_move_is_a_standstill():
    fuser = Fuser(CONFIG, metric=True)
    estimates = stand(
        fuser, range(1, 40), result_of=lambda stamp_ns: OdometryPose(stamp_ns, SE3.identity(), 0, 50, False)
    )
    assert estimates[-1].state is State.LOCALIZED
    assert estimates[-1].scale is None


def test_a_camera_that_creeps_does_not_stand():
    run = simulate_run(replace(EXACT, path="line", speed=0.02, duration_s=15.0, rate_hz=10.0, delay_s=(0.4, 0.4)), 5)
    assert np.max(position_errors(run, play(Fuser(CONFIG, metric=True), run)), initial=0.0) < 0.03


def test_the_pose_goes_over_into_that_of_odometry():
    run = simulate_run(replace(EXACT, path="eight", duration_s=15.0, rate_hz=10.0, anchor_period_s=0.5), 3)
    fuser, rest = Fuser(CONFIG, metric=True), 40
    shifted = [replace(one, stamp_ns=one.stamp_ns + rest * FRAME) for one in run.odometry]
    anchors = [
        (arrival + rest * FRAME, replace(anchor, stamp_ns=anchor.stamp_ns + rest * FRAME))
        for arrival, anchor in run.anchors
    ]
    later = replace(run, odometry=shifted, anchors=anchors, stamps_ns=[one.stamp_ns for one in shifted])
    standing = stand(fuser, range(10, 10 + rest), lambda stamp_ns: anchor_at(stamp_ns, place=run.truth[0]))
    walking = play(fuser, later)
    assert standing[-1].map_from_camera.is_close(run.truth[0])
    assert position_errors(later, walking).max() < 1e-6
    posed = [one for one in walking if one.map_from_camera is not None]
    assert posed[-1].state is State.LOCALIZED
    assert posed[-1].scale == pytest.approx(float(run.scales[-1]), rel=1e-6)


def moved(index):
    """Where a camera is that sets out at frame 40."""
    seconds = max(0, index - 40) * 0.1
    return PLACE @ SE3(rotation_matrix([0.0, 0.4 * seconds, 0.0]), np.array([0.1 * seconds, 0.0, 0.3 * seconds]))


def tracked_at(index, anchor_index, pose=None):
    small = 1e-6 * np.eye(6)
    return TrackedPose(index * FRAME, pose or moved(index), 1e-4 * np.eye(6), anchor_index * FRAME, small, 50, 60, 0.5)


def set_out(fuser, frames, anchor_of=lambda index: anchor_at(index * FRAME, place=moved(index)), untracked=()):
    """Frames whose points are followed from the last anchor that was accepted; odometry waits all the time."""
    estimates, followed = [], None
    for index in frames:
        reason = Reason.STANDING_STILL if index <= 40 else Reason.DEGENERATE_MOTION
        fuser.add_odometry(Rejection(index * FRAME, reason))
        if index % EVERY == 2 and not isinstance(fuser.add_anchor(anchor_of(index - 2)), Rejection):
            followed = index - 2
        if followed is not None and index not in untracked:
            fuser.add_tracked(tracked_at(index, followed))
        estimates.append(fuser.estimate(index * FRAME))
    return estimates


def test_followed_map_points_lead_on_when_the_camera_sets_out():
    fuser = Fuser(CONFIG, metric=True)
    estimates = set_out(fuser, range(1, 100))
    moving = estimates[40:]
    assert {one.state for one in moving} == {State.LOCALIZED}
    for index, one in enumerate(moving, 41):
        assert one.map_from_camera.is_close(moved(index), translation=0.02, degrees=1.0)
    assert {one.support for one in moving} == {Support.MAP_TRACKING}
    went = moving[-1].odom_from_camera.translation - moving[0].odom_from_camera.translation
    true = moved(99).translation - moved(41).translation
    assert np.linalg.norm(went) == pytest.approx(np.linalg.norm(true), rel=0.25), "odom goes along, not map -> odom"


def test_a_frame_in_which_no_point_is_found_ends_it():
    estimates = set_out(Fuser(CONFIG, metric=True), range(1, 100), untracked=(70,))
    assert estimates[68].map_from_camera is not None
    assert all(one.map_from_camera is None for one in estimates[69:])


def move(fuser, frames, anchor_of=lambda index: anchor_at(index * FRAME, place=moved(index)), links=True, lost=()):
    """Frames of a camera that moves while odometry waits; each anchor's image shows the points of the one before."""
    estimates, followed = [], None
    for index in frames:
        fuser.add_odometry(Rejection(index * FRAME, Reason.DEGENERATE_MOTION))
        if index % EVERY == 2:
            fuser.add_anchor(anchor_of(index - 2))
            if followed is not None and links:
                fuser.add_tracked(tracked_at(index - 2, followed))
            followed = index - 2
        if index in lost:
            fuser.add_tracked(Rejection(index * FRAME, Reason.FEW_INLIERS))
        elif followed is not None:
            fuser.add_tracked(tracked_at(index, followed))
        estimates.append(fuser.estimate(index * FRAME))
    return estimates


def test_linked_anchors_lead_a_moving_camera_before_odometry_does():
    estimates = move(Fuser(CONFIG, metric=True), range(50, 100))
    posed = [one for one in estimates if one.map_from_camera is not None]
    assert posed[0].stamp_ns <= 65 * FRAME, "four anchors of unknown faults"
    assert [one.stamp_ns for one in posed] == list(range(posed[0].stamp_ns, 100 * FRAME, FRAME))
    for one in posed:
        assert one.map_from_camera.is_close(moved(one.stamp_ns // FRAME), translation=0.02, degrees=1.0)
        assert (one.state, one.support, one.scale) == (State.LOCALIZED, Support.MAP_TRACKING, None)


def test_anchors_whose_images_do_not_show_each_other_s_points_lead_nowhere():
    assert all(one.map_from_camera is None for one in move(Fuser(CONFIG, metric=True), range(50, 100), links=False))


def test_anchors_that_their_links_contradict_lead_nowhere():
    """Each is right about the motion since the last one, as in a place built twice, but for where that is."""
    rng = np.random.default_rng(5)

    def anchor_of(index):
        return anchor_at(index * FRAME, place=SE3(moved(index).rotation, rng.uniform(-9.0, 9.0, 3)))

    assert all(one.map_from_camera is None for one in move(Fuser(CONFIG, metric=True), range(50, 150), anchor_of))


@pytest.mark.parametrize(("missing", "is_bridged"), [(1, True), (2, True), (3, False)])
def test_a_short_loss_of_the_points_is_bridged_with_a_covariance_that_says_so(missing, is_bridged):
    lost = range(80, 80 + missing)
    played = move(Fuser(CONFIG, metric=True), range(50, 82 + missing), lost=lost)
    estimates = {one.stamp_ns // FRAME: one for one in played}
    assert (estimates[80 + missing].map_from_camera is not None) == is_bridged
    for index in lost[:2]:
        assert estimates[index].map_from_camera.is_close(moved(index), translation=0.02, degrees=1.5)
        assert estimates[index].covariance[0, 0] > 10.0 * estimates[79].covariance[0, 0]


def test_a_pose_that_was_carried_on_is_not_the_begin_of_the_next_motion():
    """The camera stops while no points are found; where it was taken to be shows no motion back."""
    fuser = Fuser(CONFIG, metric=True)
    move(fuser, range(50, 80))
    for index, pose in ((80, None), (81, moved(79)), (82, None)):
        fuser.add_odometry(Rejection(index * FRAME, Reason.DEGENERATE_MOTION))
        fuser.add_tracked(tracked_at(index, 75, pose) if pose else Rejection(index * FRAME, Reason.FEW_INLIERS))
        estimate = fuser.estimate(index * FRAME)
    assert estimate.map_from_camera.is_close(moved(79), translation=0.01, degrees=0.5)


def test_two_anchors_that_contradict_the_followed_points_end_it():
    def anchor_of(index):
        return anchor_at(index * FRAME, place=moved(index) if index <= 60 else ELSEWHERE)

    fuser = Fuser(CONFIG, metric=True)
    estimates = set_out(fuser, range(1, 100), anchor_of)
    first = next(one for one in estimates[60:] if one.state is State.DEGRADED)
    assert first.reason is Reason.ODOMETRY_DISAGREES
    assert first.stamp_ns == 67 * FRAME
    assert estimates[-1].map_from_camera is None
    assert fuser.counts[Reason.ODOMETRY_DISAGREES.value] >= 2


def test_points_of_an_unconfirmed_anchor_lead_nowhere():
    fuser = Fuser(CONFIG, metric=True)
    fuser.add_odometry(Rejection(FRAME, Reason.STANDING_STILL))
    fuser.add_anchor(anchor_at(FRAME))
    fuser.add_odometry(Rejection(2 * FRAME, Reason.DEGENERATE_MOTION))
    assert fuser.add_tracked(tracked_at(2, 1)).reason is Reason.STALE
    assert fuser.estimate(2 * FRAME).map_from_camera is None


@pytest.mark.parametrize("anchors_first", [False, True])
def test_followed_map_points_lead_on_where_odometry_begins_a_segment(anchors_first):
    """A new segment has a scale of its own: until anchors tell it, the points of the last ones hold the pose."""
    run = simulate_run(replace(EXACT, path="eight", duration_s=16.0, rate_hz=10.0, anchor_period_s=0.5), 3)
    lost, begins = 100, 104
    odometry = [replace(one, segment=1) if index >= begins else one for index, one in enumerate(run.odometry)]
    for index in range(lost, begins):
        odometry[index] = Rejection(run.stamps_ns[index], Reason.FEW_FEATURES)
    fuser, followed, estimates, waiting = Fuser(CONFIG, metric=True), None, [], list(run.anchors)
    for index, stamp_ns in enumerate(run.stamps_ns):
        fuser.add_odometry(odometry[index])
        points = followed
        for joins_anchors in (anchors_first, not anchors_first):
            if not joins_anchors and points is not None:
                small, pose = 1e-6 * np.eye(6), run.truth[index]
                fuser.add_tracked(TrackedPose(stamp_ns, pose, 1e-4 * np.eye(6), points, small, 50, 60, 0.5))
            while joins_anchors and waiting and waiting[0][0] <= stamp_ns:
                anchor = waiting.pop(0)[1]
                followed = followed if isinstance(fuser.add_anchor(anchor), Rejection) else anchor.stamp_ns
        estimates.append(fuser.estimate(stamp_ns))
    assert {one.state for one in estimates[lost - 10 :]} == {State.LOCALIZED}
    assert position_errors(replace(run, odometry=odometry), estimates).max() < 0.05
    assert {one.scale for one in estimates[lost:begins]} == {None}
    assert estimates[-1].scale == pytest.approx(float(run.scales[-1]), rel=0.05)
    check_motions(estimates[lost - 10 :], run.truth[lost - 10 :])


def test_odometry_that_goes_on_after_a_loss_adds_no_motion_twice():
    """Followed points bridge the loss; odometry then gives the whole motion since its own last pose."""
    run = simulate_run(replace(EXACT, path="eight", duration_s=10.0, rate_hz=10.0, anchor_period_s=0.5), 3)
    lost, found, fuser, estimates, followed = 80, 84, Fuser(CONFIG, metric=True), [], None
    waiting = list(run.anchors)
    for index, (stamp_ns, pose) in enumerate(zip(run.stamps_ns, run.truth, strict=True)):
        is_lost = lost <= index < found
        fuser.add_odometry(Rejection(stamp_ns, Reason.FEW_FEATURES) if is_lost else run.odometry[index])
        if followed is not None:
            small = 1e-6 * np.eye(6)
            fuser.add_tracked(TrackedPose(stamp_ns, pose, 1e-4 * np.eye(6), followed, small, 50, 60, 0.5))
        while waiting and waiting[0][0] <= stamp_ns:
            anchor = waiting.pop(0)[1]
            followed = followed if isinstance(fuser.add_anchor(anchor), Rejection) else anchor.stamp_ns
        estimates.append(fuser.estimate(stamp_ns))
    for index in range(lost, len(estimates)):
        step = estimates[index - 1].odom_from_camera.inverse @ estimates[index].odom_from_camera
        assert step.is_close(run.truth[index - 1].inverse @ run.truth[index], 2e-3, 0.2)
    assert position_errors(run, estimates).max() < 0.01


@pytest.mark.parametrize("unseen", [(), (100,), (102,)])
def test_the_pose_goes_on_when_another_camera_of_the_body_leads(unseen):
    """Points are not followed in every frame while odometry leads, and its last frame may be one without."""
    run = simulate_run(replace(EXACT, path="eight", duration_s=16.0, rate_hz=10.0, anchor_period_s=0.5), 3)
    lost, changes = 100, 104
    camera_from_other = SE3(rotation_matrix([0.0, 1.5, 0.0]), np.array([0.1, 0.0, -0.2]))
    fuser, followed, estimates, waiting = Fuser(CONFIG, metric=True), None, [], list(run.anchors)
    for index, (stamp_ns, truth) in enumerate(zip(run.stamps_ns, run.truth, strict=True)):
        of_other, pose = index >= changes, run.odometry[index]
        if index == changes:
            fuser.change_camera(camera_from_other)
        if of_other:
            lever = SE3(camera_from_other.rotation, camera_from_other.translation / run.scales[index])
            pose = replace(pose, segment=1, odom_from_camera=pose.odom_from_camera @ lever)
        fuser.add_odometry(pose if not lost <= index < changes else Rejection(stamp_ns, Reason.FEW_FEATURES))
        if followed is not None and index not in unseen and (index >= lost or index % 2):
            tracked = TrackedPose(stamp_ns, truth, 1e-4 * np.eye(6), followed, 1e-6 * np.eye(6), 50, 60, 0.5)
            fuser.add_tracked(tracked.of_other(camera_from_other) if of_other else tracked)
        elif index in unseen:
            fuser.add_tracked(Rejection(stamp_ns, Reason.FEW_MATCHES))
        while waiting and waiting[0][0] <= stamp_ns:
            anchor = waiting.pop(0)[1]
            if (anchor.stamp_ns >= run.stamps_ns[changes]) == of_other:
                anchor = anchor.of_other(camera_from_other) if of_other else anchor
                followed = followed if isinstance(fuser.add_anchor(anchor), Rejection) else anchor.stamp_ns
        estimates.append(fuser.estimate(stamp_ns))
    for index in range(lost - 10, len(estimates)):
        estimate, truth = estimates[index], run.truth[index]
        expected = truth @ camera_from_other if index >= changes else truth
        assert estimate.state is State.LOCALIZED
        assert estimate.map_from_camera.is_close(expected, translation=0.03, degrees=1.5)


@pytest.mark.parametrize("is_mismatch", [False, True])
def test_the_pose_goes_on_when_a_camera_leads_that_contradicted_the_odometry_of_the_one_before(is_mismatch):
    """What the leading camera sees stands still, odometry with it; points followed in another one's images move on.

    Until it is known which of the two is wrong there may be no pose by points.
    """
    run = simulate_run(replace(EXACT, path="eight", duration_s=12.0, rate_hz=10.0, anchor_period_s=0.5), 3)
    stuck, changes = 100, 105
    camera_from_other = SE3(rotation_matrix([0.0, 1.5, 0.0]), np.array([0.1, 0.0, -0.2]))
    fuser, followed, waiting = Fuser(CONFIG, metric=True), None, list(run.anchors)
    for index, (stamp_ns, truth) in enumerate(zip(run.stamps_ns[:110], run.truth, strict=False)):
        of_other = index >= changes
        if index == changes:
            fuser.change_camera(camera_from_other)
        pose = replace(run.odometry[min(index, stuck)], stamp_ns=stamp_ns)
        fuser.add_odometry(Rejection(stamp_ns, Reason.DEGENERATE_MOTION) if of_other else pose)
        if followed is not None:
            tracked = TrackedPose(stamp_ns, truth, 1e-4 * np.eye(6), followed, 1e-6 * np.eye(6), 50, 60, 0.5)
            if is_mismatch and stuck < index < changes:
                tracked = Rejection(stamp_ns, Reason.RIG_MISMATCH, {UNCONFIRMED_S: 0.1 * (index - stuck)})
            verdict = fuser.add_tracked(tracked.of_other(camera_from_other) if of_other else tracked)
            assert is_mismatch or not stuck < index < changes or verdict.reason is Reason.ODOMETRY_DISAGREES
        while waiting and waiting[0][0] <= stamp_ns and index < stuck:
            anchor = waiting.pop(0)[1]
            followed = followed if isinstance(fuser.add_anchor(anchor), Rejection) else anchor.stamp_ns
        if of_other:
            estimate = fuser.estimate(stamp_ns)
            assert estimate.state is State.LOCALIZED
            assert estimate.map_from_camera.is_close(truth @ camera_from_other, translation=0.03, degrees=1.5)


def check_motions(estimates, truth):
    """``odom`` moves as the camera does wherever it claims to know the motion, also as odometry takes over."""
    measured = 0
    for (before, after), (start, end) in zip(pairwise(estimates), pairwise(truth), strict=True):
        if after.motion_covariance is not None:
            step = before.odom_from_camera.inverse @ after.odom_from_camera
            assert step.is_close(start.inverse @ end, 2e-3, 0.2)
            measured += 1
        else:
            assert after.scale is None  # between two anchors' points
    assert measured > 0.8 * len(estimates)


def test_a_long_rest_and_a_long_way_without_odometry_keep_no_more_than_their_last_minute():
    resting = Fuser(CONFIG, metric=True)
    stand(resting, range(1, 600))
    assert len(resting._map_only._rest.known) < 100
    moving = Fuser(CONFIG, metric=True)
    assert set_out(moving, range(1, 300))[-1].map_from_camera is not None
    assert 5 < len(moving._map_only._agreeing) < 20
    assert len(moving._map_only._tracked) < 60
