"""From images to a closed loop: finished frames go to the finder, its corrections come back into the state.

The images carry nothing but the frame's number; features are exact projections of known points, each with a
descriptor of its own, so that only the bookkeeping and the geometry are on trial.
"""

import threading

import numpy as np
import pytest
import torch
from dpvo_journey import CONFIG, Journey, TurningOracle, unit_at
from dpvo_oracle import MAP_SIZE

from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.features.one_by_one import OneByOne
from visloc_ros.odometry.dpvo.places import Hit
from visloc_ros.odometry.dpvo.retrieval_loops import LoopFinder, LoopModels, RetrievalLoops, Snapshot

ROUND, FRAMES = 70, 96
QUARTER_INTRINSICS = torch.tensor([25.0, 25.0, 15.5, 11.5])
SIZE = (4 * MAP_SIZE[1], 4 * MAP_SIZE[0])
MATCHER = make_matcher(MatcherConfig(name="nearest", filter_threshold=0.5))


class World(OneByOne):
    """Points all around a circular path that looks outwards, and a camera that comes round more than once."""

    def __init__(self, places=1, frames=FRAMES):
        """With two ``places`` the camera is elsewhere, among other things, from the middle of its first round on."""
        rng = np.random.default_rng(3)
        angles, distances = rng.uniform(0, 2 * np.pi, 3000), rng.uniform(4.0, 9.0, 3000)
        self.points = np.column_stack(
            (distances * np.cos(angles), rng.uniform(-2.5, 2.5, 3000), distances * np.sin(angles))
        )
        self.descriptors = [normalised(rng.normal(size=(3000, 32))) for _ in range(places)]
        turns = 2.0 * np.pi * np.arange(frames) / ROUND
        self.path = [
            SE3(rotation_matrix([0.0, np.pi / 2 - turn, 0.0]), 2.0 * np.array([np.cos(turn), 0.0, np.sin(turn)]))
            for turn in turns
        ]

    def extract(self, image):
        """Features of the image whose pixels tell which frame it is."""
        frame = int(image[0, 0, 0])
        assert tuple(image[0, 0]) == (frame, frame + 1, frame + 2)  # RGB, as it went in
        points = self.path[frame].inverse @ self.points
        fx, fy, cx, cy = (4.0 * QUARTER_INTRINSICS).tolist()
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy]
        inside = (points[:, 2] > 0.1) & np.all((pixels > 0) & (pixels < np.array(SIZE) - 1), axis=1)
        rows = np.flatnonzero(inside)[:300]
        place = min(frame // (ROUND // 2), len(self.descriptors) - 1)
        descriptors = self.descriptors[place][rows] + 0.02 * np.random.default_rng(frame).normal(size=(len(rows), 32))
        keypoints = (pixels[rows] + HALF_PIXEL).astype(np.float32)
        return LocalFeatures(keypoints, np.ones(len(rows), np.float32), normalised(descriptors), SIZE)


def journey_in(world, live=False):
    def image(frame):
        bgr = torch.tensor([frame + 2, frame + 1, frame], dtype=torch.uint8)
        return bgr[:, None, None].expand(3, SIZE[1], SIZE[0])

    return Journey(world.path, image, QUARTER_INTRINSICS, LoopModels(world, MATCHER), live=live, depth=6.0)


class InOrder(OneByOne):
    """Extracts features of a world whose images come in order and show nothing."""

    def __init__(self, world):
        self.world, self.frame = world, -1

    def extract(self, image):
        self.frame += 1
        return self.world.extract(np.uint8([[[self.frame, self.frame + 1, self.frame + 2]]]))


def normalised(descriptors):
    return (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def closed():
    return journey_in(World()).run()


def test_a_second_round_closes_a_loop_and_the_error_falls(closed):
    open_journey = journey_in(World()).run(close=False)
    assert closed.loops.num_closed == 1
    assert open_journey.error > 0.2
    assert closed.error < 0.3 * open_journey.error


def test_the_loop_joins_the_frames_that_saw_the_same(closed):
    (loop,) = closed.loops._finder._detector.closed
    assert abs(loop.query - loop.place - ROUND) <= 5


def test_loops_are_told_in_the_units_that_the_poses_were_given_out_in():
    """The first loop has bent the frames where the second ends."""
    world = World(frames=120)
    journey = journey_in(world).run()
    journey.loops.finish(journey.state)
    assert len(journey.closures) == journey.loops.num_closed == 2
    for closure in journey.closures:
        earlier, later = closure.earlier_ns, closure.later_ns
        true = world.path[earlier].inverse @ world.path[later]
        told = closure.earlier_from_later
        assert told.scale == pytest.approx(unit_at(earlier) / unit_at(later), rel=0.01)
        assert rotation_angle_deg(told.rotation, true.rotation) < 0.2
        np.testing.assert_allclose(told.translation, unit_at(earlier) * true.translation, atol=0.01)
        assert np.all(np.linalg.eigvalsh(closure.covariance) > 0.0)
    first, second = journey.closures
    assert second.earlier_ns < first.later_ns


def test_another_round_among_other_things_closes_nothing():
    elsewhere = journey_in(World(places=2)).run()
    assert elsewhere.loops.num_closed == 0
    assert elsewhere.loops.finish(elsewhere.state) is False


def test_at_the_end_the_last_frames_count_too():
    journey = journey_in(World()).run(ROUND + 5)
    assert journey.loops.num_closed == 0  # the frames of the second round are not finished
    before = journey.error
    assert journey.loops.finish(journey.state)
    assert journey.loops.num_closed == 1
    assert journey.error < 0.2 * before


def test_in_the_background_it_comes_to_the_same_end():
    journey = journey_in(World(), live=True).run()
    journey.loops.finish(journey.state)
    assert journey.loops.num_closed >= 1
    assert journey.error < 0.1


def test_frames_beyond_what_can_wait_are_left_out(monkeypatch):
    world, gate = World(), threading.Event()
    journey = journey_in(world, live=True)
    monkeypatch.setattr("visloc_ros.odometry.dpvo.retrieval_loops._MAX_WAITING", 5)
    extract = world.extract
    monkeypatch.setattr(world, "extract", lambda image: gate.wait() and extract(image))
    journey.run(40)
    assert journey.loops.num_left_out > 10
    gate.set()
    journey.loops.finish(journey.state)
    assert journey.loops.num_closed == 0


def test_an_error_in_the_background_comes_out(monkeypatch):
    world = World()
    journey = journey_in(world, live=True)
    monkeypatch.setattr(world, "extract", lambda image: 1 // 0)
    journey.run(20, close=False)
    with pytest.raises(ZeroDivisionError):
        journey.loops.finish(journey.state)


def test_images_are_kept_only_until_their_frame_is_finished(closed):
    assert len(closed.loops._images) == CONFIG.resolved().removal_window + 1


def test_a_dropped_keyframe_takes_its_image_along():
    journey = journey_in(World()).run(20)
    kept = set(journey.state.frame_ids)
    journey.state.drop_frame(17)
    journey.loops.close(journey.state)
    assert set(journey.loops._images) == {frame for frame in kept if frame > 8} - {17}


def test_the_front_end_closes_loops_by_appearance():
    world = World()
    oracle = TurningOracle(world.path[: ROUND + 6], preset="cpu", patches_per_frame=8, keyframe_thresh=-1.0)
    closures = []
    loops = RetrievalLoops(CONFIG, LoopModels(InOrder(world), MATCHER), closures)
    oracle.front_end._appearance_loops = loops
    error = oracle.run().kept_error()
    oracle.finish()
    assert loops.num_closed == 1
    assert error > 0.05
    assert oracle.kept_error() < 0.5 * error
    assert closures == []  # the front end alone gives no poses out


def test_a_loop_that_points_do_not_confirm_is_refused(closed):
    world = World()
    finder = LoopFinder(CONFIG, LoopModels(world, MATCHER))
    snapshot = Snapshot.of(closed.state, FRAMES)
    for frame in range(FRAMES):
        image = np.tile(np.array([frame, frame + 1, frame + 2], np.uint8), (SIZE[1], SIZE[0], 1))
        finder._index.add(frame, world.extract(image))
    assert finder.close(Hit(80, 10), snapshot) is not None
    assert finder.close(Hit(80, 45), snapshot) is None  # another direction
    assert finder.close(Hit(FRAMES - 1, 10), snapshot) is None  # no frame after the query
