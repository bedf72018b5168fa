"""Maps of the places, prepared for the search by landmarks; made once, and kept in the work folder."""

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.places import Place, all_places
from benchmarks.results_file import read_json, write_json
from visloc_ros.core.map import Map, open_map
from visloc_search.landmarks.config import NETWORK, POINTS, PreparationConfig
from visloc_search.landmarks.preparation import prepare_landmarks


@dataclass(frozen=True)
class Preparation:
    """How maps are prepared, under a ``name`` of their folder: what recognises landmarks.

    The maps of the other places are shown to a network, as images of elsewhere.
    """

    name: str = "default"
    recogniser: str = POINTS

    @property
    def is_trained(self) -> bool:
        """Whether a network is trained."""
        return self.recogniser == NETWORK


DEFAULT = Preparation()
TRAINED = Preparation("network", NETWORK)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose places, and the images searched for there."""
    parser.add_argument("--only", nargs="*", help="places: redkitchen, euroc, room, drive, painted")
    parser.add_argument("--every", type=int, default=1, help="search every n-th image only")


def chosen_places(data: Path, work: Path, only: Sequence[str] | None, default: Sequence[str] = ()) -> list[Place]:
    """Those named by ``only``, or by default; without either all."""
    names = only or default
    return [place for place in all_places(data, work) if not names or place.name in names]


def prepared_map(place: Place, places: Sequence[Place], work: Path, preparation: Preparation = DEFAULT) -> Map:
    """The map of a place, prepared if missing; ``places`` are all, of which the others are elsewhere."""
    path = prepared_path(place, work, preparation)
    if not _record(path).exists():
        _prepare(place, places, work, preparation)
    return replace(open_map(path), name=place.name)


def prepared_path(place: Place, work: Path, preparation: Preparation = DEFAULT) -> Path:
    """Where the prepared map of a place is."""
    return work / "prepared" / preparation.name / place.name


def preparation_minutes(place: Place, work: Path, preparation: Preparation = DEFAULT) -> float:
    """What it took to prepare the map of a place, which must have been done."""
    return float(read_json(_record(prepared_path(place, work, preparation)))["minutes"])


def _prepare(place: Place, places: Sequence[Place], work: Path, preparation: Preparation) -> None:
    """Prepare a copy of the plain map, with all processors."""
    maps, path = work / "maps", prepared_path(place, work, preparation)
    place.open_map(maps)
    others = [one for one in places if one.name != place.name and preparation.is_trained]
    for other in others:
        other.open_map(maps)
    if not path.exists():
        shutil.copytree(maps / place.name, path)
    start = time.monotonic()
    with all_processors():
        config = PreparationConfig(recogniser=preparation.recogniser)
        prepare_landmarks([path], config, elsewhere=[maps / other.name for other in others])
    write_json(_record(path), {"minutes": (time.monotonic() - start) / 60.0})


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


@contextmanager
def all_processors() -> Iterator[None]:
    """Let torch use all processors for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
