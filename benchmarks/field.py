"""The field's data sets that lie below a folder, as they are downloaded: each is run, in one table with the papers.

Run: python -m benchmarks.field --data ../shared/data --markdown results/field.md
7-Scenes, 12-Scenes, Aachen, RobotCar Seasons, Cambridge Landmarks and Extended CMU Seasons are run by their protocols,
sequences of EuRoC, KITTI and TUM RGB-D by odometry. A part of one is run as well, and named as such: what papers state
is of the whole, and not to be compared with it. A run that was interrupted goes on where it stopped.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.field_table import Row, field_table, localization_rows, odometry_row
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, write_outputs
from testing.data_set_excerpt import read_excerpt
from testing.place_recognition import FoundData, find_data
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import VislocError
from visloc_ros.evaluation import evaluate_odometry
from visloc_ros.evaluation.benchmarks.data_sets import find_data_set
from visloc_ros.evaluation.benchmarks.protocol import BenchmarkConfig, run_protocol
from visloc_ros.evaluation.benchmarks.scores import score_scene
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_run import run_odometry, with_earlier_poses
from visloc_ros.evaluation.search_comparison import choose_searches
from visloc_ros.localization.config import RETRIEVAL
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import open_source


def main() -> None:
    """Run what is found, and write the table."""
    arguments = parse_arguments()
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for found in (one for folder in arguments.data for one in find_data(folder)):
        print(f"{found.data_set}: {found.folder}", flush=True)
        try:
            rows += run_sequence(found, arguments) if found.is_sequence else run_scenes(found, arguments)
        except VislocError as error:
            failed[str(found.folder)] = str(error)
    report: Figures = {**provenance(), "rows": [asdict(row) for row in rows], "failed": failed}
    write_outputs(arguments, "The field's data sets", report, field_table(rows, failed, arguments.every))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that hold data sets")
    parser.add_argument("--work", type=Path, default=Path("out/field"), help="folder for maps and results of queries")
    parser.add_argument("--every", type=int, default=1, help="map every n-th image of the database")
    parser.add_argument("--search", default=RETRIEVAL, help="ways of searching, by commas")
    parser.add_argument("--backend", default=OdometryConfig().backend, help="odometry")
    parser.add_argument("--config", type=Path, help="sections mapping and anchor, as of visloc benchmark")
    add_outputs(parser)
    return parser.parse_args()


def run_scenes(found: FoundData, arguments: argparse.Namespace) -> list[Row]:
    """Map and search all scenes of a data set, or the end of an excerpt."""
    read = find_data_set(found.data_set).read(found.folder, ()) if found.is_whole else [read_excerpt(found.folder)]
    scenes = [scene.thinned(arguments.every) for scene in read]
    searches = choose_searches(arguments.search)
    folder = arguments.work / f"{found.data_set}_{found.folder.resolve().name}"
    records = run_protocol(scenes, searches, folder, read_config(BenchmarkConfig, arguments.config))
    return [
        row
        for scene in scenes
        for search in searches
        for row in localization_rows(found, scene, search, score_scene(scene, records[scene.name][search]))
    ]


def run_sequence(found: FoundData, arguments: argparse.Namespace) -> list[Row]:
    """Track a sequence by odometry, repeatably, and compare it with its true poses where it has any."""
    source = open_source(found.folder)
    config = replace(OdometryConfig(), backend=arguments.backend)
    run = with_earlier_poses(run_odometry(lambda: make_odometry(config), decode(source)))
    return [odometry_row(found, arguments.backend, run, evaluate_odometry(run.results, source.ground_truth))]


if __name__ == "__main__":
    main()
