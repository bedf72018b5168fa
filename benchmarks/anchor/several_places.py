"""Four maps that one recogniser tells apart, two of them of rooms with the same pictures on other walls."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.anchor.map_trials import is_right, prepared_together
from benchmarks.places import FeatureCache, Place, real_places, true_pose
from benchmarks.results_file import Figures
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Anchor, AnchorPose, Frame
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.simulation.look_alike import make_look_alike
from visloc_ros.simulation.room import Room
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.pose_files import read_poses

LOOK_ALIKE_SEED = 101
MAPPED_CONFIG, SEARCHED_CONFIG = SimulationConfig(rate_hz=2.0), SimulationConfig(rate_hz=14.0)


def four_places(data: Path, work: Path) -> list[Place]:
    """The places, simulated ones rendered below ``work`` where they are not there yet."""
    kitchen, gallery = data / "7scenes_redkitchen", data / "virtual_gallery"
    mapped = next(place for place in real_places(data) if place.map_folder == kitchen).mapped
    room = make_living_room()
    return [
        Place("redkitchen", kitchen, mapped, kitchen, SourceConfig(first=500), 30.0),
        Place("gallery", gallery / "mapping", SourceConfig(), gallery / "query", SourceConfig(), 1.0),
        simulated_place(work, "room", room),
        simulated_place(work, "look_alike", make_look_alike(room, LOOK_ALIKE_SEED)),
    ]


def simulated_place(
    work: Path,
    name: str,
    room: Room,
    mapped: SimulationConfig = MAPPED_CONFIG,
    searched: SimulationConfig = SEARCHED_CONFIG,
) -> Place:
    """A room, mapped by day and searched in the evening."""
    folders = [work / f"{name}_{pass_name}" for pass_name in ("map", "localize")]
    for folder, pass_name, config in zip(folders, ("map", "localize"), (mapped, searched), strict=True):
        if not folder.exists():
            write_folder(simulate(config, pass_name, room), folder)
    return Place(name, folders[0], SourceConfig(), folders[1], SourceConfig(), searched.rate_hz)


def map_of(place: Place, maps: Path) -> Path:
    """The map of a place, built at true poses where it is not there yet."""
    path = maps / place.name
    if place.name == "gallery" and not path.exists():
        poses = read_poses(place.map_folder)
        build_map(open_source(place.map_folder), path, MappingConfig(), reference_poses=poses)
    place.open_map(maps)
    return path


def search_four(data: Path, work: Path, minutes: float, every: int) -> list[Figures]:
    """Every query of every place in all maps at once: a row for each place."""
    places = four_places(data, work)
    maps = prepared_together([map_of(place, work / "four_maps") for place in places], minutes)
    engine = MultiMapEngine(maps, AnchorConfig(search=LANDMARKS))
    cache = FeatureCache(work / "features", engine)
    return [search_place(engine, cache, place, every) for place in places]


def search_place(engine: MultiMapEngine, cache: FeatureCache, place: Place, every: int) -> Figures:
    """What became of the queries of one place."""
    answers = [
        (engine.localize(frame, cache(f"{place.name}/{frame.name}", frame)), truth)
        for frame, truth in queries(place, every)
    ]
    return {"place": place.name, **count_anchors(place.name, answers)}


def queries(place: Place, every: int) -> Iterator[tuple[Frame, SE3]]:
    """Frames and true poses of every n-th query."""
    truth = place.truth()
    yield from ((frame, true_pose(truth, frame.stamp_ns)) for frame in place.frames()[::every])


def count_anchors(name: str, answers: Sequence[tuple[Anchor, SE3]]) -> Figures:
    """How many answers have a pose, and how many of these are under the right map."""
    poses = [(anchor, truth) for anchor, truth in answers if isinstance(anchor.result, AnchorPose)]
    in_map = [(anchor.result, truth) for anchor, truth in poses if anchor.map.name == name]
    reasons = Counter(anchor.result.reason.value for anchor, _ in answers if not isinstance(anchor.result, AnchorPose))
    return {
        "queries": len(answers),
        "poses": len(poses),
        "in_right_map": len(in_map),
        "in_wrong_map": len(poses) - len(in_map),
        "right": sum(isinstance(pose, AnchorPose) and is_right(pose, truth) for pose, truth in in_map),
        "reasons": dict(reasons.most_common()),
    }
