"""Images and matches for structure from motion, with the truth: simulated loops and rooms, films and photos."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from benchmarks.mapping.office_building import IMAGES_A_ROOM, OfficeBuilding
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import LocalFeatures
from visloc_ros.features import Vlad, make_extractor, make_matcher
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import LocalExtractor, Matcher
from visloc_ros.mapping.config import PairConfig
from visloc_ros.mapping.geo import local_positions
from visloc_ros.mapping.map_sources import CameraGroups, MapCamera
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import Pair, loop_pairs, merge_pairs, retrieval_pairs, sequential_pairs, view_pairs
from visloc_ros.mapping.sfm_database import SfmImage
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.measurements import measurements_of

PAIRS = PairConfig()
CAMERA_RADIUS_M, WALL_RADIUS_M, WALL_POINTS, MOST_KEYPOINTS = 6.0, 9.0, 6000, 300
PIXEL_NOISE, MISSED_MATCHES, WRONG_MATCHES = 0.7, 0.3, 0.1
ROOM = SimulationConfig(width=320, height=240, focal_px=240.0, samples=1, rate_hz=3.0)


@dataclass(frozen=True)
class Scene:
    """Images, the matches between them, and true positions (3,) by image name."""

    name: str
    views: Sequence[SfmImage]
    matches: PairMatches
    truth: dict[str, Array]


def simulated_loop(count: int) -> Scene:
    """A camera on a circle that looks outwards at a wall of points, seen with noise."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0.0, 2 * np.pi, WALL_POINTS), rng.normal(WALL_RADIUS_M, 0.7, WALL_POINTS)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-1.5, 1.5, WALL_POINTS)], axis=1)
    intrinsics = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
    camera = MapCamera(intrinsics, calibrated=True)
    poses = [_outward_pose(angle) for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False)]
    seen = [_look(intrinsics, pose, points, rng) for pose in poses]
    views = [SfmImage(f"{row:04d}.jpg", keypoints, camera) for row, (_, keypoints) in enumerate(seen)]
    neighbours = sequential_pairs(count, PAIRS.window)
    pairs = merge_pairs(neighbours, view_pairs(poses, PAIRS.retrieval, PAIRS.max_view_angle_deg, neighbours))
    matches = {(i, j): _noisy_matches(seen[i][0], seen[j][0], rng) for i, j in pairs}
    truth = {view.name: pose.translation for view, pose in zip(views, poses, strict=True)}
    return Scene(f"simulated loop, {count} images", views, matches, truth)


def film(name: str, folder: Path, config: SourceConfig) -> Scene:
    """The frames of a recording with true poses, matched by nearest descriptors."""
    return _of_source(name, open_source(folder, config), NearestMatcher(ratio=0.9), alike)


def rounds_of_a_room(seed: int) -> Scene:
    """One round of a painted room, matched with neighbours only: nothing but the last images holds it together."""
    source = simulate(ROOM, room=make_living_room(seed))
    return _of_source(f"round of room {seed}, neighbours only", source, NearestMatcher(ratio=0.9), neighbours)


def office(count: int) -> Scene:
    """The first images of a walk through an office building, by SIFT and nearest descriptors."""
    building = OfficeBuilding(-(-count // IMAGES_A_ROOM))
    with tempfile.TemporaryDirectory(prefix="visloc-office-") as folder:
        building.write(Path(folder), 0, count)
        source = open_source(Path(folder), SourceConfig())
        sift = make_extractor(FeatureConfig(name="sift"))
        return _of_source(f"office building, {count} images", source, NearestMatcher(ratio=0.85), alike, sift)


def photos(name: str, folder: Path) -> Scene:
    """Photos of which each has a camera of its own, all matched with all by the default matcher; GPS positions."""
    source = open_source(folder, SourceConfig())
    scene = _of_source(name, source, make_matcher(), every_pair)
    tags = measurements_of(source).geo_positions
    tagged = {frame.name: tags[frame.stamp_ns] for frame in source if frame.stamp_ns in tags}
    if not tagged:
        return scene
    places = local_positions(list(tagged.values()), next(iter(tagged.values())))
    return replace(scene, truth=dict(zip(tagged, places, strict=True)))


def alike(descriptors: Array) -> list[Pair]:
    """Neighbours, alike images and loops, as a build pairs them."""
    following = sequential_pairs(len(descriptors), PAIRS.window)
    found = retrieval_pairs(descriptors, PAIRS.retrieval, following)
    return merge_pairs(following, found, loop_pairs(descriptors, PAIRS.loops, PAIRS.loop_gap))


def neighbours(descriptors: Array) -> list[Pair]:
    """Neighbours alone."""
    return sequential_pairs(len(descriptors), PAIRS.window)


def every_pair(descriptors: Array) -> list[Pair]:
    """All pairs."""
    return sequential_pairs(len(descriptors), len(descriptors))


def _of_source(
    name: str,
    source: FrameSource,
    matcher: Matcher,
    choose: Callable[[Array], list[Pair]],
    extractor: LocalExtractor | None = None,
) -> Scene:
    """The frames of a source, with their true positions where it has them."""
    extractor, cameras = extractor or make_extractor(), CameraGroups(source.calibrated)
    views: list[SfmImage] = []
    features: list[LocalFeatures] = []
    truth: dict[str, Array] = {}
    for frame in source:
        features.append(extractor.extract(frame.image).with_rays(frame.camera))
        views.append(SfmImage(frame.name, features[-1].keypoints, cameras.find(frame.camera)))
        pose = source.ground_truth.interpolate(frame.stamp_ns) if source.ground_truth is not None else None
        truth |= {} if pose is None else {frame.name: pose.translation}
    vlad = Vlad.train([one.descriptors for one in features])
    pairs = choose(np.stack([vlad.describe_features(one) for one in features]))
    matches = {(i, j): matcher.match(features[i], features[j]).pairs for i, j in pairs}
    return Scene(name, views, matches, truth)


def _outward_pose(angle: float) -> SE3:
    """Pose on the circle."""
    centre = np.array([CAMERA_RADIUS_M * np.cos(angle), CAMERA_RADIUS_M * np.sin(angle), 0.2 * np.sin(3 * angle)])
    forward = np.array([np.cos(angle), np.sin(angle), 0.05 * np.cos(5 * angle)])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return SE3(np.stack([right, np.cross(forward, right), forward], axis=1), centre)


def _look(
    camera: pycolmap.Camera, pose: SE3, points: Array, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Rows of the points that an image sees, and their noisy pixels."""
    in_camera = pose.inverse @ points
    pixels = project(camera, in_camera)
    inside = ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1) & (in_camera[:, 2] > 0.3)
    rows = rng.permutation(np.flatnonzero(inside))[:MOST_KEYPOINTS]
    return rows, (pixels[rows] + rng.normal(0.0, PIXEL_NOISE, (len(rows), 2))).astype(np.float32)


def _noisy_matches(first: NDArray[np.intp], second: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.int32]:
    """Keypoint rows (K, 2) of common points, some missed and some wrong."""
    _, i, j = np.intersect1d(first, second, return_indices=True)
    pairs = np.stack([i, j], axis=1)[rng.random(len(i)) >= MISSED_MATCHES].astype(np.int32)
    wrong = rng.permutation(len(pairs))[: int(WRONG_MATCHES * len(pairs))]
    pairs[wrong, 1] = np.roll(pairs[wrong, 1], 1)
    return np.asarray(pairs, np.int32)
