"""Between anchors a map-frame pose without drift; here against exact truth."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from followed_room import RATE_HZ, error_of, shifted

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Frame, Reason, Rejection, TrackedPose
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.map_tracking.tracker import combine, located_by_references, tracked_from_anchor

LATENCY = RATE_HZ // 2


def follow(room, last, anchor=None, predicted=None, tracker=None, first=0):
    """Track frames first..last; the first one's anchor joins half a second late. Results by frame, and the tracker."""
    tracker, anchor = tracker or MapTracker(room.map), anchor or room.anchor(first)
    results = {}
    for index in range(first, last + 1):
        results[index] = tracker.track(room.frame(index), predicted(index) if predicted else None)
        if index == first + LATENCY:
            tracker.restart(anchor)
    return results, tracker


@pytest.fixture(scope="module")
def walk(room):
    """Three seconds after an exact anchor, without any prediction from elsewhere."""
    return follow(room, 3 * RATE_HZ)[0]


def tracked(results):
    return {index: result for index, result in results.items() if isinstance(result, TrackedPose)}


def errors(room, results):
    return {index: error_of(result.map_from_camera, room.pose(index)) for index, result in tracked(results).items()}


def test_every_frame_after_a_late_anchor_has_a_pose_near_the_truth(room, walk):
    """H-50; the lens bends lines by many pixels, the light is another than when the room was mapped."""
    assert sorted(tracked(walk)) == list(range(LATENCY + 1, 3 * RATE_HZ + 1))
    assert all(result.anchor_stamp_ns == room.frame(0).stamp_ns for result in tracked(walk).values())
    found = np.array(list(errors(room, walk).values()))
    assert np.median(np.linalg.norm(found[:, :3], axis=1)) < 0.015
    assert np.linalg.norm(found[:, :3], axis=1).max() < 0.05
    assert np.degrees(np.linalg.norm(found[:, 3:], axis=1)).max() < 0.6


def test_the_covariance_since_the_anchor_means_what_it_says(room, walk):
    """6 would be exact; neighbouring frames share their errors, so one walk says it only roughly."""
    values = [
        error @ np.linalg.solve(walk[index].covariance_since_anchor, error)
        for index, error in errors(room, walk).items()
    ]
    assert 0.5 < np.median(values) < 18.0


def test_the_whole_covariance_holds_that_of_the_anchor(room, walk):
    for result in tracked(walk).values():
        added = np.linalg.eigvalsh(result.covariance - result.covariance_since_anchor)
        assert added.min() > 0.0
        assert result.covariance[0, 0] > 0.01**2


def test_before_an_anchor_there_is_no_pose(room, walk):
    assert {result.reason for index, result in walk.items() if index <= LATENCY} == {Reason.FEW_MATCHES}


def test_the_same_frames_give_the_same_poses(room):
    anchor = room.anchor(0)
    one, other = follow(room, LATENCY + 4, anchor)[0], follow(room, LATENCY + 4, anchor)[0]
    for index, result in tracked(one).items():
        np.testing.assert_array_equal(result.map_from_camera.matrix, other[index].map_from_camera.matrix)


def test_the_anchor_s_inliers_hold_the_pose_to_the_map(room):
    """They say where they were seen: a pose 3 cm off them comes back, as far as their own noise lets it."""
    off = []
    for draw in range(4):
        results, _ = follow(room, LATENCY + 10, room.anchor(0, shifted(0.03), draw))
        off += [np.linalg.norm(error[:3]) for error in errors(room, results).values()]
    assert np.median(off) < 0.02


def test_points_that_only_project_into_the_anchor_s_image_share_its_error(room):
    anchor = replace(room.anchor(0, shifted(0.03)), inlier_points=np.empty((0, 3)), inlier_pixels=np.empty((0, 2)))
    results, _ = follow(room, LATENCY + 10, anchor)
    assert len(tracked(results)) == 10
    for error in errors(room, results).values():
        assert np.linalg.norm(error[:3]) == pytest.approx(0.03, abs=0.015)


def test_the_next_anchor_takes_over_without_a_gap(room):
    _, tracker = follow(room, LATENCY + 8)
    later = room.anchor(LATENCY)
    tracker.restart(later)
    result = tracker.track(room.frame(LATENCY + 9))
    assert result.anchor_stamp_ns == later.stamp_ns
    assert np.linalg.norm(error_of(result.map_from_camera, room.pose(LATENCY + 9))[:3]) < 0.02


def test_the_next_anchor_s_image_shows_the_points_of_the_one_before(room):
    _, tracker = follow(room, LATENCY + 8)
    later = room.anchor(LATENCY, shifted(0.05, 1.0))
    link = tracker.link(later)
    assert (link.stamp_ns, link.anchor_stamp_ns) == (later.stamp_ns, room.frame(0).stamp_ns)
    error = error_of(link.map_from_camera, room.pose(LATENCY))
    assert np.linalg.norm(error[:3]) < 0.02, "by the earlier points, not where the later anchor says"
    assert tracker.link(room.anchor(LATENCY, shifted(1.5, 60.0))) is None


def test_an_anchor_of_an_image_that_was_not_followed_keeps_the_views_since(room):
    """Three seconds later its own image shows nothing of what the camera sees; the points followed since do."""
    _, tracker = follow(room, LATENCY + 8)
    asked, last = LATENCY + 9, 3 * RATE_HZ
    tracker.keep(room.frame(asked))
    for index in range(asked + 1, last):
        assert isinstance(tracker.track(room.frame(index)), TrackedPose)
    tracker.restart(room.anchor(asked))
    result = tracker.track(room.frame(last))
    assert isinstance(result, TrackedPose)
    assert result.anchor_stamp_ns == room.frame(asked).stamp_ns
    error = error_of(result.map_from_camera, room.pose(last))
    assert error @ np.linalg.solve(result.covariance, error) < 30.0


def test_points_are_followed_through_the_kept_images_where_the_motion_is_unknown(room):
    """After three seconds the camera is where the anchor's pose alone would not lead the search."""
    frames = [room.frame(index) for index in range(3 * RATE_HZ)]
    results = []
    for catch_up in (False, True):
        tracker = MapTracker(room.map)
        for frame in frames[:-1]:
            tracker.keep(frame)
        tracker.restart(room.anchor(0), catch_up)
        results.append(tracker.track(frames[-1]))
    assert isinstance(results[0], Rejection)
    error = error_of(results[1].map_from_camera, room.pose(len(frames) - 1))
    assert np.linalg.norm(error[:3]) < 0.1
    assert error @ np.linalg.solve(results[1].covariance_since_anchor, error) < 30.0


def test_an_anchor_whose_image_is_gone_changes_nothing(room):
    tracker = MapTracker(room.map, MapTrackingConfig(history_images=5))
    results, _ = follow(room, LATENCY + 2, tracker=tracker)
    assert not tracked(results)


def test_a_prediction_that_is_off_is_made_good(room):
    """10 cm and 2 degrees: more than a patch reaches in the image itself."""
    wrong = shifted(0.1, 2.0)
    results, _ = follow(room, LATENCY + 3, predicted=lambda index: wrong @ room.pose(index))
    assert sorted(tracked(results)) == [LATENCY + 1, LATENCY + 2, LATENCY + 3]
    assert all(np.linalg.norm(error[:3]) < 0.02 for error in errors(room, results).values())


def test_a_pose_far_from_the_prediction_is_refused(room):
    config = MapTrackingConfig(max_disagreement=0.005)
    wrong = shifted(0.1, 2.0)
    results, _ = follow(
        room, LATENCY + 2, predicted=lambda index: wrong @ room.pose(index), tracker=MapTracker(room.map, config)
    )
    assert results[LATENCY + 1].reason is Reason.ODOMETRY_DISAGREES


def test_a_pose_far_from_the_prediction_may_be_asked_for_where_others_judge_it(room):
    """As on a rig: what the leading camera predicts may be what is wrong."""
    tracker, wrong = MapTracker(room.map, MapTrackingConfig(max_disagreement=0.005)), shifted(0.1, 2.0)
    tracker.track(room.frame(0), wrong @ room.pose(0))
    tracker.restart(room.anchor(0))
    result = tracker.track(room.frame(1), wrong @ room.pose(1), may_disagree=True)
    assert np.linalg.norm(error_of(result.map_from_camera, room.pose(1))[:3]) < 0.02


def test_a_covered_lens_gives_a_reason_and_then_poses_again(room):
    _, tracker = follow(room, LATENCY + 5)
    last = room.frame(LATENCY + 5)
    black = Frame(last.stamp_ns + 1_000_000, np.zeros_like(last.image), room.camera)
    assert tracker.track(black, None).reason is Reason.FEW_MATCHES
    assert isinstance(tracker.track(room.frame(LATENCY + 6), None), TrackedPose)


def test_another_scene_gets_no_pose(room):
    _, tracker = follow(room, LATENCY + 3)
    rng = np.random.default_rng(5)
    noise = np.kron(rng.integers(0, 255, (60, 80)), np.ones((4, 4))).astype(np.uint8)
    for step in range(4, 8):
        stamp_ns = room.frame(LATENCY + step).stamp_ns
        assert isinstance(tracker.track(Frame(stamp_ns, noise, room.camera), None), Rejection)


def test_old_frames_and_another_camera(room):
    _, tracker = follow(room, LATENCY + 2)
    assert tracker.track(room.frame(0)).reason is Reason.STALE
    camera = pycolmap.Camera(model="PINHOLE", width=320, height=240, params=[200, 200, 160, 120])
    other = replace(room.frame(LATENCY + 3), camera=camera)
    assert isinstance(tracker.track(other), Rejection)
    assert isinstance(tracker.track(room.frame(LATENCY + 4)), Rejection)
    tracker.reset()
    assert tracker.track(room.frame(0)).reason is Reason.FEW_MATCHES


def test_large_images_are_tracked_halved(room):
    config = MapTrackingConfig(max_pixels=40_000, window_px=15)
    results, _ = follow(room, LATENCY + 4, tracker=MapTracker(room.map, config))
    assert len(tracked(results)) == 4
    assert all(np.linalg.norm(error[:3]) < 0.04 for error in errors(room, results).values())


def test_an_anchor_is_believed_where_its_image_was_predicted_to_be(room):
    tracker = MapTracker(room.map)
    tracker.track(room.frame(0), room.pose(0))
    tracker.track(room.frame(1), None)
    assert tracker.is_consistent(room.anchor(0))
    assert not tracker.is_consistent(room.anchor(0, shifted(0.8)))
    assert not tracker.is_consistent(room.anchor(1))  # nothing was predicted
    assert not tracker.is_consistent(room.anchor(2))  # nor is there an image


ANCHOR = np.diag([0.02**2] * 3 + [0.004**2] * 3)
SINCE = np.diag([0.01**2] * 3 + [0.003**2] * 3)
MAP = np.diag([0.015**2] * 3 + [0.002**2] * 3)
NOTHING = np.zeros((6, 6))


def moved(error):
    return SE3(rotation_matrix(error[3:]), error[:3])


def drawn(rng, covariance):
    return rng.multivariate_normal(np.zeros(6), covariance)


def test_both_covariances_are_those_of_the_errors():
    """Mean NEES of 2000 draws of the anchor's, the motion's, and the map's error; 6 is exact."""
    rng, whole, since = np.random.default_rng(0), [], []
    for _ in range(2000):
        of_anchor, of_motion, of_map = (drawn(rng, covariance) for covariance in (ANCHOR, SINCE, MAP))
        followed = tracked_from_anchor(moved(of_anchor + of_motion), SINCE, ANCHOR)
        result = combine(followed, moved(of_map), MAP, ANCHOR, NOTHING)
        if result is None:  # one in a thousand
            continue
        error = error_of(result.map_from_camera, SE3.identity())
        whole.append(error @ np.linalg.solve(result.covariance, error))
        error = error - of_anchor
        since.append(error @ np.linalg.solve(result.covariance_since_anchor, error))
    assert np.mean(whole) == pytest.approx(6.0, rel=0.05)
    assert np.mean(since) == pytest.approx(6.0, rel=0.05)


def test_right_after_an_anchor_the_map_hardly_matters_and_later_it_rules():
    found = moved(np.array([0.02, 0.0, 0.0, 0.0, 0.0, 0.0]))
    soon = combine(tracked_from_anchor(SE3.identity(), 0.001 * SINCE, ANCHOR), found, MAP, ANCHOR, NOTHING)
    later = combine(tracked_from_anchor(SE3.identity(), 1000.0 * SINCE, ANCHOR), found, MAP, ANCHOR, NOTHING)
    assert soon.map_from_camera.translation[0] < 0.001
    assert later.map_from_camera.translation[0] > 0.019


def test_poses_that_contradict_each_other_are_no_pose():
    followed = tracked_from_anchor(SE3.identity(), SINCE, ANCHOR)
    far = moved(np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert combine(followed, far, MAP, ANCHOR, NOTHING) is None
    assert combine(followed, far, MAP, ANCHOR, 100.0 * MAP) is not None  # a map that is off by that much


def test_pictures_that_err_alike_do_not_make_later_frames_surer():
    result = combine(tracked_from_anchor(SE3.identity(), SINCE, ANCHOR), SE3.identity(), MAP, ANCHOR, NOTHING)
    assert np.trace(result.covariance_since_anchor) < np.trace(result.tracking_covariance)
    np.testing.assert_array_equal(result.tracking_covariance, SINCE)


def test_by_the_map_alone_the_anchor_s_error_counts_for_the_motion_only():
    result = located_by_references(SE3.identity(), MAP, ANCHOR)
    np.testing.assert_array_equal(result.covariance, MAP)
    np.testing.assert_array_equal(result.covariance_since_anchor, MAP + ANCHOR)


def behind_something_that_moves(room, index, share):
    """A frame, and before its right part the mirrored images of a camera on its way back."""
    frame = room.frame(index)
    image, before = frame.image.copy(), room.frame(len(room.walk) - 1 - index).image[:, ::-1]
    column = round((1.0 - share) * image.shape[1])
    image[:, column:] = before[:, column:]
    return replace(frame, image=image)


@pytest.mark.parametrize("share", [0.4, 0.5, 0.6])
def test_something_that_moves_before_most_of_the_image_does_not_lead_the_pose(room, share):
    """Its patches were taken for those of the points behind it: 17 and 14 sigma off, and no poses at all."""
    tracker, found = MapTracker(room.map), {}
    for index in range(4 * RATE_HZ + 1):
        is_free = index < 3 * LATENCY
        frame = room.frame(index) if is_free else behind_something_that_moves(room, index, share)
        result = tracker.track(frame)
        if index == LATENCY:
            tracker.restart(room.anchor(0))
        if not is_free and isinstance(result, TrackedPose):
            found[index] = result
    assert len(found) > 20
    for index, result in found.items():
        error = error_of(result.map_from_camera, room.pose(index))
        assert np.linalg.norm(error[:3]) < 5.0 * np.sqrt(np.trace(result.covariance[:3, :3]))


def test_points_are_followed_on_from_the_newest_image_that_was_tracked(room):
    """An anchor joins late, just after a frame without a pose: what its own image shows is out of view by then."""
    tracker = MapTracker(room.map)
    last = 4 * RATE_HZ
    for index in range(last):
        frame = room.frame(index)
        is_covered = index == last - 1
        result = tracker.track(
            replace(frame, image=np.zeros_like(frame.image)) if is_covered else frame, room.pose(index)
        )
        if index == LATENCY:
            tracker.restart(room.anchor(0))
    assert isinstance(result, Rejection)
    tracker.restart(room.anchor(3))
    assert isinstance(tracker.track(room.frame(last), room.pose(last)), TrackedPose)
