"""A picture for the documentation: keypoints of an image matched with two rooms at once, without and with its own look.

Run: python -m plugins.visloc_search.benchmarks.fused.picture --data ../shared/data --output plugins/visloc_search/docs

Both rooms, the second with other paint, are made by this package, so that their pictures may be shown anywhere.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import PIL.Image

from benchmarks.places import FeatureCache
from benchmarks.program import add_folders, new_parser
from plugins.visloc_search.benchmarks.fused.match_picture import MatchPanel, draw_matches
from plugins.visloc_search.benchmarks.fused.prepared import merged_map
from plugins.visloc_search.benchmarks.landmarks.prepared import chosen_places
from plugins.visloc_search.benchmarks.landmarks.queries import KnownImage, known_images
from visloc_ros.core.camera import project
from visloc_ros.core.timing import Stopwatch
from visloc_ros.evaluation.plot_style import to_png
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_search.fused.config import FusedConfig
from visloc_search.fused.fused_map import DescribedMap, fuse_map
from visloc_search.fused.searcher import FusedSearcher

PLACES = ("room", "painted")
NAME = "fused_matches.png"
WEIGHTS = {"descriptors of keypoints alone": 0.0, "fused with that of the image": 0.5}
NEAR_PX = 8.0
DOTS_PER_INCH = 110
COLOURS = 256  # of a file: with fewer the few red dots turn grey


def main() -> None:
    """Draw the picture."""
    arguments = parse_arguments()
    places = chosen_places(arguments.data, arguments.work, PLACES)
    maps = [place.open_map(arguments.work / "maps") for place in places]
    cache = FeatureCache(arguments.work / "features", AnchorEngine(maps[0], AnchorConfig()))
    image = known_images(places[0], cache)[arguments.image]
    merged = merged_map(maps)
    describer, descriptors = global_index(merged)
    described = DescribedMap.of(merged, describer, descriptors)
    panels = [panel_of(described, describer, image, title, rho) for title, rho in WEIGHTS.items()]
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.open(io.BytesIO(to_png(draw_matches(image.frame.image, panels), DOTS_PER_INCH))).convert("RGB")
    path = arguments.output / NAME
    picture.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/landmarks", "maps, rooms and features")
    parser.add_argument("--image", type=int, default=34, help="which of the images searched for is shown")
    parser.add_argument("--output", type=Path, default=Path("docs/images"), help="folder for the picture")
    return parser.parse_args()


def panel_of(
    described: DescribedMap, describer: GlobalDescriptor, image: KnownImage, title: str, rho: float
) -> MatchPanel:
    """The matches of an image of the first place with one weight, judged by its true pose."""
    fused = fuse_map(described, FusedConfig(rho=rho))
    searcher = FusedSearcher(fused, describer, AnchorConfig(), NearestMatcher())
    query = Query(image.frame, image.features, Stopwatch())
    found = searcher.match(query, searcher.fuse(query))
    pixels = found.pixels(image.features)
    projected = project(image.frame.camera, image.truth.inverse @ fused.map.points[found.point_rows])
    return MatchPanel(title, pixels, projected, np.linalg.norm(projected - pixels, axis=1) < NEAR_PX)


if __name__ == "__main__":
    main()
