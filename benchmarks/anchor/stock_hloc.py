"""The anchor engine beside stock hloc: same weights, same map, same queries, same run, frame by frame in turn.

Run: python -m benchmarks.anchor.stock_hloc --map maps/redkitchen --source ../shared/data/7scenes_redkitchen
hloc must be installed; ``stock_hloc_driver`` drives it one frame at a time, once with everything kept loaded and once
as its own programs run. It does not use a predicted pose. The engine's prediction is the true pose of three frames
earlier, perturbed by 5 cm and 2 degrees. Every figure includes decoding of the image. Processor times are those of this
process, all threads together, without the processes that hloc's programs start.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.anchor.stock_hloc_driver import StockHloc, import_hloc
from benchmarks.places import known_truth
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from testing.corruptions import perturbed
from visloc_ros.core.errors import SourceError, VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.metrics import Statistics, pose_errors, recall
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.config import RETRIEVAL, search_names
from visloc_ros.mapping.hloc_export import export_hloc
from visloc_ros.sources import FrameSource, SourceConfig, open_source

SECTION = "Beside stock hloc"
WITHOUT, WITH = "engine", "engine with a prediction"
KEPT, PROGRAMS = "stock hloc, kept loaded", "stock hloc, as its programs"
RATIOS = ((KEPT, WITHOUT), (PROGRAMS, WITHOUT))
PRIOR_LAG_S, PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG = 0.1, 0.05, 2.0
STAMP_TOLERANCE_NS = 5_000_000
WARM_UP_FRAMES = 2

LOOKING = ("decode", "features")

Localize = Callable[[Frame, SE3], tuple[SE3 | None, dict[str, float]]]


@dataclass
class Outcome:
    """What one system did with every query: a pose or None, its stage times, and the processor time of this process."""

    poses: list[SE3 | None] = field(default_factory=list)
    stage_ms: list[dict[str, float]] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def summary(self, truths: list[SE3]) -> Figures:
        """Figures in the layout that all anchor benchmarks share."""
        errors = pose_errors(self.poses, truths)
        found = sum(pose is not None for pose in self.poses)
        stages = dict.fromkeys(stage for one in self.stage_ms for stage in one)
        return {
            "total_ms": percentiles([sum(one.values()) for one in self.stage_ms]),
            "stage_ms": {stage: percentiles([one.get(stage, 0.0) for one in self.stage_ms]) for stage in stages},
            "search_ms": percentiles([without_looking(one) for one in self.stage_ms]),
            "cpu_ms": percentiles(self.cpu_ms),
            "position_error_m": median(errors[:, 0]),
            "rotation_error_deg": median(errors[:, 1]),
            "recall_5cm_5deg_percent": recall(errors, len(truths))[0].percent,
            "accepted": found,
            "rejected": len(self.poses) - found,
        }


def main() -> None:
    """Run the comparison, and write the results."""
    arguments = parse_arguments()
    try:
        report = compare(arguments)
    except VislocError as error:
        sys.exit(f"error: {error}")
    write_outputs(arguments, SECTION, report, as_markdown(report))


def parse_arguments() -> argparse.Namespace:
    """The command line; the defaults are the 25 queries of the red kitchen."""
    parser = new_parser(__doc__)
    parser.add_argument("--map", type=Path, required=True, help="map folder of this package")
    parser.add_argument("--source", type=Path, required=True, help="folder of the images, with truth")
    parser.add_argument("--first", type=int, default=500, help="index of the first query")
    parser.add_argument("--last", type=int, default=749, help="index of the last query")
    parser.add_argument("--every", type=int, default=10, help="step between queries")
    parser.add_argument("--top-k", type=int, default=10, help="map images that hloc matches a query with")
    parser.add_argument("--search", choices=search_names(), default=RETRIEVAL, help="way of the engine")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch, the same for both")
    add_outputs(parser)
    return parser.parse_args()


def compare(arguments: argparse.Namespace) -> Figures:
    """Localize every query with all systems in turn. Raises VislocError."""
    hloc = import_hloc()[0]
    import torch

    source = open_source(
        arguments.source, SourceConfig(first=arguments.first, last=arguments.last, every=arguments.every)
    )
    truth = known_truth(source)
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="visloc-stock-hloc-") as folder:
        images = image_folder(arguments.source, next(iter(source)).name)
        systems = make_systems(arguments, images, Path(folder))
        outcomes, truths = run(systems, source, truth)
    summaries = {name: outcome.summary(truths) for name, outcome in outcomes.items()}
    return {
        **provenance(),
        "search": arguments.search,
        "threads": arguments.threads,
        "versions": {"hloc": hloc.__version__, "torch": torch.__version__},
        "queries": len(truths),
        "prediction": {"lag_s": PRIOR_LAG_S, "distance_m": PRIOR_DISTANCE_M, "angle_deg": PRIOR_ANGLE_DEG},
        "systems": summaries,
        "ratios": {f"{a} / {b}": ratio(summaries[a], summaries[b]) for a, b in RATIOS},
    }


def make_systems(arguments: argparse.Namespace, images: Path, folder: Path) -> dict[str, Localize]:
    """The engine without and with a prediction, and hloc both ways, on the same map."""
    export_hloc(arguments.map, folder / "map")
    map_ = open_map(arguments.map)
    engine = AnchorEngine(map_, AnchorConfig(search=arguments.search))
    systems: dict[str, Localize] = {
        WITHOUT: lambda frame, prior: run_engine(engine, frame, None),
        WITH: lambda frame, prior: run_engine(engine, frame, prior),
    }
    for name, keep_loaded in ((KEPT, True), (PROGRAMS, False)):
        scratch = folder / f"scratch-{keep_loaded}"
        scratch.mkdir()
        systems[name] = without_prior(StockHloc(map_, folder / "map", images, scratch, arguments.top_k, keep_loaded))
    return systems


def without_prior(driver: StockHloc) -> Localize:
    """Stock hloc, which has no use for a predicted pose."""
    return lambda frame, prior: driver.localize(frame)


def run_engine(engine: AnchorEngine, frame: Frame, prior: SE3 | None) -> tuple[SE3 | None, dict[str, float]]:
    """One call of the engine."""
    answer = engine.localize(frame, prior)
    return (answer.map_from_camera if isinstance(answer, AnchorPose) else None), dict(answer.stage_ms)


def run(systems: dict[str, Localize], source: FrameSource, truth: Trajectory) -> tuple[dict[str, Outcome], list[SE3]]:
    """All systems on each frame in turn, another one first every time; the first frames only warm them up."""
    rng = np.random.default_rng(0)
    outcomes = {name: Outcome() for name in systems}
    truths: list[SE3] = []
    names = list(systems)
    for frame, decode_ms in timed_frames(source):
        prior = perturbed(true_pose_before(truth, frame, PRIOR_LAG_S), rng, PRIOR_DISTANCE_M, PRIOR_ANGLE_DEG)
        if not truths:
            warm_up(systems, frame, prior)
        shift = len(truths) % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.process_time()
            pose, stage_ms = systems[name](frame, prior)
            outcomes[name].cpu_ms.append(1e3 * (time.process_time() - start))
            outcomes[name].poses.append(pose)
            outcomes[name].stage_ms.append(stage_ms if name in (KEPT, PROGRAMS) else {"decode": decode_ms} | stage_ms)
        truths.append(true_pose_before(truth, frame, 0.0))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return outcomes, truths


def warm_up(systems: dict[str, Localize], frame: Frame, prior: SE3) -> None:
    """Let every system load and settle."""
    for localize in systems.values():
        for _ in range(WARM_UP_FRAMES):
            localize(frame, prior)


def timed_frames(source: FrameSource) -> Iterator[tuple[Frame, float]]:
    """Frames with the milliseconds their decoding took; hloc decodes them itself."""
    frames = iter(source)
    while True:
        watch = Stopwatch()
        with watch("decode"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame, watch.stage_ms["decode"]


def true_pose_before(truth: Trajectory, frame: Frame, lag_s: float) -> SE3:
    """The true pose so many seconds before a frame. Raises SourceError where there is none."""
    pose = truth.nearest(frame.stamp_ns - round(lag_s * NANOSECONDS), STAMP_TOLERANCE_NS)
    if pose is None:
        raise SourceError(f"there is no true pose {lag_s} s before {frame.name}")
    return pose


def image_folder(source: Path, name: str) -> Path:
    """The folder that names of frames are relative to. Raises SourceError where there are no image files."""
    for path in source.rglob(Path(name).name):
        if path.as_posix().endswith(name):
            return path.parents[len(Path(name).parts) - 1]
    raise SourceError(f"{source} holds no image file '{name}': hloc reads image files only")


def percentiles(values: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {"p50": float(np.percentile(values, 50)), "p95": float(np.percentile(values, 95))}


def without_looking(stage_ms: dict[str, float]) -> float:
    """Milliseconds of all that comes after the features."""
    return sum(value for stage, value in stage_ms.items() if stage not in LOOKING)


def median(values: np.ndarray) -> float | None:
    """Median of the numbers that are finite."""
    statistics = Statistics.of(values)
    return statistics.median if statistics else None


def ratio(slow: Figures, fast: Figures) -> dict[str, float]:
    """How many times faster, and the median errors relative to each other (below 1: smaller)."""
    times = {"p50": "total_ms", "without_features_p50": "search_ms", "processor_p50": "cpu_ms"}
    ratios = {f"times_faster_{name}": slow[key]["p50"] / fast[key]["p50"] for name, key in times.items()}
    for key in ("position_error_m", "rotation_error_deg"):
        if slow[key] and fast[key]:
            ratios[f"relative_{key}"] = fast[key] / slow[key]
    return ratios


def as_markdown(report: Figures) -> str:
    """A row a system."""
    header = ["system", "median ms", "times as long as the engine", "without features, median ms"]
    header += ["position error, median cm", "found"]
    ratios = {pair.partition(" / ")[0]: values for pair, values in report["ratios"].items()}
    rows = [
        [
            name,
            f"{figures['total_ms']['p50']:.0f}",
            f"{ratios[name]['times_faster_p50']:.1f}" if name in ratios else "–",
            f"{figures['search_ms']['p50']:.0f}",
            f"{100 * figures['position_error_m']:.2f}",
            f"{figures['accepted']} of {report['queries']}",
        ]
        for name, figures in report["systems"].items()
    ]
    return f"The engine searches by {report['search']}.\n\n{table(header, rows)}"


if __name__ == "__main__":
    main()
