"""Photos and frames of other places against the street in Lund: how many of them are located there.

Run: python -m plugins.visloc_geo.benchmarks.elsewhere --data ../shared/data \\
         --markdown plugins/visloc_geo/results/geolocation.md
None may be. Features and matches are kept in the work folder: a program that was stopped goes on where it was.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import table, write_outputs
from plugins.visloc_geo.benchmarks.cached import Store
from plugins.visloc_geo.benchmarks.streets import cached_localizer, lund_database
from visloc_geo.answer import GeoAnswer
from visloc_geo.apps.command_locate import describe
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.solving.types import PhotoPose
from visloc_ros.core.types import Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.sources import SourceConfig, open_source

PLACES = {
    "vpr_toy/database": 1,
    "vpr_toy/queries": 1,
    "sacre_coeur": 1,
    "street_berlin/images": 1,
    "exif_gps": 1,
    "virtual_gallery/mapping": 1,
    "virtual_gallery/query": 1,
    "kitti_06": 1,
    "kitti_00_small": 2,
    "tum_fr1_rpy_start": 4,
    "7scenes_redkitchen": 4,
    "euroc_mh05": 3,
}
"""Folders of other places, and which n-th of their images are taken."""


def frames_of(data: Path, place: str, every: int) -> Iterator[Frame]:
    """Every n-th image of a place."""
    return iter(open_source(data / place, SourceConfig(every=every)))


def main() -> None:
    """Locate images of other places, and write how many were found."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/geo", "the database, features and matches")
    add_outputs(parser)
    parser.add_argument("--at-most", type=int, default=None, help="images of each place at most")
    arguments = parser.parse_args()
    localizer = cached_localizer(lund_database(arguments.data, arguments.work), Store(arguments.work / "kept.sqlite"))
    outcomes = {place: outcomes_in(localizer, arguments, place, every) for place, every in PLACES.items()}
    rows = [[place, str(found.total()), str(found["located"])] for place, found in outcomes.items()]
    total = sum(map(Counter.total, outcomes.values())), sum(found["located"] for found in outcomes.values())
    rows.append(["all", *map(str, total)])
    report = {**provenance(), "outcomes": {place: dict(found) for place, found in outcomes.items()}}
    write_outputs(arguments, "Photos of elsewhere", report, table(["place", "images", "located in Lund"], rows))


def outcomes_in(localizer: GeoLocalizer, arguments: argparse.Namespace, place: str, every: int) -> Counter[str]:
    """How often each outcome came for the images of a place."""
    outcomes: Counter[str] = Counter()
    for frame in islice(frames_of(arguments.data, place, every), arguments.at_most):
        answer = localizer.locate(frame)
        outcomes[outcome(answer)] += 1
        if answer.pose is not None:
            print(place, describe(answer), flush=True)
    print(place, dict(outcomes), flush=True)
    return outcomes


def outcome(answer: GeoAnswer) -> str:
    """One word for an answer."""
    return "located" if isinstance(answer.result, PhotoPose) else answer.result.reason.value


if __name__ == "__main__":
    main()
