"""What it takes to hand the parts of a job to workers: start, each task, a second run; and the speed of real work.

Run: python -m plugins.visloc_cluster.benchmarks.engines --markdown plugins/visloc_cluster/results/engines.md

Tasks that do nothing show what a task costs beside its work; their results are kept on the disk. Tasks with work
extract local features (ALIKED, 640x480 pixels, one thread) of random images; the first of each worker loads the model.
Every engine has two workers. Beside other programs Linux shares the processors by sessions, of which this program and
its worker processes are one, and a worker of Ray is one of its own: only an idle computer shows what two workers gain.
"""

import os
import time
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.evaluation.machine import provenance
from visloc_ros.execution.engine import Engine
from visloc_ros.execution.opening import SERIAL, engine_names, open_engine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Inputs, Stage, Task, TaskRunner
from visloc_ros.execution.this_computer import num_processors
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.registry import make_extractor
from visloc_ros.features.types import LocalExtractor

HEADER = ("engine", "first result", "a task", "second run", "features", "of one process")
WIDTH, HEIGHT = 640, 480


def main() -> None:
    """Measure each engine in a folder of its own, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--tasks", type=int, default=500, help="tasks that do nothing")
    parser.add_argument("--images", type=int, default=60, help="tasks that extract features")
    add_outputs(parser)
    arguments = parser.parse_args()
    figures = {name: measure(name, arguments.tasks, arguments.images) for name in engine_names()}
    rows = [
        (
            name,
            f"{one['first_s']:.1f} s",
            f"{1e3 * one['task_s']:.1f} ms",
            f"{one['again_s']:.2f} s",
            f"{one['features_s']:.1f} s",
            f"{one['features_s'] / figures[SERIAL]['features_s']:.2f}",
        )
        for name, one in figures.items()
    ]
    load = f"beside other programs: load {os.getloadavg()[0]:.0f} on {num_processors()} processors"
    sessions = "Linux shares processors by sessions, and each of Ray's workers is one of its own"
    words = f"{arguments.tasks} tasks that do nothing, {arguments.images} images; {load} ({sessions})."
    write_outputs(arguments, "Engines", {**provenance(), "engines": figures}, f"{words}\n\n{table(HEADER, rows)}")


def measure(name: str, num_tasks: int, num_images: int) -> Figures:
    """Seconds from the start to the first result, of each further task, of a second run, and of real work."""
    begin_s = time.monotonic()
    with TemporaryDirectory() as folder, closing(open_engine(name, workers=2)) as engine:
        store = ArtifactStore(str(Path(folder)))
        run(engine, store, NOTHING, 1)
        first_s = time.monotonic() - begin_s
        all_s, again_s = (run(engine, store, NOTHING, num_tasks + 1) for _ in range(2))
        return {
            "first_s": first_s,
            "task_s": all_s / num_tasks,
            "again_s": again_s,
            "features_s": run(engine, store, FEATURES, num_images),
        }


def run(engine: Engine, store: ArtifactStore, stage: Stage, count: int) -> float:
    """Seconds that the tasks of a stage take."""
    begin_s = time.monotonic()
    TaskRunner(engine, store).run([Task(stage, {"number": number}) for number in range(count)])
    return time.monotonic() - begin_s


def do_nothing(arguments: Mapping[str, Any], _: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    """A small result."""
    return {"number": np.array(arguments["number"])}


def extract(arguments: Mapping[str, Any], _: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    """Local features of a random image."""
    image = np.random.default_rng(arguments["number"]).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    return {"keypoints": extractor().extract(image).keypoints}


@cache
def extractor() -> LocalExtractor:
    """The model, loaded once a process."""
    return make_extractor(FeatureConfig(device="cpu", torch_threads=1))


NOTHING, FEATURES = Stage("nothing", do_nothing), Stage("features", extract)


if __name__ == "__main__":
    from plugins.visloc_cluster.benchmarks import engines  # workers import its functions by the module's name

    engines.main()
