"""Pairs of images: each once, the right ones, the same every time. Loop pairs find where a camera comes back.

For loops, the room and the path are the simulated ones. Its surfaces carry points with a descriptor each, and views are
exact projections with noise, so that everything from the global descriptors to the reconstruction runs in seconds.
"""

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix, umeyama
from visloc_ros.core.map import LocalFeatures
from visloc_ros.features.config import VladConfig
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.vlad import Vlad
from visloc_ros.mapping.config import PairConfig, ReconstructionConfig
from visloc_ros.mapping.map_sources import MapCamera
from visloc_ros.mapping.pairs import (
    loop_pairs,
    merge_pairs,
    pairs_to_known,
    retrieval_pairs,
    sequential_pairs,
    view_pairs,
)
from visloc_ros.mapping.reconstruction import reconstruct
from visloc_ros.mapping.sfm_database import SfmImage, registered_poses
from visloc_ros.simulation import SimulationConfig, simulate


def test_neighbours_within_the_window():
    assert sequential_pairs(4, 2) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert sequential_pairs(1, 3) == []


def test_merged_pairs_are_unique_and_ordered():
    assert merge_pairs([(2, 1), (0, 3)], [(1, 2), (3, 0), (1, 1)]) == [(0, 3), (1, 2)]


class TestRetrieval:
    def test_the_most_alike_images_are_paired(self):
        angles = np.array([0.0, 1.5, 0.1, 1.4])
        descriptors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        assert retrieval_pairs(descriptors, 1) == [(0, 2), (1, 3)]

    def test_known_pairs_make_room_for_others(self):
        descriptors = np.eye(5) + 0.5
        neighbours = sequential_pairs(5, 1)
        further = retrieval_pairs(descriptors, 2, exclude=neighbours)
        assert not set(further) & set(neighbours)
        assert all(i < j for i, j in further)
        assert further == retrieval_pairs(descriptors, 2, exclude=neighbours)

    def test_nothing_is_left_to_pair(self):
        assert retrieval_pairs(np.eye(2), 3, exclude=[(0, 1)]) == []
        assert retrieval_pairs(np.eye(3), 0) == []


class TestGroups:
    ANGLES = np.array([0.0, 0.1, 0.2, 0.05, 0.25])
    DESCRIPTORS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)

    def test_every_image_is_paired_within_its_group_and_across(self):
        assert retrieval_pairs(self.DESCRIPTORS, 1, groups=list("aaabb")) == merge_pairs(
            [(0, 1), (1, 2), (3, 4)], [(0, 3), (1, 3), (2, 4)]
        )

    def test_images_follow_each_other_in_a_group_but_are_alike_across(self):
        following = [(0, 1), (1, 2), (3, 4)]
        assert retrieval_pairs(self.DESCRIPTORS, 1, following, list("aaabb")) == [(0, 2), (0, 3), (1, 3), (2, 4)]

    def test_views_are_paired_across_groups_too(self):
        poses = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0, 10.0)]
        assert view_pairs(poses, 1, 60.0) == [(0, 1), (1, 2)]
        assert view_pairs(poses, 1, 60.0, groups=["a", "a", "b"]) == [(0, 1), (0, 2), (1, 2)]

    def test_new_images_are_paired_with_the_most_alike_known_ones(self):
        known, new = self.DESCRIPTORS[[0, 1, 2]], self.DESCRIPTORS[[1, 4]]
        assert pairs_to_known(new, known, 1) == [(1, 3), (2, 4)]
        assert pairs_to_known(new, known, 9) == [(j, i) for j in range(3) for i in (3, 4)]


MANY = 1500
"""Images that take several blocks of scores."""


def pairs_by_full_matrices(scores, top, exclude=(), groups=()):
    """The same pairs from all scores (M, M) at once."""
    scores = np.array(scores, dtype=float)
    np.fill_diagonal(scores, -np.inf)
    for i, j in exclude:
        scores[i, j] = scores[j, i] = -np.inf
    groups = np.array(groups or ["one"] * len(scores))
    same = groups[:, None] == groups[None]
    found = []
    for allowed in (same, ~same):
        kept = np.where(allowed, scores, -np.inf)
        order = np.argsort(-kept, axis=1, kind="stable")[:, :top]
        found.append([(i, int(j)) for i, row in enumerate(order) for j in row if np.isfinite(kept[i, j])])
    return merge_pairs(*found)


@pytest.mark.parametrize("groups", [(), [*"ab" * (MANY // 2)], ["a"] * 1000 + ["b"] * 499 + ["c"]])
class TestManyImages:
    """Blocks of scores give what all of them at once give, also where many are equal."""

    RNG = np.random.default_rng(3)
    FOLLOWING = sequential_pairs(MANY, 4)
    DESCRIPTORS = RNG.integers(-2, 3, (MANY, 6)).astype(float)
    POSES = tuple(
        SE3(rotation_matrix(turn), centre.astype(float))
        for turn, centre in zip(RNG.normal(size=(MANY, 3)), RNG.integers(0, 9, (MANY, 3)), strict=True)
    )

    def test_alike_images(self, groups):
        scores = self.DESCRIPTORS @ self.DESCRIPTORS.T
        found = retrieval_pairs(self.DESCRIPTORS, 5, self.FOLLOWING, groups)
        assert found == pairs_by_full_matrices(scores, 5, self.FOLLOWING, groups)

    def test_other_visits(self, groups):
        rows, names = np.arange(MANY), np.array(groups or ["one"] * MANY)
        is_other = (np.abs(rows[:, None] - rows) >= 20) & (names[:, None] == names)
        scores = np.where(is_other, self.DESCRIPTORS @ self.DESCRIPTORS.T, -np.inf)
        assert loop_pairs(self.DESCRIPTORS, 2, 20, groups) == pairs_by_full_matrices(scores, 2)

    def test_the_same_views(self, groups):
        centres = np.array([pose.translation for pose in self.POSES])
        directions = np.array([pose.rotation[:, 2] for pose in self.POSES])
        distances = np.linalg.norm(centres[:, None] - centres, axis=2)
        angles = np.degrees(np.arccos(np.clip(directions @ directions.T, -1.0, 1.0)))
        scores = np.where(angles <= 60.0, -distances, -np.inf)
        found = view_pairs(self.POSES, 5, 60.0, self.FOLLOWING, groups)
        assert found == pairs_by_full_matrices(scores, 5, self.FOLLOWING, groups)


def test_images_of_a_map_and_new_ones_are_paired_by_blocks_as_well():
    known, new = np.split(np.random.default_rng(4).integers(-2, 3, (4000, 6)).astype(float), [2500])
    order = np.argsort(-(new @ known.T), axis=1, kind="stable")[:, :8]
    assert pairs_to_known(new, known, 8) == merge_pairs((j, 2500 + i) for i, row in enumerate(order) for j in row)


@pytest.mark.parametrize("kind", ["alike images", "other visits", "the same views"])
def test_memory_grows_with_the_pairs_and_not_with_the_square_of_the_images(kind):
    rng = np.random.default_rng(5)
    descriptors = rng.normal(size=(4000, 8)).astype(np.float32)
    poses = [SE3(np.eye(3), centre) for centre in rng.normal(size=(4000, 3))]
    calls = {
        "alike images": lambda: retrieval_pairs(descriptors, 4),
        "other visits": lambda: loop_pairs(descriptors, 1, 20),
        "the same views": lambda: view_pairs(poses, 4, 60.0),
    }
    tracemalloc.start()
    try:
        calls[kind]()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64e6, "a single matrix of all scores takes 64 to 128 MB"


class TestViews:
    def poses(self):
        """Three cameras side by side that look ahead, and one between them that looks back."""
        ahead = [SE3(np.eye(3), np.array([x, 0.0, 0.0])) for x in (0.0, 1.0, 3.0)]
        return [*ahead, SE3(rotation_matrix([0.0, np.pi, 0.0]), np.array([0.5, 0.0, 0.0]))]

    def test_near_cameras_that_look_the_same_way_are_paired(self):
        assert view_pairs(self.poses(), 1, 60.0) == [(0, 1), (1, 2)]

    def test_cameras_that_look_elsewhere_are_not(self):
        assert not [pair for pair in view_pairs(self.poses(), 3, 60.0) if 3 in pair]
        assert (0, 3) in view_pairs(self.poses(), 3, 180.0)

    @pytest.mark.parametrize("degrees", [20.0, 40.0])
    def test_the_angle_is_that_between_the_viewing_directions(self, degrees):
        poses = [SE3.identity(), SE3(rotation_matrix([0.0, np.radians(degrees), 0.0]), np.array([1.0, 0.0, 0.0]))]
        assert bool(view_pairs(poses, 1, 30.0)) == (degrees < 30.0)


ROUND_S = 16.0  # the mapping pass takes this long around the room
NUM_VIEWS = 48
NUM_POINTS = 3000
MOST_KEYPOINTS = 150
WINDOW = 3


@dataclass(frozen=True)
class Visit:
    """Where an image was taken, its features, and the surface points (N,) that they are."""

    map_from_camera: SE3
    features: LocalFeatures
    point_rows: np.ndarray


@pytest.fixture(scope="module")
def visits():
    """One round through the simulated room."""
    rng = np.random.default_rng(10)
    simulation = simulate(SimulationConfig(rate_hz=NUM_VIEWS / ROUND_S, duration_s=ROUND_S))
    points, normals = surface_points(simulation.room, rng)
    descriptors = unit_rows(rng.normal(size=(NUM_POINTS, 32)))
    return [look(simulation, index, points, normals, descriptors, rng) for index in range(NUM_VIEWS)]


def surface_points(room, rng):
    areas = np.array([np.prod(quad.size) for quad in room.quads])
    quads = [room.quads[row] for row in rng.choice(len(areas), NUM_POINTS, p=areas / areas.sum())]
    points = np.concatenate([quad.point(rng.random(1), rng.random(1)) for quad in quads])
    return points, np.array([quad.normal for quad in quads])


def look(simulation, index, points, normals, descriptors, rng):
    pose = simulation.pose(index)
    pixels = project(simulation.camera, pose.inverse @ points)
    inside = ((pixels > 0) & (pixels < [640, 480])).all(axis=1)
    rows = np.flatnonzero(inside & (np.sum((pose.translation - points) * normals, axis=1) > 0))
    hits = simulation.room.cast(pose.translation, points[rows] - pose.translation)
    rows = rows[np.abs(hits.distances - 1.0) < 1e-3]
    rows = rows[rng.random(len(rows)) < 0.7][:MOST_KEYPOINTS]
    noisy = unit_rows(descriptors[rows] + rng.normal(0.0, 0.05, (len(rows), 32)))
    keypoints = (pixels[rows] + rng.normal(0.0, 0.7, (len(rows), 2))).astype(np.float32)
    return Visit(pose, LocalFeatures(keypoints, np.ones(len(rows), np.float32), noisy, (640, 480)), rows)


def unit_rows(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def descriptors(visits):
    vlad = Vlad.train([visit.features.descriptors for visit in visits], VladConfig(clusters=16))
    return np.stack([vlad.describe_features(visit.features) for visit in visits])


@pytest.fixture(scope="module")
def loops(descriptors):
    return loop_pairs(descriptors, 1, PairConfig().loop_gap)


def position_errors(visits, pairs):
    """Errors in metres of a map made of these pairs, after alignment to the true positions."""
    matcher, camera = NearestMatcher(0.8), MapCamera(SimulationConfig().make_camera(), calibrated=True)
    views = [SfmImage(f"{row:03d}.jpg", visit.features.keypoints, camera) for row, visit in enumerate(visits)]
    matches = {(i, j): matcher.match(visits[i].features, visits[j].features).pairs for i, j in pairs}
    poses = registered_poses(reconstruct(views, matches, ReconstructionConfig(threads=1)))
    assert len(poses) == len(visits)
    found = np.array([poses[view.name].translation for view in views])
    true = np.array([visit.map_from_camera.translation for visit in visits])
    return np.linalg.norm(umeyama(true, found) @ found - true, axis=1)


def test_the_end_of_the_round_is_paired_with_its_beginning(visits, loops):
    assert min(j - i for i, j in loops) >= PairConfig().loop_gap
    shared = {pair: len(np.intersect1d(*(visits[row].point_rows for row in pair))) for pair in loops}
    closing = [(i, j) for i, j in loops if i < 8 and j >= NUM_VIEWS - 8]
    assert len(closing) >= 8
    assert np.median([shared[pair] for pair in closing]) > 40


def test_drift_drops_where_the_loop_is_closed(visits, loops):
    neighbours = sequential_pairs(NUM_VIEWS, WINDOW)
    open_errors = position_errors(visits, neighbours)
    closed_errors = position_errors(visits, merge_pairs(neighbours, loops))
    assert np.sqrt(np.mean(closed_errors**2)) < 0.7 * np.sqrt(np.mean(open_errors**2))
    assert closed_errors.max() < 0.02


def test_the_most_alike_images_of_a_slow_film_are_its_neighbours():
    angles = np.radians(np.arange(0.0, 720.0, 4.0))  # two rounds, 90 images each
    descriptors = np.stack([np.cos(angles), np.sin(angles), 0.8 * (angles > 6.27), np.ones_like(angles)], axis=1)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    neighbours = sequential_pairs(len(angles), WINDOW)
    gaps = [j - i for i, j in retrieval_pairs(descriptors, 4, neighbours)]
    assert np.mean(np.array(gaps) < 20) > 0.9
    loop_gaps = np.array([j - i for i, j in loop_pairs(descriptors, 1, 20)])
    assert np.median(loop_gaps) == 90
    assert np.abs(loop_gaps - 90).max() <= 12


def test_loops_stay_within_a_film():
    descriptors = np.ones((60, 4)) / 2.0
    groups = ["a"] * 30 + ["b"] * 30
    pairs = loop_pairs(descriptors, 3, 20, groups)
    assert pairs
    assert all((i < 30) == (j < 30) for i, j in pairs)
    assert loop_pairs(descriptors, 0, 20) == []
    assert loop_pairs(descriptors[:20], 2, 20) == []
