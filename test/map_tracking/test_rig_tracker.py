"""Map points followed in the images of two cameras at right angles: one pose, here against exact truth."""

from dataclasses import replace

import numpy as np
import pytest
from followed_room import RATE_HZ, error_of

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason, Rejection, TrackedPose
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig, OtherImage, RigMapTracker
from visloc_ros.map_tracking.rig.agreement import OwnPose
from visloc_ros.map_tracking.rig.doubt import Doubt
from visloc_ros.simulation import simulate
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.path import PATHS, LaterPath, MountedPath

FRONT_FROM_RIGHT = SE3(rotation_matrix([0.0, np.pi / 2, 0.0]), np.array([0.1, 0.0, -0.1]))
LAST = RATE_HZ
STUCK = 2 * RATE_HZ
CONFIG = MapTrackingConfig()
AS_GIVEN = SE3.identity()


@pytest.fixture(scope="module")
def rights(room):
    """Frames of the other camera."""
    return frames_of_the_right_camera(room, 0.0)


@pytest.fixture(scope="module")
def untriggered(room):
    """The same, each taken a third of a frame later, as without a common trigger."""
    return frames_of_the_right_camera(room, 0.35 / RATE_HZ)


@pytest.fixture(scope="module")
def elsewhere(room):
    """Frames of the other camera that show nothing of the map."""
    return frames_of_the_right_camera(room, 0.0, make_living_room(1))


def frames_of_the_right_camera(room, later_s, scene=None):
    path = LaterPath(MountedPath(PATHS["localize"], FRONT_FROM_RIGHT), later_s)
    walk = simulate(room.walk.config, "localize", scene or make_living_room(0), path)
    frames = [walk.frame(index) for index in range(STUCK + 14)]
    return [replace(frame, stamp_ns=frame.stamp_ns + round(later_s * NANOSECONDS)) for frame in frames]


class Images:
    """The other camera's images, some frames older than those of the front one, or none."""

    def __init__(self, room, rights, late=0, mounted=AS_GIVEN):
        self.leading, self.shown = "front", None  # instead of its own images
        self.rights, self.late, self.mounted, self.room = rights, late, mounted, room

    def others(self, stamp_ns):
        then = sum(frame.stamp_ns <= stamp_ns for frame in self.rights) - 1 - self.late
        if self.leading == "right" or then < 0:
            return {}
        frame = self.rights[then]
        if self.shown is not None:
            frame = replace(self.shown, stamp_ns=frame.stamp_ns)
        return {"right": OtherImage(frame, FRONT_FROM_RIGHT @ self.mounted)}


def follow(room, tracker, blind=(), anchored=0):
    """Poses of frames 1 to the last one by the anchor of one of them; the front camera is black in some."""
    results = {}
    for index in range(LAST + 1):
        frame = room.frame(index)
        if index in blind:
            frame = replace(frame, image=np.zeros_like(frame.image))
        results[index] = tracker.track(frame, room.pose(index))
        if index == anchored:
            tracker.restart(room.anchor(index))
    return results


def errors_m(room, results):
    found = {index: one for index, one in results.items() if isinstance(one, TrackedPose)}
    return [np.linalg.norm(error_of(one.map_from_camera, room.pose(index))[:3]) for index, one in found.items()]


@pytest.fixture(scope="module")
def alone(room):
    return follow(room, MapTracker(room.map))


def test_two_cameras_hold_the_pose_better_than_one(room, rights, alone):
    both = follow(room, RigMapTracker(room.map, CONFIG, Images(room, rights)))
    assert len(errors_m(room, both)) == LAST
    assert np.median(errors_m(room, both)) < 0.7 * np.median(errors_m(room, alone))
    for index in range(1, LAST + 1):
        assert np.trace(both[index].covariance_since_anchor) < np.trace(alone[index].covariance_since_anchor)
        assert np.linalg.eigvalsh(both[index].covariance - both[index].covariance_since_anchor).min() > -1e-12
        assert both[index].stamp_ns == room.frame(index).stamp_ns
        assert both[index].anchor_stamp_ns == room.frame(0).stamp_ns


def test_an_image_of_another_time_is_moved_to_that_of_the_leading_camera(room, rights, alone):
    late = follow(room, RigMapTracker(room.map, CONFIG, Images(room, rights, late=2)))
    assert np.median(errors_m(room, late)) <= np.median(errors_m(room, alone))


@pytest.mark.parametrize(("frames", "first"), [("rights", 0), ("untriggered", 5)])
def test_one_camera_alone_holds_the_pose_while_the_other_sees_nothing(room, frames, first, request):
    blind = range(first + 5, LAST + 1)
    tracker = RigMapTracker(room.map, CONFIG, Images(room, request.getfixturevalue(frames)))
    results = follow(room, tracker, blind, first)
    assert all(isinstance(results[index], TrackedPose) for index in blind)
    assert max(errors_m(room, results)) < 0.03


def test_a_frame_that_is_only_kept_is_no_more_evidence_against_the_leading_camera(room, rights):
    """On a busy computer one image that could not be used would else hand over to another camera."""
    tracker = RigMapTracker(room.map, CONFIG, Images(room, rights))
    follow(room, tracker, blind=[LAST])
    assert tracker.is_outdone
    tracker.keep(room.frame(LAST + 1))
    assert not tracker.is_outdone


def test_where_there_is_no_time_for_all_images_those_of_another_camera_are_needed_now_and_then(room, rights):
    tracker = RigMapTracker(room.map, CONFIG, Images(room, rights))
    stamps_ns = [frame.stamp_ns for frame in rights]
    assert tracker.needs("right", stamps_ns[0])
    tracker.track(room.frame(0))
    needed = [tracker.needs("right", stamps_ns[0] + milliseconds * 1_000_000) for milliseconds in (50, 150, 250)]
    assert needed == [False, False, True], "no points are followed yet"
    follow(room, tracker)
    needed = [tracker.needs("right", stamps_ns[LAST] + milliseconds * 1_000_000) for milliseconds in (50, 150, 250)]
    assert needed == [False, False, True]
    tracker.track(replace(room.frame(LAST + 1), image=np.zeros_like(room.frame(0).image)), None)
    assert tracker.needs("right", stamps_ns[LAST + 2])


def with_a_scene_that_stands(room, rights, every, stuck="front", lost=1000, covered=1000):
    """Errors in standard deviations of poses while one camera shows one image with new stamps, and who is trusted.

    The other camera's image comes where it is needed, but then, too, only every so many frames. From one frame on
    odometry is ``lost``, or the other camera ``covered``.
    """
    images = Images(room, rights)
    tracker = RigMapTracker(room.map, CONFIG, images)
    sigmas, newest = [], 0
    for index in range(STUCK - RATE_HZ, STUCK + 14):
        stamp_ns, seen = room.frame(index).stamp_ns, min(index, STUCK) if stuck == "front" else index
        begins = index < STUCK - RATE_HZ + 6
        if begins or (tracker.needs("right", stamp_ns) and index % every == 0):
            newest = index
        images.late = index - newest
        images.shown = rights[min(newest, STUCK)] if stuck == "right" else None
        if index >= covered:
            images.shown = replace(rights[index], image=np.zeros_like(rights[index].image))
        predicted = room.pose(seen) if index < lost else None
        tracker.must_track(stamp_ns, predicted)
        result = tracker.track(replace(room.frame(seen), stamp_ns=stamp_ns), predicted)
        if index == STUCK - RATE_HZ + 5:
            tracker.restart(room.anchor(index))
        if isinstance(result, TrackedPose):
            error = error_of(result.map_from_camera, room.pose(index))
            sigmas.append(np.sqrt(error @ np.linalg.solve(result.covariance, error)))
    return sigmas, tracker.is_trusted("front"), tracker.is_trusted("right")


@pytest.mark.parametrize(("frames", "every"), [("rights", 1), ("rights", 2), ("rights", 6), ("untriggered", 1)])
def test_a_scene_that_stands_is_not_believed_though_the_other_camera_is_seldom_looked_at(room, frames, every, request):
    """As on a busy computer: what the other camera shows has moved on far by then, and not as predicted."""
    rights = request.getfixturevalue(frames)
    sigmas, *trusted = with_a_scene_that_stands(room, rights, every)
    assert max(sigmas) < 5.0
    assert trusted == [False, True]
    sigmas, *trusted = with_a_scene_that_stands(room, rights, every, stuck="right")
    assert max(sigmas) < 5.0
    assert len(sigmas) == RATE_HZ - 6 + 14
    assert trusted == [True, False]


def test_a_scene_that_stands_is_not_believed_while_map_points_alone_hold_the_pose(room, untriggered):
    """Odometry has not begun again, and tells nothing of where the other camera was."""
    sigmas, *trusted = with_a_scene_that_stands(room, untriggered, every=1, lost=STUCK - 6)
    assert max(sigmas) < 5.0
    assert trusted == [False, True]


@pytest.mark.parametrize("covered", [STUCK - 1, STUCK + 1])
def test_a_scene_that_stands_is_not_believed_though_the_other_camera_has_just_been_lost(room, rights, covered):
    """On a busy computer its points are not found where a camera that stands says that they are."""
    sigmas, *_ = with_a_scene_that_stands(room, rights, every=1, covered=covered)
    assert max(sigmas) < 5.0


def beside_one_that_sees_no_map(room, elsewhere, shown, tracked):
    """Results by frame; ``shown`` gives which frames the cameras show, None for one that does not send any more."""
    images = Images(room, elsewhere)
    tracker, results = RigMapTracker(room.map, CONFIG, images), {}
    begin = STUCK - RATE_HZ
    for index in range(begin, STUCK + 14):
        stamp_ns, (front, right) = room.frame(index).stamp_ns, shown(index)
        if right is None:
            images.late = len(elsewhere)
        else:
            images.shown = elsewhere[right]
        predicted = room.pose(front)
        if index in tracked:
            tracker.must_track(stamp_ns, predicted)
            results[index] = tracker.track(replace(room.frame(front), stamp_ns=stamp_ns), predicted)
        if index == begin + 5:
            tracker.restart(room.anchor(index))
    return results


def poses_and_sigmas(room, results, where):
    """How many of some results are poses, and their largest error in standard deviations, of where the robot was."""
    found = {index: one for index, one in results.items() if isinstance(one, TrackedPose)}
    errors = {index: error_of(one.map_from_camera, room.pose(where(index))) for index, one in found.items()}
    return len(found), max(
        (np.sqrt(error @ np.linalg.solve(found[index].covariance, error)) for index, error in errors.items()), default=0
    )


def test_a_camera_that_does_not_see_the_map_shows_by_its_images_whether_the_robot_has_stopped(room, elsewhere):
    every = range(STUCK - RATE_HZ, STUCK + 14)
    stuck = beside_one_that_sees_no_map(room, elsewhere, lambda index: (min(index, STUCK), index), every)
    count, largest = poses_and_sigmas(room, stuck, where=lambda index: index)
    assert count >= RATE_HZ - 6
    assert largest < 5.0
    stops = beside_one_that_sees_no_map(room, elsewhere, lambda index: (min(index, STUCK),) * 2, every)
    count, largest = poses_and_sigmas(room, stops, where=lambda index: min(index, STUCK))
    assert count >= RATE_HZ - 6 + 14 - 5, "a quarter of a second without"
    assert largest < 5.0
    assert isinstance(stops[STUCK + 13], TrackedPose)


def test_after_a_gap_a_camera_alone_is_believed_once_it_moves_or_another_one_stands(room, elsewhere):
    """Its images may have stuck meanwhile."""
    last = STUCK + 13
    tracked = [index for index in range(STUCK - RATE_HZ, last + 1) if not STUCK - 8 < index < STUCK + 6]
    after = [index for index in tracked if index > STUCK]

    def found_after(front, right, where):
        results = beside_one_that_sees_no_map(room, elsewhere, lambda index: (front(index), right(index)), tracked)
        return poses_and_sigmas(room, {index: results[index] for index in after}, where)

    count, largest = found_after(lambda index: index, lambda index: index, where=lambda index: index)
    assert count >= len(after) - 2
    assert largest < 5.0
    count, _ = found_after(lambda index: min(index, STUCK), lambda index: index, where=lambda index: index)
    assert count == 0
    count, largest = found_after(*[lambda index: min(index, STUCK)] * 2, where=lambda index: min(index, STUCK))
    assert count >= len(after) - 4
    assert largest < 5.0


def test_beside_one_that_is_unplugged_a_camera_is_believed_as_if_it_were_alone(room, elsewhere):
    """Also where its pose stops after a gap: no image of the other one will tell."""
    last = STUCK + 13
    tracked = [index for index in range(STUCK - RATE_HZ, last + 1) if not STUCK - 8 < index < STUCK + 6]

    def shown(index):
        return min(index, STUCK), None if index >= STUCK - 8 else index

    results = beside_one_that_sees_no_map(room, elsewhere, shown, tracked)
    after = {index: results[index] for index in tracked if index > STUCK}
    count, largest = poses_and_sigmas(room, after, where=lambda index: min(index, STUCK))
    assert count == len(after)
    assert largest < 5.0


@pytest.mark.parametrize(("every", "last"), [(12, 1000), (26, 1000), (3, STUCK - 4), (12, STUCK - 2)])
def test_the_image_of_another_camera_that_is_seldom_looked_at_is_not_believed(room, untriggered, every, last):
    """The other camera does not see what it would, but shows the same, also if the robot stands."""
    rights = [replace(one, image=untriggered[min(index, last)].image) for index, one in enumerate(untriggered)]
    images = Images(room, rights)
    tracker, results, newest = RigMapTracker(room.map_with_pictures(), CONFIG, images), {}, 0
    for index in range(STUCK - RATE_HZ, STUCK + 14):
        at = min(index, last)
        frame, seen_from = replace(room.frame(at), stamp_ns=room.frame(index).stamp_ns), room.pose(at)
        if index >= STUCK:
            frame, seen_from = replace(frame, image=rights[at].image), seen_from @ FRONT_FROM_RIGHT
        newest = index if index % every == 0 else newest
        images.late = index - newest
        tracker.must_track(frame.stamp_ns, seen_from)
        results[index] = tracker.track(frame, seen_from)
        if index == STUCK - RATE_HZ + 5:
            tracker.restart(room.anchor(index))
    count, largest = poses_and_sigmas(room, results, lambda index: min(index, last))
    assert count >= min(last, STUCK - 1) - (STUCK - RATE_HZ + 5), "all while it moves and sends its own images"
    assert largest < 5.0


def test_of_three_cameras_one_that_shows_something_else_does_not_speak_for_two_that_show_the_same(room):
    def is_doubted(**same):
        doubt = Doubt()
        doubt.begin(0)
        for name, is_same in same.items():
            doubt.compare(name, 0, is_same=is_same)
        moving = [OwnPose(room.pose(index), 1e-8 * np.eye(6)) for index in range(4)]
        return [doubt.holds(index, own, [], np.eye(6)) for index, own in enumerate(moving, start=1)][-1]

    assert not is_doubted(left=False, right=False)
    assert is_doubted(left=True, right=False)
    assert is_doubted(left=False, right=True)
    assert is_doubted()


def test_a_leap_of_odometry_to_where_another_camera_looks_is_not_believed(room, untriggered):
    """The leading camera shows what the other one sees, and odometry has been there before."""
    tracker = RigMapTracker(room.map, CONFIG, Images(room, untriggered))
    results = {}
    for index in range(STUCK - RATE_HZ, STUCK + 10):
        leaps = index >= STUCK
        frame, seen_from = room.frame(index), room.pose(index) @ FRONT_FROM_RIGHT if leaps else room.pose(index)
        frame = replace(frame, image=untriggered[index].image) if leaps else frame
        results[index] = tracker.track(frame, seen_from)
        if index == STUCK - RATE_HZ + 5:
            tracker.restart(room.anchor(index))
    after = {index: results[index] for index in range(STUCK, STUCK + 10)}
    assert len(errors_m(room, after)) == len(after)
    assert max(errors_m(room, after)) < 0.02


def test_a_camera_goes_on_with_the_anchor_before_if_the_newest_one_has_no_image_of_it(room, rights):
    images = Images(room, rights)
    tracker = RigMapTracker(room.map, CONFIG, images)
    follow(room, tracker)
    images.late = LAST + 2  # none comes any more
    assert isinstance(tracker.track(room.frame(LAST + 1), room.pose(LAST + 1)), TrackedPose)
    tracker.restart(room.anchor(LAST + 1))
    images.late = 0
    alone = tracker.track(replace(room.frame(LAST + 2), image=np.zeros_like(room.frame(0).image)), room.pose(LAST + 2))
    assert isinstance(alone, TrackedPose)
    assert alone.anchor_stamp_ns == rights[LAST + 1].stamp_ns
    assert np.linalg.norm(error_of(alone.map_from_camera, room.pose(LAST + 2))[:3]) < 0.03
    of_anchor = room.anchor(LAST + 1).covariance
    assert np.trace((alone.covariance_since_anchor - alone.covariance)[:3, :3]) > 0.9 * np.trace(of_anchor[:3, :3])


def test_an_anchor_whose_images_are_gone_changes_nothing(room, rights):
    tracker = RigMapTracker(room.map, CONFIG, Images(room, rights))
    follow(room, tracker)
    tracker.restart(replace(room.anchor(0), stamp_ns=rights[LAST].stamp_ns + 1))
    result = tracker.track(room.frame(LAST + 1), room.pose(LAST + 1))
    assert result.anchor_stamp_ns == rights[0].stamp_ns


def test_images_alone_show_that_one_camera_stands_while_the_other_one_moves(room, rights):
    """Before an anchor, and wherever the map is not seen."""
    images = Images(room, rights)
    tracker = RigMapTracker(room.map, CONFIG, images)
    for index in range(LAST):
        result = tracker.track(replace(room.frame(0), stamp_ns=rights[index].stamp_ns), room.pose(0))
    assert result.reason is Reason.RIG_MISMATCH
    assert not tracker.is_trusted("front")
    both = RigMapTracker(room.map, CONFIG, Images(room, rights))
    for index in range(LAST):
        both.track(room.frame(index), room.pose(index))
    assert both.is_trusted("front")


def test_another_camera_that_sees_the_map_may_lead_though_no_pose_is_predicted(room, untriggered):
    """Odometry by images upside down has no pose in the map any more, and some images were not looked at."""
    images = Images(room, untriggered)
    tracker = RigMapTracker(room.map, CONFIG, images)
    follow(room, tracker, anchored=5)
    for index in range(LAST + 1, LAST + 9):
        images.late = index if index < LAST + 7 else 0
        frame = room.frame(index)
        tracker.track(replace(frame, image=np.ascontiguousarray(frame.image[::-1, ::-1])), None)
    assert tracker.is_outdone


def test_a_camera_that_is_not_trusted_leads_if_it_moves_and_the_other_one_sees_nothing(room, rights):
    images = Images(room, rights)
    tracker = RigMapTracker(room.map, CONFIG, images)
    follow(room, tracker)
    tracker.distrust("right")
    assert not tracker.shows_motion("right")
    for index in (LAST + 1, LAST + 2, LAST + 3):
        assert not isinstance(tracker.track_others(rights[index].stamp_ns, None), TrackedPose)
    assert tracker.shows_motion("right")
    images.leading = "right"
    tracker.keep(rights[LAST + 4])
    assert tracker.is_trusted("right")


def test_poses_by_the_last_images_of_another_camera_are_as_uncertain_as_its_motion_since(room, rights):
    """A pose that was predicted must not count as a motion that was seen."""
    images, squared = Images(room, rights), []
    tracker = RigMapTracker(room.map, CONFIG, images)
    follow(room, tracker)
    images.late = 1  # its image comes after the one that cannot be used
    assert tracker.track_others(rights[LAST + 1].stamp_ns, None) is None
    for index in (LAST + 2, LAST + 3):
        result = tracker.track_others(rights[index].stamp_ns, None)
        assert isinstance(result, TrackedPose)
        error = error_of(result.map_from_camera, room.pose(index))
        squared.append(float(error @ np.linalg.solve(result.covariance, error)))
    assert max(squared) < 30.0
    stamps_ns = [stamp_ns for stamp_ns, _ in tracker._joint.poses]
    assert stamps_ns[-1] == rights[LAST + 2].stamp_ns


def test_another_camera_leads_with_the_points_that_were_followed_in_it(room, rights):
    images = Images(room, rights)
    tracker = RigMapTracker(room.map, CONFIG, images)
    follow(room, tracker)
    tracker.follow("right", rights[LAST + 1])  # the one that led sends nothing, and the other one does not lead yet
    images.leading = "right"
    results = {index: tracker.track(rights[index]) for index in (LAST + 2, LAST + 3)}
    for index, result in results.items():
        assert isinstance(result, TrackedPose)
        truth = room.pose(index) @ FRONT_FROM_RIGHT
        assert np.linalg.norm(error_of(result.map_from_camera, truth)[:3]) < 0.03


def test_a_frame_that_there_was_no_time_for_takes_no_image_from_the_next_one_and_may_be_anchored(room, rights, alone):
    images = Images(room, rights)
    tracker, results = RigMapTracker(room.map, CONFIG, images), {}
    for index in range(LAST + 1):
        images.late = 0 if index % 4 == 0 else index % 4 - 1  # an image of every fourth frame, and one after it
        if index % 4 == 0:
            results[index] = tracker.track(room.frame(index), room.pose(index))
        else:
            tracker.keep_skipped(room.frame(index))
        if index in (4, 8):
            tracker.restart(room.anchor(4 if index == 4 else 6))
    found = {index: one for index, one in results.items() if isinstance(one, TrackedPose)}
    assert list(found) == [8, 12, 16, 20]
    assert {one.anchor_stamp_ns for index, one in found.items() if index > 8} == {room.frame(6).stamp_ns}
    assert min(one.num_inliers / alone[index].num_inliers for index, one in found.items()) > 1.2, "of both cameras"


def test_a_camera_that_leads_next_is_as_uncertain_as_its_place_was_at_the_anchor(room, rights):
    """Its anchor is that of the other camera, moved to its own image by an odometry that errs."""
    images, squared = Images(room, rights, late=3), []
    for seed in range(4):
        rng, images.leading = np.random.default_rng(seed), "front"
        tracker = RigMapTracker(room.map, CONFIG, images)
        for index in range(LAST):
            error = rng.normal(0.0, [0.02] * 3 + [0.01] * 3)
            tracker.track(room.frame(index), perturbed(room.pose(index), error))
        tracker.restart(room.anchor(LAST - 1))
        images.leading = "right"
        result = tracker.track(rights[LAST - 3])
        assert isinstance(result, TrackedPose)
        error = error_of(result.map_from_camera, room.pose(LAST - 3) @ FRONT_FROM_RIGHT)
        squared.append(float(error @ np.linalg.solve(result.covariance, error)))
    assert np.mean(squared) < 12.0


def test_a_camera_that_contradicts_the_leading_one_is_left_out(room, rights, alone):
    turned = SE3(rotation_matrix([0.0, 0.0, np.radians(8.0)]), np.array([0.05, 0.0, 0.0]))
    results = follow(room, RigMapTracker(room.map, CONFIG, Images(room, rights, mounted=turned)))
    assert max(errors_m(room, results)) <= 1.5 * max(errors_m(room, alone))


def test_before_an_anchor_and_after_a_reset_there_is_no_pose(room, rights):
    tracker = RigMapTracker(room.map, CONFIG, Images(room, rights))
    assert tracker.track(room.frame(0)).reason is Reason.FEW_MATCHES
    tracker.restart(room.anchor(0))
    assert isinstance(tracker.track(room.frame(1)), TrackedPose)
    tracker.reset()
    assert isinstance(tracker.track(room.frame(2)), Rejection)


def test_a_frame_in_which_odometry_leaps_or_begins_has_to_be_tracked(room, rights):
    tracker = RigMapTracker(room.map, CONFIG, Images(room, rights))
    must = []
    for index in range(LAST):
        must.append(tracker.must_track(room.frame(index).stamp_ns, room.pose(index)))
        tracker.track(room.frame(index), room.pose(index))
        if index == 0:
            tracker.restart(room.anchor(0))
    assert must[2:5] == [True] * 3, "no velocity is known yet"
    assert not any(must[6:])
    assert tracker.must_track(room.frame(LAST).stamp_ns, room.pose(LAST - 6))
