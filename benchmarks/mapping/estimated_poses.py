"""Whether the covariances of anchors are honest in maps at given poses and in those of estimated poses.

Run: python -m benchmarks.mapping.estimated_poses --data ../shared/data --markdown results/map_size.md

The first kind are maps of real and simulated places at true poses. For the second, the points and the poses of the same
maps are adjusted until nothing of the true poses is left but the scale and the axes, by an alignment of all images.
Images that the maps do not hold are localized in both, and compared with the truth: also, with estimated poses, after
an alignment of the surroundings of the nearest image alone, the images that share most points with it. Consistent
covariances have a NEES of 1 by degree of freedom in the mean, and nine tenths of the errors in their regions of 90 %.
From anchors of two films, map points are also tracked; these poses are compared in the whole map.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pycolmap
from numpy.typing import NDArray

from benchmarks.map_tracking import anchored, run, values
from benchmarks.places import FeatureCache, Place, real_places, simulated_room, true_pose, unseen_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from visloc_ros.core.bundle_adjustment import whole_problem
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.map_adjustment import surroundings
from visloc_ros.localization.map_uncertainty import MapUncertainty, measure_map_uncertainty
from visloc_ros.localization.view_change import Viewpoints
from visloc_ros.mapping.extension import reconstruction_of
from visloc_ros.mapping.scale import align_to_references, transform
from visloc_ros.mapping.sfm_database import registered_poses

TITLE = "Anchors in maps of estimated poses"
TOLERANCES_PX = (12.0, 6.0, 4.0)  # of an observation, one adjustment after the other
LEAST_ANGLE_DEG = 1.5
HEADER = (
    "place",
    "poses",
    "compared in",
    "anchors",
    "error",
    "NEES",
    "in 90 % region",
    "NEES without",
    "in it without",
)

TRACKED_HEADER = ("place", "poses", "frames with a pose", "error", "NEES", "in 90 % region")


@dataclass(frozen=True)
class Judged:
    """An anchor's error (6,) against the truth, its covariance (6, 6), and that without the map's adjustment."""

    error: Array
    covariance: Array
    without: Array


def main() -> None:
    """Measure all places, and write the tables."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps, rooms and features")
    add_outputs(parser)
    arguments = parser.parse_args()
    data, work = arguments.data, arguments.work
    places = [*real_places(data), simulated_room(work), *unseen_places(data, work)]
    tracked = [row for place in real_places(data) for row in tracked_rows(place, work)]
    rows = [row for place in places for row in rows_of(place, work)]
    report = {**provenance(), "rows": rows, "tracked": tracked}
    write_outputs(arguments, TITLE, report, f"{table(HEADER, rows)}\n\n{table(TRACKED_HEADER, tracked)}")


def rows_of(place: Place, work: Path) -> Iterator[list[str]]:
    """The lines of a place, printed as they come."""
    given = place.open_map(work / "maps")
    estimated = with_estimated_poses(given)
    truth = {image.name: image.map_from_camera for image in given.images}
    for words, map_, frames in (("given", given, ["map"]), ("estimated", estimated, ["map", "surroundings"])):
        anchors = list(found(place, map_, work / "features"))
        for frame in frames:
            judged = [judge(map_, anchor, true, truth if frame == "surroundings" else {}) for anchor, true in anchors]
            yield (row := [place.name, words, frame, *cells(judged)])
            print(" | ".join(row), flush=True)


def tracked_rows(place: Place, work: Path) -> Iterator[list[str]]:
    """The lines of a place on tracked poses, printed as they come."""
    given = place.open_map(work / "maps")
    estimated = with_estimated_poses(given)
    assert estimated.manifest.uncertainty is not None
    left_out = replace(estimated.manifest.uncertainty, adjustment_covariance=[])
    without = replace(estimated, manifest=replace(estimated.manifest, uncertainty=left_out))
    for words, map_ in (("given", given), ("estimated", estimated), ("estimated, without", without)):
        starts = run(anchored(place, map_, work / "tracking"), predict=False)
        frames = [frame for start in starts for frame in start[1:]]
        squared = values(frames, "nees")
        yield (
            row := [
                place.name,
                words,
                f"{100.0 * len(squared) / len(frames):.0f} %",
                f"{100.0 * np.median(values(frames, 'position_m')):.2f} cm",
                f"{np.mean(squared) / 6.0:.2f}",
                f"{100.0 * np.mean(squared <= chi_square_quantile(0.9, 6)):.0f} %",
            ]
        )
        print(" | ".join(row), flush=True)


def with_estimated_poses(map_: Map) -> Map:
    """The map after adjustments that forget where its poses came from."""
    scene = reconstruction_of(map_)
    truth = registered_poses(scene)
    for tolerance_px in TOLERANCES_PX:
        pycolmap.ObservationManager(scene).filter_all_points3D(tolerance_px, LEAST_ANGLE_DEG)
        adjust(scene)
    transform(scene, align_to_references(registered_poses(scene), truth))
    manifest = replace(map_.manifest, scale_source="none", uncertainty=None)
    estimated = replace(_read_back(map_, scene), manifest=manifest)
    return replace(estimated, manifest=replace(manifest, uncertainty=measure_map_uncertainty(estimated)))


def adjust(scene: pycolmap.Reconstruction) -> None:
    """Adjust all poses and points of a scene, in place."""
    options = pycolmap.BundleAdjustmentOptions(print_summary=False)
    pycolmap.create_default_bundle_adjuster(options, whole_problem(scene, scene.cameras), scene).solve()


def _read_back(map_: Map, scene: pycolmap.Reconstruction) -> Map:
    row_of = {point_id: row for row, point_id in enumerate(sorted(scene.points3D))}
    points = np.array([scene.points3D[point_id].xyz for point_id in row_of])
    poses, by_name = registered_poses(scene), {image.name: image for image in scene.images.values()}
    images = []
    for image in map_.images:
        rows: NDArray[np.int32] = np.full(len(image.point_rows), NO_POINT, np.int32)
        for keypoint in by_name[image.name].get_observation_point2D_idxs():
            rows[keypoint] = row_of[by_name[image.name].points2D[keypoint].point3D_id]
        images.append(replace(image, map_from_camera=poses[image.name], point_rows=rows))
    return replace(map_, images=tuple(images), points=points)


def found(place: Place, map_: Map, features: Path) -> Iterator[tuple[AnchorPose, SE3]]:
    """The anchors of a place's queries, with the true poses."""
    engine, truth = AnchorEngine(map_), place.truth()
    cached = FeatureCache(features, engine)
    for frame in place.frames():
        key = f"{place.name}/{frame.stamp_ns}"
        result = engine.localize(frame, features=cached(key, frame))
        if isinstance(result, AnchorPose):
            yield result, true_pose(truth, frame.stamp_ns)


def judge(map_: Map, anchor: AnchorPose, true: SE3, truth: dict[str, SE3]) -> Judged:
    """An anchor after an alignment of the images around it with their true poses, where these are given."""
    assert map_.manifest.uncertainty is not None
    pose = anchor.map_from_camera
    if truth:
        nearest = int(np.argmin(Viewpoints.of_map(map_).changes(pose)))
        poses = {image.name: image.map_from_camera for image in surroundings(map_, nearest)}
        pose = align_to_references(poses, truth).apply_to_pose(pose)
    of_adjustment = MapUncertainty(map_.manifest.uncertainty, map_).of_adjustment(pose.rotation)
    return Judged(pose_difference(pose, true), anchor.covariance, anchor.covariance - of_adjustment)


def cells(anchors: list[Judged]) -> list[str]:
    """Count, median error, and how consistent the covariances are with the map's adjustment and without."""
    errors = np.array([one.error for one in anchors])
    centimetres, degrees = 100.0 * _median_norm(errors[:, :3]), np.rad2deg(_median_norm(errors[:, 3:]))
    row = [str(len(anchors)), f"{centimetres:.2f} cm, {degrees:.2f}°"]
    for covariances in ([one.covariance for one in anchors], [one.without for one in anchors]):
        squared = np.einsum("ni,ni->n", errors, np.linalg.solve(np.array(covariances), errors[:, :, None])[:, :, 0])
        within = np.mean(squared <= chi_square_quantile(0.9, 6))
        row += [f"{np.mean(squared) / 6.0:.2f}", f"{100.0 * within:.0f} %"]
    return row


def _median_norm(vectors: Array) -> float:
    return float(np.median(np.linalg.norm(vectors, axis=1)))


if __name__ == "__main__":
    main()
