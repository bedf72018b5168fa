"""Memory of the odometry over tens of thousands of frames: a sequence is played forth and back, again and again.

The frames are read once and kept, so that what grows is the odometry; its adjustment runs beside them, as in the node.
Run: python -m benchmarks.odometry.memory --source ../shared/data/euroc_mh05 --json out/memory.json
Without --source the simulated walk is played.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from benchmarks.odometry.scenarios import SCENARIOS, ScenarioRenderer
from benchmarks.program import new_parser
from benchmarks.results_file import Figures, write_json
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import open_source

NUM_SAMPLES = 200


def main() -> None:
    """Play, and write memory by the number of frames."""
    parser = new_parser(__doc__)
    parser.add_argument("--source", type=Path, help="video, folder or bag; without it the simulated walk")
    parser.add_argument("--frames", type=int, default=20_000, help="frames tracked")
    parser.add_argument("--json", type=Path, required=True, help="file for the figures")
    arguments = parser.parse_args()
    threadpool_limits(1, "blas")
    frames = list(open_source(arguments.source) if arguments.source else ScenarioRenderer().frames(SCENARIOS[0]))
    figures = memory_curve(frames, arguments.frames)
    figures["source"] = arguments.source.name if arguments.source else "simulated walk"
    write_json(arguments.json, figures)
    print(f"{figures['source']}: {figures['mb'][0]:.0f} to {figures['mb'][-1]:.0f} MB")


def memory_curve(frames: list[Frame], count: int) -> Figures:
    """Track ``count`` frames, and give the memory beyond that of the kept frames at ``NUM_SAMPLES`` of them.

    ``mb_per_1000`` is the slope over the second half, where maps and windows have long been full.
    """
    before_mb = memory_mb()
    every = max(1, count // NUM_SAMPLES)
    odometry = make_odometry(OdometryConfig(), live=True)
    samples: list[tuple[int, float]] = []
    losses, segments = Counter[str](), set[int]()
    for index, frame in enumerate(forth_and_back(frames, count)):
        result = odometry.track(frame)
        if isinstance(result, OdometryPose):
            segments.add(result.segment)
        losses.update([result.reason.value] if isinstance(result, Rejection) else [])
        if (index + 1) % every == 0:
            samples.append((index + 1, memory_mb() - before_mb))
    odometry.close()
    numbers, memory = (list(column) for column in zip(*samples, strict=True))
    half = len(samples) // 2
    slope = float(np.polyfit(numbers[half:], memory[half:], 1)[0]) if len(samples) - half > 1 else None
    return {
        "frames": count,
        "at": numbers,
        "mb": memory,
        "mb_per_1000": None if slope is None else 1e3 * slope,
        "losses": dict(losses),
        "segments": len(segments),
    }


def forth_and_back(frames: list[Frame], count: int) -> Iterator[Frame]:
    """Frames 0, 1, ..., n-1, n-2, ..., 1, 0, 1, ... with stamps that go on at the sequence's median step."""
    step_ns = int(np.median(np.diff([frame.stamp_ns for frame in frames])))
    cycle = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    for index in range(count):
        yield replace(frames[cycle[index % len(cycle)]], stamp_ns=index * step_ns)


def memory_mb() -> float:
    """Memory that this process and those it started hold now; what they share is counted once."""
    process = psutil.Process()
    return float(sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)])) / 1e6


if __name__ == "__main__":
    main()
