"""The data sets with a protocol, by their names on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from visloc_field import aachen, cambridge, extended_cmu, robotcar, seven_scenes, twelve_scenes
from visloc_field.scene import BenchmarkScene
from visloc_ros.core.errors import ConfigError


@dataclass(frozen=True)
class DataSet:
    """A data set: its title, and the reader of the scenes in a folder (of all where none is named).

    ``marks`` are paths in that folder, of which it holds one at least.
    """

    title: str
    read: Callable[[Path, Sequence[str]], list[BenchmarkScene]]
    marks: Sequence[str]


DATA_SETS = {
    "7scenes": DataSet(seven_scenes.TITLE, seven_scenes.read_seven_scenes, seven_scenes.MARKS),
    "12scenes": DataSet(twelve_scenes.TITLE, twelve_scenes.read_twelve_scenes, twelve_scenes.MARKS),
    "cambridge": DataSet(cambridge.TITLE, cambridge.read_cambridge, cambridge.MARKS),
    "aachen": DataSet(aachen.TITLE, aachen.read_aachen, aachen.MARKS),
    "robotcar": DataSet(robotcar.TITLE, robotcar.read_robotcar, robotcar.MARKS),
    "cmu": DataSet(extended_cmu.TITLE, extended_cmu.read_extended_cmu, extended_cmu.MARKS),
}


def find_data_set(name: str) -> DataSet:
    """The data set of a name. Raises ConfigError."""
    if name not in DATA_SETS:
        raise ConfigError(f"there is no protocol for a data set '{name}'; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name]
