"""Two maps of one place as an atlas: how exact the transform between them is, and poses along a way through both.

Run: OMP_NUM_THREADS=1 python -m benchmarks.mapping.atlas --data ../shared/data --markdown results/map_size.md

The places are red kitchen and a rendered building: two rooms, the corridor between them in both maps. These are built
at true poses, those of the second one moved to another frame, and show no image twice; other images are searched.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.mapping.office_building import IMAGES_A_ROOM, OfficeBuilding
from benchmarks.program import add_folders, add_outputs, new_parser, run_visloc
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.atlas import open_map_or_atlas
from visloc_ros.core.atlas_file import PlacedMap, read_atlas_file
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.map import Map
from visloc_ros.core.similarity_estimate import SimilarityEstimate
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS, write_tum
from visloc_ros.core.types import AnchorPose
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.sources import SourceConfig, open_source

SECTION = "An atlas of two maps"
HEADER = (
    "place", "images", "transform off by", "stated, one sigma", "squared distance (7)", "found", "by each map",
    "by both", "error cm, median", "largest", "NEES (6)",
)  # fmt: skip
FIRST_FROM_SECOND = SE3(rotation_matrix([0.1, -0.2, 2.0]), np.array([12.0, -7.0, 0.5]))


@dataclass(frozen=True)
class Walk:
    """A folder of images with truth, which of them are in either map, and which are searched."""

    name: str
    folder: Path
    maps: tuple[SourceConfig, SourceConfig]
    queries: SourceConfig


def main() -> None:
    """Build what is missing, measure, and write the table."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/atlas")
    add_outputs(parser)
    arguments = parser.parse_args()
    places = {walk.name: measure(walk, arguments.work) for walk in walks(arguments)}
    report = {**provenance(), "places": places}
    rows = [row(name, one) for name, one in places.items()]
    write_outputs(arguments, SECTION, report, table(HEADER, rows))


def walks(arguments: argparse.Namespace) -> list[Walk]:
    """The places; the building is rendered where it is missing."""
    building, rooms = arguments.work / "building", OfficeBuilding(2, seed=3)
    last, near = rooms.rooms * IMAGES_A_ROOM, IMAGES_A_ROOM // 10
    rooms.write(building, 0, last)
    halves = SourceConfig(last=last // 2 + near, every=4), SourceConfig(first=last // 2 - near + 1, every=4)
    kitchen = SourceConfig(last=279, every=10), SourceConfig(first=225, last=499, every=10)
    return [
        Walk("red kitchen", arguments.data / "7scenes_redkitchen", kitchen, SourceConfig(first=500, every=10)),
        Walk("building", building, halves, SourceConfig(first=2, every=8)),
    ]


def measure(walk: Walk, work: Path) -> Figures:
    """The transform and the poses of a place, compared to truth."""
    source = open_source(walk.folder, walk.queries)
    truth = source.ground_truth
    assert truth is not None
    atlas = make(walk, work / walk.name.replace(" ", "_"))
    engine = AnchorEngine(open_map_or_atlas(atlas))
    found, errors, squared, frames = [], [], [], list(source)
    for frame in frames:
        pose, true_pose = engine.localize(frame), truth.nearest(frame.stamp_ns, NANOSECONDS // 1000)
        assert true_pose is not None
        if isinstance(pose, AnchorPose):
            error = pose_difference(pose.map_from_camera, true_pose)
            errors.append(100 * float(np.linalg.norm(error[:3])))
            squared.append(float(error @ np.linalg.solve(pose.covariance, error)))
            found.append(pose)
    both = sum(len({name.split("/")[0] for name in pose.references}) > 1 for pose in found)
    return {
        **of_transform(read_atlas_file(atlas / "atlas.yaml")[1], engine.map),
        "images": len(engine.map.images),
        "queries": len(frames),
        "errors_cm": errors,
        "nees": float(np.mean(squared)),
        "by_map": dict(Counter(pose.atlas_map for pose in found)),
        "by_both": both,
    }


def make(walk: Walk, folder: Path) -> Path:
    """The atlas of both maps, made where it is missing."""
    if (folder / "both").exists():
        return folder / "both"
    folder.mkdir(parents=True, exist_ok=True)
    truth = open_source(walk.folder, SourceConfig()).ground_truth
    assert truth is not None
    for name, frames, moved in zip(
        ("first", "second"), walk.maps, (SE3.identity(), FIRST_FROM_SECOND.inverse), strict=True
    ):
        poses = folder / f"{name}.tum"
        write_tum(poses, truth.stamps_ns, [moved @ pose for pose in truth.poses])
        options = [f"--{key}={getattr(frames, key)}" for key in ("first", "last", "every")]
        run_visloc("build-map", walk.folder, "-o", folder / name, f"--reference-poses={poses}", "--overwrite", *options)
    run_visloc("maps", "atlas", folder / "first", folder / "second", "-o", folder / "both")
    return folder / "both"


def of_transform(placed: PlacedMap, map_: Map) -> Figures:
    """The error of a transform, at the middle of the map's images, beside what it states."""
    estimate, true_transform = placed.estimate, Sim3.from_se3(FIRST_FROM_SECOND)
    own = [image.map_from_camera for image in map_.images if image.name.startswith(f"{placed.name}/")]
    middle = np.mean([pose.translation for pose in own], axis=0)
    there = estimate.a_from_b.inverse @ middle
    stated = np.sqrt(np.diag(estimate.of_pose(SE3(np.eye(3), middle))))
    return {
        "off_cm": 100 * float(np.linalg.norm(middle - true_transform @ there)),
        "off_deg": rotation_angle_deg(estimate.a_from_b.rotation, true_transform.rotation),
        "stated_cm": 100 * float(np.linalg.norm(stated[:3])),
        "stated_deg": float(np.degrees(np.linalg.norm(stated[3:]))),
        "squared_distance": estimate.squared_distance(SimilarityEstimate.exact(true_transform)),
    }


def row(name: str, one: Figures) -> list[str]:
    """The cells of a place."""
    return [
        name,
        str(one["images"]),
        f"{one['off_cm']:.1f} cm, {one['off_deg']:.2f} deg",
        f"{one['stated_cm']:.1f} cm, {one['stated_deg']:.2f} deg",
        f"{one['squared_distance']:.1f}",
        f"{len(one['errors_cm'])} of {one['queries']}",
        " / ".join(str(one["by_map"].get(key, 0)) for key in ("first", "second")),
        str(one["by_both"]),
        f"{np.median(one['errors_cm']):.1f}",
        f"{max(one['errors_cm']):.1f}",
        f"{one['nees']:.1f}",
    ]


if __name__ == "__main__":
    main()
