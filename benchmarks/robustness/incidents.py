"""Is the fused pose ever overconfident? Kidnapping, another place, the wrong map, darkness, no anchors, a slow camera.

Run: python -m benchmarks.robustness.incidents --data ../shared/data --markdown results/robustness.md

Two real places are mapped, and spliced images of them go through the localizer as in ``visloc run``. The table has the
states and times of each scenario, and the number of LOCALIZED poses beyond 3 sigma of their own covariance. Maps and
features are kept in the work folder for later runs.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from benchmarks.places import FeatureCache, Place, real_places, simulated_room
from benchmarks.program import add_folders, add_outputs, new_parser
from benchmarks.results_file import Figures, read_json, write_outputs
from benchmarks.robustness.scenarios import FLIGHT, KITCHEN, ROOM, SCENARIOS, ImageSequence, Scenario, SplicedSequence
from benchmarks.robustness.tables import SECTION, as_markdown
from testing.robustness import Incident, judge_run
from visloc_ros.apps.offline_run import RunConfig, run_offline, search_inline
from visloc_ros.core.config import read_config
from visloc_ros.core.geometry import SE3
from visloc_ros.core.progress import SilentProgress
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, Frame, MapIdentity, Rejection
from visloc_ros.evaluation import RunRecord, summarize, write_results
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorEngine
from visloc_ros.pipeline import AnchorRunner
from visloc_ros.simulation import simulate, write_folder


class CachedEngine:
    """The anchor engine with features that an earlier run extracted."""

    def __init__(self, engine: AnchorEngine, cache: FeatureCache) -> None:
        self._engine, self._cache = engine, cache

    @property
    def map_identity(self) -> MapIdentity:
        """The map that it searches."""
        return self._engine.map_identity

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Find ``map_from_camera`` of a frame, which has the name of its image."""
        features = self._cache(f"{frame.name}-{frame.camera.width}", frame)
        return self._engine.localize(frame, prior, features)


class InterruptedAnchors:
    """Anchors from a node that is dead for a while: its search is lost, and it takes no images."""

    def __init__(self, anchors: AnchorRunner, dead: Incident) -> None:
        self._anchors, self._dead = anchors, dead
        self._begin_ns: int | None = None
        self._seconds = 0.0

    def is_idle(self, now_ns: int) -> bool:
        """Whether the frame stamped ``now_ns`` would be searched at once."""
        self._hear(now_ns)
        return not self._is_dead and self._anchors.is_idle(now_ns)

    def submit(self, frame: Frame, prior: SE3 | None) -> None:
        """Ask for a frame."""
        self._anchors.submit(frame, prior)

    def finished(self, now_ns: int) -> list[Anchor]:
        """Results that are there by now."""
        self._hear(now_ns)
        results = self._anchors.finished(now_ns)
        return [] if self._is_dead else results

    def close(self) -> None:
        """Stop."""
        self._anchors.close()

    def _hear(self, now_ns: int) -> None:
        self._begin_ns = now_ns if self._begin_ns is None else self._begin_ns
        self._seconds = (now_ns - self._begin_ns) / NANOSECONDS

    @property
    def _is_dead(self) -> bool:
        return self._dead.begin_s <= self._seconds < self._dead.end_s


def main() -> None:
    """Run all scenarios, and write the results."""
    arguments = parse_arguments()
    chosen = [one for one in SCENARIOS if not arguments.only or any(words in one.name for words in arguments.only)]
    prepare({one.place for one in chosen}, arguments)
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        rows = list(pool.map(partial(try_scenario, arguments=arguments), [one.name for one in chosen]))
    rows += [try_nodes(one, arguments) for one in chosen if any(words in one.name for words in arguments.replay)]
    if arguments.keep and arguments.json.exists():
        rows = joined(read_json(arguments.json)["scenarios"], rows)
    report = {**provenance(), "scenarios": rows}
    write_outputs(arguments, SECTION, report, as_markdown(rows))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/robustness", "maps and features")
    parser.add_argument("--maps", type=Path, help="folder with the maps 'redkitchen' and 'euroc', if they are there")
    parser.add_argument("--config", type=Path, help="YAML file with options of the run")
    parser.add_argument("--only", nargs="*", help="words in the names of the scenarios to run")
    parser.add_argument("--replay", nargs="*", default=[], help="words in the names of those that the nodes play, too")
    parser.add_argument("--processes", type=int, default=2, help="scenarios run at once")
    parser.add_argument("--reports", type=Path, help="folder to write a report page of every scenario into")
    parser.add_argument("--keep", action="store_true", help="keep what the JSON file has of other scenarios")
    add_outputs(parser)
    arguments = parser.parse_args()
    if arguments.keep and not arguments.json:
        parser.error("--keep needs --json")
    return arguments


def joined(earlier: list[Figures], new: list[Figures]) -> list[Figures]:
    """Rows of two runs in the order of the scenarios; of those in both the new one."""
    rows = {row["name"]: row for row in (*earlier, *new)}
    names = [one.name for one in SCENARIOS]
    names += [as_played_by_nodes(name) for name in names]
    return [rows[name] for name in names if name in rows]


def as_played_by_nodes(name: str) -> str:
    """Name of a scenario's row when the real nodes have played it."""
    return f"{name}, real nodes"


def try_scenario(name: str, arguments: argparse.Namespace) -> Figures:
    """One scenario in a process of its own: its figures."""
    scenario = next(one for one in SCENARIOS if one.name == name)
    record = run_scenario(scenario, arguments)
    if arguments.reports:
        write_results(record, arguments.reports / name.replace(" ", "_"))
    return measure(scenario, record)


def try_nodes(scenario: Scenario, arguments: argparse.Namespace) -> Figures:
    """One scenario through the real nodes: its figures."""
    from benchmarks.robustness.nodes import replay_scenario  # needs ROS 2, which the other scenarios do not

    bag = arguments.work / "bags" / scenario.name.replace(" ", "_")
    map_path = map_folder(arguments) / scenario.place
    record = replay_scenario(scenario, splice(scenario, arguments), map_path, bag)
    return measure(replace(scenario, name=as_played_by_nodes(scenario.name)), record)


def run_scenario(scenario: Scenario, arguments: argparse.Namespace) -> RunRecord:
    """Take the scenario's frames through the localizer."""
    config = replace(read_config(RunConfig, arguments.config), causal=True)
    engine = AnchorEngine(places(arguments)[scenario.place].open_map(map_folder(arguments)), config.anchor)
    frames = splice(scenario, arguments)
    cached = CachedEngine(engine, FeatureCache(arguments.work / "features", engine))
    searched: AnchorRunner = search_inline(cached, config)
    if scenario.anchors_gone is not None:
        searched = InterruptedAnchors(searched, scenario.anchors_gone)
    return run_offline(engine.map, frames, frames.ground_truth, config, SilentProgress(), searched, engine=engine)


def splice(scenario: Scenario, arguments: argparse.Namespace) -> SplicedSequence:
    """The frames of a scenario."""
    names = {name for clip in scenario.clips for name in (clip.place, clip.hidden_by) if name}
    sequences = {name: ImageSequence(recorded(name, arguments)) for name in names}
    return SplicedSequence(scenario, sequences)


def prepare(names: set[str], arguments: argparse.Namespace) -> None:
    """Build maps and render the room once, before several processes need them."""
    for name in names:
        places(arguments)[name].open_map(map_folder(arguments))
    if ROOM in names and not recorded(ROOM, arguments).exists():
        write_folder(simulate(pass_name="localize"), recorded(ROOM, arguments))


def places(arguments: argparse.Namespace) -> dict[str, Place]:
    """The mapped places by their names."""
    return {one.name: one for one in (*real_places(arguments.data), simulated_room(arguments.work))}


def map_folder(arguments: argparse.Namespace) -> Path:
    """Where the maps are, or are built."""
    return Path(arguments.maps or arguments.work / "maps")


def recorded(place: str, arguments: argparse.Namespace) -> Path:
    """Folder of all frames that were recorded in a place."""
    folders = {KITCHEN: "7scenes_redkitchen", FLIGHT: "euroc_mh05"}
    return Path(arguments.work / "room_walk" if place == ROOM else arguments.data / folders[place])


def measure(scenario: Scenario, record: RunRecord) -> Figures:
    """Figures of a run."""
    summary, verdict = summarize(record), judge_run(record, scenario.incident)
    kept = ("frames_by_state", "frames_by_support", "position_error_m", "rotation_error_deg", "nees", "nis", "anchors")
    incident = None if scenario.incident is None else asdict(scenario.incident)
    return {"name": scenario.name, "incident": incident, **asdict(verdict), **{key: summary[key] for key in kept}}


if __name__ == "__main__":
    main()
