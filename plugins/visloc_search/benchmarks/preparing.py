"""The time of everything that is done once for a map: building it, and training the networks of two ways of searching.

Run: python -m plugins.visloc_search.benchmarks.preparing --data ../shared/data \\
         --markdown plugins/visloc_search/results/preparing.md

The map is that of the kitchen, at its true poses. A training ends when it has learned what it can, or after the given
minutes. With several devices each does the same, one after the other.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.places import Place, real_places
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.features.config import DEVICES, FeatureConfig, MatcherConfig
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.sources import open_source
from visloc_search.instances.config import InstanceConfig
from visloc_search.instances.config import TrainingConfig as InstanceTraining
from visloc_search.instances.preparation import prepare_instances
from visloc_search.landmarks.config import NETWORK, PreparationConfig
from visloc_search.landmarks.config import TrainingConfig as LandmarkTraining
from visloc_search.landmarks.preparation import prepare_landmarks

SECTION = "Once for a map"
TRAININGS = (("landmarks", "landmarks, a network trained"), ("instances", "instances, a network trained"))


def main() -> None:
    """Measure, and write the table."""
    arguments = parse_arguments()
    place = real_places(arguments.data)[0]
    reports = {device: measure(place, device, arguments) for device in arguments.devices}
    write_outputs(arguments, SECTION, {**provenance(), "devices": reports}, times_table(reports))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/preparing")
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=["cuda"], help="devices, one after the other")
    parser.add_argument("--minutes", type=float, default=2.0, help="longest training")
    add_outputs(parser)
    return parser.parse_args()


def measure(place: Place, device: str, arguments: argparse.Namespace) -> Figures:
    """Seconds of each stage of building, and of each training."""
    folder = arguments.work / device
    shutil.rmtree(folder, ignore_errors=True)
    figures: Figures = {"images": 0, "building_s": {}, "training_s": {}}
    summary = build(place, folder / "map", device)
    figures["images"], figures["building_s"] = summary["registered_images"], summary["seconds"]
    limits = {"device": device, "max_minutes": arguments.minutes}
    landmarks = PreparationConfig(recogniser=NETWORK, training=LandmarkTraining(**limits))
    instances = InstanceConfig(training=InstanceTraining(**limits))
    trainings: dict[str, Callable[[Path], object]] = {
        "landmarks": lambda path: prepare_landmarks([path], landmarks),
        "instances": lambda path: prepare_instances(path, instances),
    }
    for name, train in trainings.items():
        path = folder / name
        shutil.copytree(folder / "map", path)
        start = time.monotonic()
        train(path)
        figures["training_s"][name] = time.monotonic() - start
        print(f"{device}: {name}: {figures['training_s'][name]:.0f} s", flush=True)
    return figures


def build(place: Place, output: Path, device: str) -> Figures:
    """The map at the true poses."""
    config = MappingConfig(features=FeatureConfig(device=device), matcher=MatcherConfig(device=device))
    source = open_source(place.map_folder, place.mapped)
    output.parent.mkdir(parents=True)
    return asdict(build_map(source, output, config, reference_poses=place.truth()))


def times_table(reports: dict[str, Figures]) -> str:
    """A row a stage of building or a training, a column a device."""
    first, each = next(iter(reports.values())), reports.values()
    rows = [
        [f"a map of {first['images']} images: {stage}", *(f"{one['building_s'][stage]:.1f}" for one in each)]
        for stage in first["building_s"]
    ]
    rows += [[words, *(f"{one['training_s'][name]:.0f}" for one in each)] for name, words in TRAININGS]
    return table(["seconds", *reports], rows)


if __name__ == "__main__":
    main()
