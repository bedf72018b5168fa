"""Views of the simulated room, rendered once, and a scene of 7-Scenes made of them, mapped and searched once."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmark_trees import write_seven_scenes

from visloc_field.protocol import BenchmarkConfig, run_protocol
from visloc_field.run_files import read_records
from visloc_field.seven_scenes import read_seven_scenes
from visloc_ros.core.camera import rescale
from visloc_ros.core.config import read_config
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.sources.datasets import seven_scenes_camera

QUERIES = (3, 6, 9)
NUM_VIEWS = 13
SIMULATION = SimulationConfig(
    width=320, height=240, duration_s=6.5, rate_hz=2.0, samples=1, light="none", exposure_ms=0.0, noise_std=1.0
)
QUICK = """
landmarks:
  training: {size: nano, prototypes: 16, max_steps: 50, batch: 8, device: cpu, tokens: 128}
"""


class Stages:
    """Progress that remembers the stages, and may end the job at one."""

    def __init__(self, interrupted_at: str = "", after: int = 0) -> None:
        self.names: list[str] = []
        self._interrupted_at, self._after, self._steps = interrupted_at, after, 0

    def stage(self, name: str, total: int) -> None:
        self.names.append(name)
        self._steps = 0

    def advance(self, steps: int = 1) -> None:
        self._steps += steps
        if self.names[-1] == self._interrupted_at and self._steps > self._after:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Kitchen:
    """A run that was interrupted in the middle of its queries: what it kept, and what was done after that."""

    folder: Path
    scene: object
    kept: dict
    records: dict
    stages: list[str]

    @property
    def data(self) -> Path:
        return self.folder.parent / "data"

    @property
    def config(self) -> Path:
        return self.folder.parent / "quick.yaml"


@pytest.fixture(scope="session")
def views():
    """Pairs of image and ``map_from_camera``, of the database and the queries; the camera is half that of 7-Scenes."""
    room = simulate(SIMULATION, "map")
    room.camera = rescale(seven_scenes_camera(), SIMULATION.width, SIMULATION.height)
    taken = {index: (room.frame(index).image, room.pose(index)) for index in range(NUM_VIEWS)}
    queries = [taken.pop(index) for index in QUERIES]
    return list(taken.values()), queries


@pytest.fixture(scope="session")
def kitchen(views, tmp_path_factory):
    root = tmp_path_factory.mktemp("seven_scenes")
    write_seven_scenes(root / "data", *views)
    (root / "quick.yaml").write_text(QUICK)
    config, scenes = read_config(BenchmarkConfig, root / "quick.yaml"), read_seven_scenes(root / "data")
    with pytest.raises(KeyboardInterrupt):
        run_protocol(scenes, ["retrieval"], root / "out", config, Stages("search redkitchen", after=1))
    kept = read_records(root / "out" / "redkitchen" / "retrieval.jsonl")
    stages = Stages()
    records = run_protocol(scenes, ["retrieval"], root / "out", config, stages)
    return Kitchen(root / "out", scenes[0], kept, records["redkitchen"]["retrieval"], stages.names)
