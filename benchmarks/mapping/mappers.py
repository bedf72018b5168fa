"""Incremental against global mapping by the number of images: time, images registered, error after alignment.

Run: python -m benchmarks.mapping.mappers --data ../shared/data --markdown results/map_size.md

The scenes are a loop along a wall of points, simulated, and frames of redkitchen, matched by nearest descriptors. One
thread; times are processor times of mapping alone, without matching. The default of ``reconstruction.global_from``
rests on these figures.
"""

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pycolmap
from rich.console import Console

from benchmarks.places import known_truth, true_pose
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, umeyama
from visloc_ros.core.map import LocalFeatures
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features import Vlad, make_extractor
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.mapping.cameras import MapCamera
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.matching import PairMatches
from visloc_ros.mapping.pairs import Pair, loop_pairs, merge_pairs, retrieval_pairs, sequential_pairs, view_pairs
from visloc_ros.mapping.reconstruction import reconstruct, registered_poses
from visloc_ros.mapping.sfm_database import SfmImage
from visloc_ros.sources import SourceConfig, open_source

MAPPERS = ("incremental", "global")
WINDOW, RETRIEVAL, LOOP_GAP = 4, 4, 20
CAMERA_RADIUS_M, WALL_RADIUS_M, WALL_POINTS, MOST_KEYPOINTS = 6.0, 9.0, 6000, 300
PIXEL_NOISE, MISSED_MATCHES, WRONG_MATCHES = 0.7, 0.3, 0.1
KITCHEN_FRAMES = 500
HEADER = ("scene", "mapper", "time", "registered", "median error", "largest error", "track length")


@dataclass(frozen=True)
class Scene:
    """Images, the matches between them, and the true poses by image name."""

    name: str
    views: list[SfmImage]
    matches: PairMatches
    truth: dict[str, SE3]


def main() -> None:
    """Map every scene with both mappers, and write the table."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    scenes = [simulated_loop(count) for count in arguments.simulated]
    if arguments.data:
        known: dict[str, LocalFeatures] = {}
        scenes += [kitchen(arguments.data, count, known) for count in arguments.real]
    rows = [measure(scene, mapper) for scene in scenes for mapper in MAPPERS]
    report = {**provenance(), "rows": rows}
    body = table(HEADER, (table_row(row) for row in rows))
    Console().print(body, soft_wrap=True)
    write_outputs(arguments, "Incremental and global mapping", report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real sequences")
    parser.add_argument("--simulated", type=int, nargs="*", default=[50, 100, 200, 400], help="images of the loops")
    parser.add_argument("--real", type=int, nargs="*", default=[50, 100, 250], help="images of redkitchen")
    add_outputs(parser)
    return parser.parse_args()


def simulated_loop(count: int) -> Scene:
    """A camera on a circle that looks outwards at a wall of points, seen with noise."""
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0.0, 2 * np.pi, WALL_POINTS), rng.normal(WALL_RADIUS_M, 0.7, WALL_POINTS)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-1.5, 1.5, WALL_POINTS)], axis=1)
    intrinsics = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
    camera = MapCamera(intrinsics, calibrated=True)
    poses = [outward_pose(angle) for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False)]
    seen = [look(intrinsics, pose, points, rng) for pose in poses]
    views = [SfmImage(f"{row:04d}.jpg", keypoints, camera) for row, (_, keypoints) in enumerate(seen)]
    neighbours = sequential_pairs(count, WINDOW)
    pairs = merge_pairs(neighbours, view_pairs(poses, RETRIEVAL, 60.0, neighbours))
    matches = {(i, j): noisy_matches(seen[i][0], seen[j][0], rng) for i, j in pairs}
    truth = {view.name: pose for view, pose in zip(views, poses, strict=True)}
    return Scene(f"simulated loop, {count} images", views, matches, truth)


def outward_pose(angle: float) -> SE3:
    """Pose on the circle."""
    centre = np.array([CAMERA_RADIUS_M * np.cos(angle), CAMERA_RADIUS_M * np.sin(angle), 0.2 * np.sin(3 * angle)])
    forward = np.array([np.cos(angle), np.sin(angle), 0.05 * np.cos(5 * angle)])
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return SE3(np.stack([right, np.cross(forward, right), forward], axis=1), centre)


def look(
    camera: pycolmap.Camera, pose: SE3, points: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the points that an image sees, and their noisy pixels."""
    in_camera = pose.inverse @ points
    pixels = project(camera, in_camera)
    inside = ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1) & (in_camera[:, 2] > 0.3)
    rows = rng.permutation(np.flatnonzero(inside))[:MOST_KEYPOINTS]
    return rows, (pixels[rows] + rng.normal(0.0, PIXEL_NOISE, (len(rows), 2))).astype(np.float32)


def noisy_matches(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keypoint rows (K, 2) of common points, some missed and some wrong."""
    _, i, j = np.intersect1d(first, second, return_indices=True)
    pairs = np.stack([i, j], axis=1)[rng.random(len(i)) >= MISSED_MATCHES].astype(np.int32)
    wrong = rng.permutation(len(pairs))[: int(WRONG_MATCHES * len(pairs))]
    pairs[wrong, 1] = np.roll(pairs[wrong, 1], 1)
    return pairs


def kitchen(data: Path, count: int, known: dict[str, LocalFeatures]) -> Scene:
    """Evenly spaced frames of redkitchen, paired as a build does it; features by name are kept in ``known``."""
    source = open_source(data / "7scenes_redkitchen", SourceConfig(last=KITCHEN_FRAMES - 1))
    wanted = set(range(0, KITCHEN_FRAMES, KITCHEN_FRAMES // count))
    frames = [frame for row, frame in enumerate(source) if row in wanted]
    extractor, matcher, camera = make_extractor(), NearestMatcher(ratio=0.9), MapCamera(source.camera, calibrated=True)
    known |= {frame.name: extractor.extract(frame.image) for frame in frames if frame.name not in known}
    features = [known[frame.name] for frame in frames]
    vlad = Vlad.train([one.descriptors for one in features])
    pairs = like_pairs(np.stack([vlad.describe_features(one) for one in features]))
    matches = {(i, j): matcher.match(features[i], features[j]).pairs for i, j in pairs}
    views = [SfmImage(frame.name, one.keypoints, camera) for frame, one in zip(frames, features, strict=True)]
    trajectory = known_truth(source)
    truth = {frame.name: true_pose(trajectory, frame.stamp_ns) for frame in frames}
    return Scene(f"redkitchen, {len(frames)} images", views, matches, truth)


def like_pairs(descriptors: np.ndarray) -> list[Pair]:
    """Neighbours, alike images and loops."""
    neighbours = sequential_pairs(len(descriptors), WINDOW)
    alike = retrieval_pairs(descriptors, RETRIEVAL, neighbours)
    return merge_pairs(neighbours, alike, loop_pairs(descriptors, 1, LOOP_GAP))


def measure(scene: Scene, mapper: str) -> Figures:
    """Map a scene; errors are those of positions, after alignment to the truth."""
    config = ReconstructionConfig(mapper=mapper, threads=1)
    start = time.process_time()
    reconstruction = reconstruct(scene.views, scene.matches, config)
    seconds = time.process_time() - start
    poses = registered_poses(reconstruction)
    found = np.array([pose.translation for pose in poses.values()])
    true = np.array([scene.truth[name].translation for name in poses])
    errors = np.linalg.norm(umeyama(true, found) @ found - true, axis=1)
    return {
        "scene": scene.name,
        "mapper": mapper,
        "seconds": seconds,
        "registered": len(poses),
        "images": len(scene.views),
        "median_error_m": float(np.median(errors)),
        "max_error_m": float(errors.max()),
        "track_length": float(reconstruction.compute_mean_track_length()),
    }


def table_row(row: Figures) -> list[str]:
    """One map's figures as text."""
    return [
        row["scene"],
        row["mapper"],
        f"{row['seconds']:.1f} s",
        f"{row['registered']} of {row['images']}",
        f"{100 * row['median_error_m']:.2f} cm",
        f"{100 * row['max_error_m']:.2f} cm",
        f"{row['track_length']:.1f}",
    ]


if __name__ == "__main__":
    main()
