"""The places of these benchmarks: real ones, and simulated rooms, by night, changed, and in a building, too."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.places import Place, real_places, true_pose
from plugins.visloc_search.benchmarks.instances.building import in_building
from testing.redecorated import redecorate
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.sources import SourceConfig

KNOWN_SEED, UNSEEN_SEED = 601, 602
_NEIGHBOURS = (603, 604)  # only mapped
_RATE_HZ = 2.0
_QUERY_STEP = 2
_CHANGES_SEED = 700  # those of a room are made by this and its seed


@dataclass(frozen=True)
class StyledPlace:
    """A place whose images are altered; ``night`` is a folder of the same views rendered at night.

    By an ``unseen`` place no setting of a search was chosen.
    """

    place: Place
    unseen: bool
    has_colour: bool = True
    night: Path | None = None


def styled_places(data: Path, work: Path) -> list[StyledPlace]:
    """Those by which settings were chosen, then the others: a real place, a room, and the room in a building."""
    kitchen, flight = real_places(data)
    known, unseen, *neighbours = (room_place(work, seed) for seed in (KNOWN_SEED, UNSEEN_SEED, *_NEIGHBOURS))
    others = (*neighbours, kitchen, flight)
    buildings = in_building(known, [unseen, *others]), in_building(unseen, [known, *others])
    nights = [rendered(work, seed, "localize", light="night") for seed in (KNOWN_SEED, UNSEEN_SEED)]
    return [
        StyledPlace(kitchen, unseen=False),
        *(StyledPlace(place, unseen=False, night=nights[0]) for place in (known, buildings[0])),
        StyledPlace(flight, unseen=True, has_colour=False),
        *(StyledPlace(place, unseen=True, night=nights[1]) for place in (unseen, buildings[1])),
    ]


def room_place(work: Path, seed: int) -> Place:
    """A room, mapped by day and searched in the evening; rendered if missing."""
    folders = (rendered(work, seed, pass_name) for pass_name in ("map", "localize"))
    mapped, searched = folders
    queries = SourceConfig(every=_QUERY_STEP)
    return Place(f"room_{seed}", mapped, SourceConfig(), searched, queries, _RATE_HZ / _QUERY_STEP)


def changed_room(work: Path, seed: int, share: float) -> Place:
    """The same room after a share of its things has changed, in its map of before."""
    place = room_place(work, seed)
    return replace(place, query_folder=rendered(work, seed, "localize", share=share)) if share else place


def rendered(work: Path, seed: int, pass_name: str, light: str = "auto", share: float = 0.0) -> Path:
    """The recording of a room in a light, after a share of its things has changed; rendered if missing."""
    folder = work / "rooms" / f"{seed}_{pass_name}_{light}_{round(100 * share)}"
    if not folder.exists():
        config, room = SimulationConfig(rate_hz=_RATE_HZ, seed=seed, light=light), make_living_room(seed)
        if share:
            room, _ = redecorate(room, share, _CHANGES_SEED + seed)
        write_folder(simulate(config, pass_name, room), folder)
    return folder


def images_of(place: Place, every: int = 1) -> Iterator[tuple[Frame, SE3]]:
    """Every n-th of the images searched for, with their true poses."""
    truth = place.truth()
    return ((frame, true_pose(truth, frame.stamp_ns)) for frame in place.frames()[::every])
