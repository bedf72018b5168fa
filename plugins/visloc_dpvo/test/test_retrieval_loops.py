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

from visloc_dpvo.frame_points import FramePoints
from visloc_dpvo.places import Hit
from visloc_dpvo.point_alignment import align_points
from visloc_dpvo.retrieval_loops import (
    LoopFinder,
    LoopModels,
    RetrievalLoops,
    Snapshot,
    closure_of,
    measure_loop,
)
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix, rotation_vector
from visloc_ros.features import MatcherConfig, make_matcher
from visloc_ros.features.types import Matches, OneByOne

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


def test_loops_are_in_the_units_that_the_poses_were_given_out_in():
    """The first loop has bent the frames where the second ends."""
    world = World(frames=120)
    journey = journey_in(world).run()
    journey.loops.finish(journey.state)
    assert len(journey.closures) == journey.loops.num_closed == 2
    for closure in journey.closures:
        earlier, later = closure.earlier_ns, closure.later_ns
        true = world.path[earlier].inverse @ world.path[later]
        found = closure.earlier_from_later
        assert found.scale == pytest.approx(unit_at(earlier) / unit_at(later), rel=0.01)
        assert rotation_angle_deg(found.rotation, true.rotation) < 0.2
        np.testing.assert_allclose(found.translation, unit_at(earlier) * true.translation, atol=0.01)
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
    monkeypatch.setattr("visloc_dpvo.retrieval_loops._MAX_WAITING", 5)
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


INTRINSICS = np.array([300.0, 300.0, 160.0, 120.0], dtype=np.float32)
PLACE_FROM_QUERY = SE3.from_rotation_vector([0.02, 0.1, -0.03], [0.2, 0.05, -0.1])


class RowMatcher:
    """Matches equal rows, up to a number of them."""

    def __init__(self, count):
        self.count = count

    def match(self, a, b):
        rows = np.arange(min(self.count, len(a), len(b)), dtype=np.int32)
        return Matches(np.column_stack((rows, rows)), np.ones(len(rows), np.float32))


def frame_of(points):
    pixels = points[:, :2] / points[:, 2:] * INTRINSICS[:2] + INTRINSICS[2:] + HALF_PIXEL
    ones = np.ones(len(points), np.float32)
    features = LocalFeatures(pixels.astype(np.float32), ones, np.zeros((len(points), 8)), (320, 240))
    return FramePoints(features, points, INTRINSICS)


def seen_points(count=200, width=1.0, seed=0):
    """Points in the query's camera; those of small ``width`` lie about the middle of the image."""
    rng = np.random.default_rng(seed)
    depths = rng.uniform(2.0, 5.0, count)
    return np.column_stack((width * rng.uniform([-0.4, -0.3], [0.4, 0.3], (count, 2)) * depths[:, None], depths))


def evidence_of(points, matched, wrong=0):
    moved = PLACE_FROM_QUERY @ points
    moved[:wrong] = seen_points(wrong, seed=5)
    return measure_loop(frame_of(points), frame_of(moved), RowMatcher(matched))


def test_a_true_loop_is_sure():
    evidence = evidence_of(seen_points(), matched=150)
    assert evidence.is_sure
    assert 150 <= evidence.expected <= 200
    found = evidence.alignment.target_from_source
    np.testing.assert_allclose(found.translation, PLACE_FROM_QUERY.translation, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "matched", "wrong"),
    [
        (seen_points(), 60, 0),  # one picture among much else that is missing
        (seen_points(60), 25, 0),  # too few
        (seen_points(width=0.15), 200, 0),  # all on one small thing
        (seen_points(), 200, 140),  # most matches are wrong
    ],
)
def test_weak_evidence_is_not_believed(points, matched, wrong):
    assert not evidence_of(points, matched, wrong).is_sure


def test_what_lies_outside_the_other_image_is_not_expected():
    points = seen_points(240)
    turned = SE3.from_rotation_vector([0.0, 0.5, 0.0], [0.0, 0.0, 0.0])
    in_place = turned @ points
    pixels = in_place[:, :2] / in_place[:, 2:] * INTRINSICS[:2] + INTRINSICS[2:]
    visible = np.all((pixels > -HALF_PIXEL) & (pixels < np.array([320, 240]) - HALF_PIXEL), axis=1)
    points = np.vstack((points[visible], points[~visible]))  # the matcher matches equal rows
    shown = frame_of(in_place[visible])
    evidence = measure_loop(frame_of(points), shown, RowMatcher(300))
    assert shown.count_visible(in_place) == visible.sum() < 200
    assert evidence.expected == visible.sum()


def test_too_few_matches_are_no_evidence():
    assert evidence_of(seen_points(), matched=9) is None


def test_the_words_of_the_evidence_state_its_numbers():
    assert str(evidence_of(seen_points(), matched=150)).startswith("150 of 150 points agree")


SCALED_PLACE_FROM_QUERY = Sim3(1.2, rotation_matrix([0.1, 0.3, -0.05]), np.array([0.4, -0.1, 0.3]))
PLACE_UNIT, QUERY_UNIT = 2.0, 0.5


def measured_alignment(noise=0.01, place_unit=1.0, query_unit=1.0):
    """Points in units of the world; what odometry gave out is ``*_unit`` times shorter."""
    rng = np.random.default_rng(0)
    depths = rng.uniform(1.5, 4.0, 100)
    query = np.column_stack((rng.uniform(-0.6, 0.6, (100, 2)) * depths[:, None], depths))
    place = (SCALED_PLACE_FROM_QUERY @ query) * np.exp(rng.normal(scale=noise, size=(100, 3)))
    return align_points(query / query_unit, place / place_unit)


def test_each_end_of_a_loop_is_in_its_own_unit():
    """As measured when the frames were given out: the same points, in odometry's lengths of then."""
    units = np.array([PLACE_UNIT, QUERY_UNIT])
    now, then = closure_of(1, 2, units, measured_alignment()), measured_alignment(0.01, PLACE_UNIT, QUERY_UNIT)
    found, expected = now.earlier_from_later, then.target_from_source
    assert (now.earlier_ns, now.later_ns) == (1, 2)
    assert found.scale == pytest.approx(expected.scale, rel=1e-4)
    np.testing.assert_allclose(found.translation, expected.translation, atol=1e-4)
    as_then = closure_of(1, 2, np.ones(2), then)
    np.testing.assert_allclose(np.sqrt(np.diag(now.covariance)), np.sqrt(np.diag(as_then.covariance)), rtol=0.01)


@pytest.mark.parametrize("units", [[0.0, 1.0], [1.0, 0.0]])
def test_a_frame_that_was_not_given_out_has_no_loop(units):
    assert closure_of(1, 2, np.array(units), measured_alignment()) is None


def test_beside_the_errors_of_points_there_are_those_that_all_points_of_a_frame_share():
    alignment = measured_alignment(noise=0.0)
    covariance = closure_of(1, 2, np.ones(2), alignment).covariance - alignment.covariance
    rng, errors = np.random.default_rng(1), []
    for _ in range(4000):
        place, query = (
            Sim3(np.exp(rng.normal(scale=0.01)), rotation_matrix(rng.normal(scale=0.0005, size=3)), np.zeros(3))
            for _ in range(2)
        )
        wrong = place @ SCALED_PLACE_FROM_QUERY @ query
        turn = rotation_vector(wrong.rotation @ SCALED_PLACE_FROM_QUERY.rotation.T)
        shift = wrong.translation - SCALED_PLACE_FROM_QUERY.translation
        errors.append([*shift, *turn, np.log(wrong.scale / SCALED_PLACE_FROM_QUERY.scale)])
    sigmas = np.sqrt(np.diag(covariance))
    products = np.outer(sigmas, sigmas)
    np.testing.assert_allclose(np.cov(np.transpose(errors)) / products, covariance / products, atol=0.08)
