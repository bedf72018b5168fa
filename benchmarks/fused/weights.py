"""Which weight rho tells places apart: several places in one map, and whether keypoints are matched in the right one.

Run: OMP_NUM_THREADS=1 python -m benchmarks.fused.weights --data ../shared/data --markdown results/fused.md
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fused.prepared import merged_map, place_of, place_offset
from benchmarks.landmarks.prepared import chosen_places
from benchmarks.landmarks.queries import KnownImage, known_images
from benchmarks.places import FeatureCache
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import Array
from visloc_ros.evaluation.machine import provenance
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
WEIGHTS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 1.0, 2.0, 4.0)
NEAR_PX = 8.0
RIGHT_M = 0.25
HEADER = ("rho", "matched in the right place", "with a point that projects there", "poses right", "inliers")
WORDS = (
    "Of all keypoints, also those that show no point of the map, the nearest point of all places. A point projects "
    f"there within {NEAR_PX:g} px at the true pose; a pose is right within {RIGHT_M * 100:g} cm. No guided search, no "
    "LightGlue; weights above 2 are refused in use."
)


def main() -> None:
    """Search the merged map with all weights, and write the table."""
    arguments = parse_arguments()
    names = arguments.only or ["redkitchen", "euroc", "room", "painted"]
    places = chosen_places(arguments.data, arguments.work, names)
    maps = [place.open_map(arguments.work / "maps") for place in places]
    cache = FeatureCache(arguments.work / "features", AnchorEngine(maps[0], AnchorConfig()))
    images = [known_images(place, cache, arguments.every) for place in places]
    merged = merged_map(maps)
    describer, descriptors = global_index(merged)
    described = DescribedMap.of(merged, describer, descriptors)
    report = {**provenance(), "places": list(names), "weights": measure(described, describer, images)}
    body = as_markdown(report)
    print(body)
    write_outputs(arguments, SECTION, report, body)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path("out/landmarks"), help="folder for maps, rooms and features")
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room, drive, painted")
    parser.add_argument("--every", type=int, default=10, help="search for every n-th image of each place only")
    add_outputs(parser)
    return parser.parse_args()


def measure(
    described: DescribedMap, describer: GlobalDescriptor, images: Sequence[Sequence[KnownImage]]
) -> list[Figures]:
    """Figures of every weight, in percent; ``images`` are those of each place."""
    fusion = described.fusion(FusedConfig())
    sums = described.sums(fusion.reduce(described.global_descriptors))
    kept = np.flatnonzero(sums.counts)
    points = described.map.points[kept]
    figures = []
    for rho in WEIGHTS:
        lam = 1.0 / (1.0 + rho)
        index = ExactIndex(Codebook.store(sums.means(lam, kept), "float16"))
        rows = []
        for place, of_place in enumerate(images):
            for image in of_place:
                reduced = fusion.reduce(describer.describe(image.frame.image, image.features))
                query = FusedQuery(np.asarray(image.features.descriptors, np.float32), reduced, lam)
                rows.append(_figures_of(image, query, index, points, place))
        figures.append({"rho": rho, **dict(zip(HEADER[1:], (100.0 * np.mean(rows, axis=0)).tolist(), strict=True))})
    return figures


def _figures_of(image: KnownImage, query: FusedQuery, index: ExactIndex, points: Array, place: int) -> list[float]:
    """Shares of one image, in the order of the header."""
    neighbours = index.search(query, 1)
    nearest = points[neighbours.rows[:, 0]]
    offset = np.array([place_offset(place), 0.0, 0.0])
    here = place_of(nearest) == place
    pixels = project(image.frame.camera, image.truth.inverse @ (nearest - offset))
    near = here & (np.linalg.norm(pixels - image.features.keypoints, axis=1) < NEAR_PX)
    found = as_correspondences(query, neighbours)
    pixels, seen = found.pixels(image.features), points[found.point_rows]
    solution = solve_pose(pixels, seen, image.frame.camera, PoseConfig(), None)
    if solution is None:
        return [here.mean(), near.mean(), 0.0, 0.0]
    error = np.linalg.norm(solution.map_from_camera.translation - offset - image.truth.translation)
    return [here.mean(), near.mean(), float(error < RIGHT_M), solution.num_inliers / len(query)]


def as_markdown(report: Figures) -> str:
    """The table."""
    rows = [[f"{one['rho']:g}", *(f"{one[name]:.1f} %" for name in HEADER[1:])] for one in report["weights"]]
    return f"{', '.join(report['places'])}. {WORDS}\n\n{table(HEADER, rows)}"


if __name__ == "__main__":
    main()
