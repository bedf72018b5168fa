"""Building large maps in parts: the same map by every engine, after killed workers, and what it costs by its size.

Run: python -m plugins.visloc_cluster.benchmarks.large --engine processes --work out/large \\
         --markdown plugins/visloc_cluster/results/large_maps.md

A walk through an office building (benchmarks/mapping/office_building.py) is rendered; every 200 images are another
room. Everything is kept in the work folder: the same command goes on where it was ended. Poses are compared to the
truth after one similarity. ``--features sift`` takes SIFT and nearest neighbours, for computers without a GPU.
"""

import argparse
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mapping.office_building import IMAGES_A_ROOM, OfficeBuilding
from benchmarks.program import add_device, add_outputs, new_parser
from benchmarks.results_file import Figures, read_json, write_json, write_outputs
from plugins.visloc_cluster.benchmarks.large_tables import all_tables
from plugins.visloc_cluster.benchmarks.measured_engine import MeasuredEngine, forget_peak, peak_mb, read_costs
from visloc_cluster.mapping.builder import build_large_map
from visloc_ros.core.geometry import SE3, Sim3, rotation_angle_deg
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.evaluation.machine import provenance
from visloc_ros.execution.engine import Engine, Resources
from visloc_ros.execution.opening import PROCESSES, SERIAL, engine_names, open_engine
from visloc_ros.mapping import MappingConfig, MapSummary, Recording
from visloc_ros.mapping.scale import align_to_references
from visloc_ros.sources import SourceConfig

FEATURES: dict[str, dict[str, Any]] = {
    "aliked": {},
    "sift": {"features": {"name": "sift"}, "matcher": {"name": "nearest", "ratio": 0.85}},
}


def main() -> None:
    """Measure what is asked for, and write the tables."""
    arguments = parse_arguments()
    largest = max([*arguments.sizes, arguments.compare, arguments.kill])
    with_engine = partial(Builder, arguments, render(arguments, largest))
    sizes = {str(count): with_engine("sizes").measure(count, arguments.engine) for count in sorted(arguments.sizes)}
    engines, killed = {}, {}
    if arguments.compare:
        names = [SERIAL, arguments.engine, *arguments.also]
        engines = {name: with_engine(f"engines/{name}").measure(arguments.compare, name) for name in names}
        compare(arguments.work / "engines", engines, arguments.compare, with_engine("engines").truth)
    if arguments.kill:
        killed = kill(with_engine, arguments)
    report = {**provenance(), "sizes": sizes, "engines": engines, "killed": killed}
    title = f"Builds in parts, {arguments.features}, {arguments.engine}"
    write_outputs(arguments, title, report, all_tables(sizes, engines, killed))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/large"), help="folder for images, parts and maps")
    parser.add_argument("--engine", choices=engine_names(), default=PROCESSES, help="where parts are built")
    parser.add_argument("--workers", type=int, default=0, help="parts built at once at most; 0 by the processors")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 300, 1000, 3000], help="images of the maps timed")
    parser.add_argument("--compare", type=int, default=2000, help="images of the map built by all engines; 0 for none")
    parser.add_argument("--kill", type=int, default=300, help="images of the map whose workers are killed; 0 for none")
    parser.add_argument("--also", nargs="*", default=[], choices=engine_names(), help="more engines to compare")
    parser.add_argument("--features", choices=tuple(FEATURES), default="aliked", help="features and matcher")
    add_device(parser)
    add_outputs(parser)
    return parser.parse_args()


def render(arguments: argparse.Namespace, count: int) -> Path:
    """The images, as a folder; those that are there are not rendered again."""
    building, folder = OfficeBuilding(-(-count // IMAGES_A_ROOM)), arguments.work / f"images_{count}"
    parts = [(begin, min(begin + 50, count)) for begin in range(0, count, 50)]
    engine = open_engine("processes", workers=arguments.workers)
    for _ in engine.run(partial(_write, building, folder.absolute()), parts, Resources()):
        pass
    engine.close()
    return Path(folder)


def _write(building: OfficeBuilding, folder: Path, part: tuple[int, int]) -> None:
    building.write(folder, *part)


class Builder:
    """Builds maps of the first images of the walk, in a folder of its own with a store of its own."""

    def __init__(self, arguments: argparse.Namespace, images: Path, name: str) -> None:
        options = {**FEATURES[arguments.features], "selection": {"rate_hz": 0.0, "min_motion": 0.0}}
        if arguments.device:
            for section in ("features", "matcher"):
                options[section] = {**options.get(section, {}), "device": arguments.device}
        self.folder = arguments.work / name
        self.truth = read_tum(images / "groundtruth_tum.txt")
        self._config = MappingConfig.from_mapping(options)
        self._images = images
        self._workers = arguments.workers

    def measure(self, count: int, engine: str) -> Figures:
        """Figures of a map of so many images, built now or before."""
        figures = self.folder / f"{count}.json"
        if not figures.exists():
            notes, clock = self.folder / f"{count}.jsonl", self.folder / f"{count}.seconds"
            forget_peak()
            begin_s = time.monotonic()
            try:
                summary = self.build(count, MeasuredEngine(open_engine(engine, workers=self._workers), notes))
            finally:  # an ended build is counted when it goes on
                spent_s = time.monotonic() - begin_s + (float(clock.read_text()) if clock.exists() else 0.0)
                clock.write_text(str(spent_s))
                memory_mb = peak_mb()
            costs = {stage: asdict(cost) for stage, cost in read_costs(notes).items()}
            errors = self.errors(self.folder / str(count))
            counts = {"images": count, "registered": summary.registered_images, "points": summary.points}
            spent = {"wall_s": spent_s, "caller_s": dict(summary.seconds), "caller_mb": memory_mb, "costs": costs}
            write_json(figures, {**counts, **spent, **errors})
        return read_json(figures)

    def build(self, count: int, engine: Engine, name: str = "") -> MapSummary:
        """Build a map, or find it built."""
        recording = Recording(self._images, SourceConfig(last=count - 1))
        place, work = self.folder / (name or str(count)), str(self.folder / f"{name or count}_work")
        try:
            return build_large_map([recording], place, self._config, work=work, engine=engine, overwrite=True)
        finally:
            engine.close()

    def errors(self, path: Path) -> Figures:
        """Errors of a map's poses to the truth after one similarity."""
        poses, known = placed(path, self.truth)
        shifts, turns = differences(poses, known)
        return {
            "median_m": float(np.median(shifts)),
            "largest_m": float(shifts.max()),
            "median_deg": float(np.median(turns)),
            "largest_deg": float(turns.max()),
        }


def placed(path: Path, truth: Any) -> tuple[dict[str, SE3], dict[str, SE3]]:
    """Poses of a map moved to the truth, and the true ones, by names."""
    poses = {image.name: image.map_from_camera for image in open_map(path).images}
    known = {name: truth.nearest(int(Path(name).stem), 1000) for name in poses}
    true_from_map: Sim3 = align_to_references(poses, known)
    return {name: true_from_map.apply_to_pose(pose) for name, pose in poses.items()}, known


def differences(poses: dict[str, SE3], others: dict[str, SE3]) -> tuple[np.ndarray, np.ndarray]:
    """Differences of the poses of the same images, in metres and degrees."""
    pairs = [(poses[name], others[name]) for name in poses if name in others]
    shifts = [float(np.linalg.norm(one.translation - other.translation)) for one, other in pairs]
    return np.array(shifts), np.array([rotation_angle_deg(one.rotation, other.rotation) for one, other in pairs])


def compare(folder: Path, engines: dict[str, Figures], count: int, truth: Any) -> None:
    """Add the largest differences of each engine's map from that of one process."""
    first, _ = placed(folder / SERIAL / str(count), truth)
    for name, figures in engines.items():
        own, _ = placed(folder / name / str(count), truth)
        shifts, turns = differences(own, first)
        figures |= {
            "same_images": own.keys() == first.keys(),
            "apart_m": float(shifts.max()),
            "apart_deg": float(turns.max()),
        }


def kill(with_engine: Any, arguments: argparse.Namespace) -> Figures:
    """Kill a worker in every stage, then build again: the differences from an undisturbed map, and the seconds."""
    builder, count = with_engine("killed"), arguments.kill
    builder.measure(count, arguments.engine)
    kills = builder.folder / "kills"
    engine = open_engine(arguments.engine, workers=arguments.workers)
    builder.build(count, MeasuredEngine(engine, builder.folder / "killed.jsonl", kills), "killed")
    begin_s = time.monotonic()
    builder.build(count, open_engine(arguments.engine, workers=arguments.workers), "killed")
    again_s = time.monotonic() - begin_s
    own, _ = placed(builder.folder / "killed", builder.truth)
    first, _ = placed(builder.folder / str(count), builder.truth)
    shifts, turns = differences(own, first)
    return {
        "images": count,
        "stages": sorted(path.name for path in kills.iterdir()),
        "same_images": own.keys() == first.keys(),
        "apart_m": float(shifts.max()),
        "apart_deg": float(turns.max()),
        "again_s": again_s,
    }


if __name__ == "__main__":
    main()
