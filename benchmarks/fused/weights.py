"""Several places in one map: are keypoints matched in the right one, and what does that cost the poses?

Run: OMP_NUM_THREADS=1 python -m benchmarks.fused.weights --data ../shared/data --markdown results/fused.md

The first two of three such maps share no place; settings were chosen with places of all three in view. A picture shows
the last over the weights. Last, a facade stands twice, its local descriptors the same but for noise.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fused.prepared import fused_places, merged_map, place_of, place_offset
from benchmarks.fused.twin_facades import Facades
from benchmarks.fused.weights_picture import draw_weights
from benchmarks.landmarks.prepared import add_folders
from benchmarks.landmarks.queries import KnownImage, known_images
from benchmarks.places import FeatureCache
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import Array, rotation_angle_deg
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.plot_style import to_png
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import solve_pose
from visloc_ros.localization.strategies.fused import DescribedMap, FusedConfig
from visloc_ros.localization.strategies.fused.codebook import Codebook
from visloc_ros.localization.strategies.fused.fusion import FusedQuery
from visloc_ros.localization.strategies.fused.matches import as_correspondences
from visloc_ros.localization.strategies.fused.point_index import ExactIndex
from visloc_ros.localization.strategies.retrieval.global_index import global_index

SECTION = "Several places in one map"
MERGED = (
    ("euroc", "room", "drive"),
    ("redkitchen", "gallery", "painted"),
    ("redkitchen", "gallery", "drive", "room", "painted"),
)
WEIGHTS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 1.0, 2.0, 4.0)
DEFAULT, PAPER = "default", "smooth: 0, convert: false"
OPTIONS: Mapping[str, Mapping[str, Any]] = {DEFAULT: {}, PAPER: {"smooth": 0, "convert": False}}
PICTURE = "fused_weights.png"
DOTS_PER_INCH = 110
NEAR_PX = 8.0
RIGHT_M, RIGHT_DEG = 0.25, 2.0
HEADER = (
    "options", "rho", "matched in the right place", "with a point that projects there", "inliers", "poses right",
    "median cm", "deg",
)  # fmt: skip
WORDS = (
    "Of all keypoints, also those that show no point of the map, the nearest point of all places. A point projects "
    f"there within {NEAR_PX:g} px at the true pose; a pose is right within {RIGHT_M * 100:g} cm and {RIGHT_DEG:g}°. No "
    "guided search, no LightGlue. Means over the places, each of which counts the same; weights above 2 are refused in "
    "use. `smooth: 0, convert: false` is the paper's light variant."
)


def main() -> None:
    """Search the merged maps with all weights, write the tables and the picture."""
    arguments = parse_arguments()
    merged = [measure_merged(names, arguments) for names in MERGED]
    report = {**provenance(), "merged": merged, "twins": Facades().figures(OPTIONS[DEFAULT], (0.0, FusedConfig().rho))}
    body = as_markdown(report)
    print(body)
    write_outputs(arguments, SECTION, report, body)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / PICTURE).write_bytes(to_png(draw_weights(merged[-1]["rows"]), DOTS_PER_INCH))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser)
    parser.add_argument("--every", type=int, default=1, help="search for every n-th image of each place only")
    parser.add_argument("--output", type=Path, help="folder for the picture")
    add_outputs(parser)
    return parser.parse_args()


def measure_merged(names: Sequence[str], arguments: argparse.Namespace) -> Figures:
    """Figures of one merged map: a row for each weight and choice of options."""
    places = fused_places(arguments.data, arguments.work, names)
    maps = [place.open_map(arguments.work / "maps") for place in places]
    cache = FeatureCache(arguments.work / "features", AnchorEngine(maps[0], AnchorConfig()))
    images = [known_images(place, cache, arguments.every) for place in places]
    merged = merged_map(maps)
    describer, descriptors = global_index(merged)
    described = DescribedMap.of(merged, describer, descriptors)
    rows = [
        {"options": name, **one}
        for name, options in OPTIONS.items()
        for one in measure(described, describer, images, options)
    ]
    return {"places": list(names), "images": [len(of_place) for of_place in images], "rows": rows}


def measure(
    described: DescribedMap,
    describer: GlobalDescriptor,
    images: Sequence[Sequence[KnownImage]],
    options: Mapping[str, Any],
) -> list[Figures]:
    """Figures of every weight; ``images`` are those of each place."""
    parts = described.image_parts(FusedConfig.from_mapping(options))
    sums = described.sums(parts.reduced)
    kept = np.flatnonzero(sums.counts)
    points = described.map.points[kept]
    own = [[parts.of_query(describer.describe(one.frame.image, one.features)).reduced for one in of] for of in images]
    figures = []
    for rho in WEIGHTS:
        lam = 1.0 / (1.0 + rho)
        index = ExactIndex(Codebook.store(sums.means(lam, kept), "float16"))
        of_places = [
            place_figures([
                image_figures(image, FusedQuery(np.asarray(image.features.descriptors, np.float32), part, lam), index,
                              points, place)
                for image, part in zip(of_place, own[place], strict=True)
            ])
            for place, of_place in enumerate(images)
        ]  # fmt: skip
        figures.append({"rho": rho, **dict(zip(HEADER[2:], np.mean(of_places, axis=0).tolist(), strict=True))})
    return figures


def place_figures(rows: Sequence[Sequence[float]]) -> list[float]:
    """Figures of a place in the order of the header: percent, centimetres and degrees."""
    values = np.array(rows)
    right = (values[:, 3] <= RIGHT_M) & (values[:, 4] <= RIGHT_DEG)
    errors = np.median(values[:, 3:], axis=0) * [100.0, 1.0]
    return [*(100.0 * values[:, :3].mean(axis=0)), 100.0 * float(right.mean()), *errors]


def image_figures(image: KnownImage, query: FusedQuery, index: ExactIndex, points: Array, place: int) -> list[float]:
    """Shares of keypoints: in the right place, with the right point, inliers; errors of the pose [m], [deg]."""
    neighbours = index.search(query, 1)
    nearest = points[neighbours.rows[:, 0]]
    offset = np.array([place_offset(place), 0.0, 0.0])
    here = place_of(nearest) == place
    pixels = project(image.frame.camera, image.truth.inverse @ (nearest - offset))
    near = here & (np.linalg.norm(pixels - image.features.keypoints, axis=1) < NEAR_PX)
    found = as_correspondences(query, neighbours)
    solution = solve_pose(
        found.pixels(image.features), points[found.point_rows], image.frame.camera, PoseConfig(), None
    )
    if solution is None:
        return [here.mean(), near.mean(), 0.0, np.inf, np.inf]
    pose = solution.map_from_camera
    metres = float(np.linalg.norm(pose.translation - offset - image.truth.translation))
    degrees = rotation_angle_deg(pose.rotation, image.truth.rotation)
    return [here.mean(), near.mean(), solution.num_inliers / len(query), metres, degrees]


def as_markdown(report: Figures) -> str:
    """The tables."""
    parts = [WORDS, *(merged_part(one) for one in report["merged"])]
    shares = ", ".join(f"{one['right_percent']:.1f} % with rho {one['rho']:g}" for one in report["twins"])
    return "\n\n".join(
        [*parts, f"Of a facade that stands twice, each keypoint is matched with the right one: {shares}."]
    )


def merged_part(merged: Figures) -> str:
    """One map's table."""
    names = ", ".join(f"{name} ({count})" for name, count in zip(merged["places"], merged["images"], strict=True))
    rows = [
        [
            one["options"],
            f"{one['rho']:g}",
            *(f"{one[name]:.1f} %" for name in HEADER[2:6]),
            *(f"{one[name]:.2f}" for name in HEADER[6:]),
        ]
        for one in merged["rows"]
    ]
    return f"### {names}\n\n{table(HEADER, rows)}"


if __name__ == "__main__":
    main()
