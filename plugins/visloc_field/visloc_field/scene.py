"""One scene of a data set: images to map, images to find, and the thresholds for a correct pose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import pycolmap

from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.files import is_file
from visloc_ros.core.geometry import SE3

Thresholds = tuple[tuple[float, float], ...]


class ResultNames(str, Enum):
    """Names of images in result files: those that the data set's server takes, the file's alone, or with its folder."""

    server = "server"
    file = "file"
    folder = "folder"


INDOOR: Thresholds = ((0.05, 5.0),)
OUTDOOR: Thresholds = ((0.25, 2.0), (0.5, 5.0), (5.0, 10.0))
"""Metres and degrees within which a pose counts; those outdoors are of Sattler et al. 2018."""


@dataclass(frozen=True, eq=False)
class DatabaseImage:
    """An image that the map is made of: its camera and its pose are given.

    ``styles`` are files of the same view in other styles, by their tags, where the data set has them.
    """

    name: str
    path: Path
    camera: pycolmap.Camera
    map_from_camera: SE3
    styles: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class QueryImage:
    """An image to find.

    ``condition`` splits the figures, such as day and night. ``map_from_camera`` is the truth, None where only the data
    set's server has it. ``result_name`` is the image's name in the result file, None where it does not belong there.
    """

    name: str
    path: Path
    camera: pycolmap.Camera
    condition: str = ""
    map_from_camera: SE3 | None = None
    result_name: str | None = None


@dataclass(frozen=True, eq=False)
class BenchmarkScene:
    """A scene of a protocol; no image is opened before it is searched or mapped.

    ``thresholds`` are metres and degrees, ``unit`` ("cm" or "m") is that of positions in its papers, ``masks`` a folder
    of the instances that images of the database show, where the data set has them, ``missing`` the conditions whose
    images are not there. Raises SourceError where there is nothing to map or to find, or two images have one name.
    """

    name: str
    database: tuple[DatabaseImage, ...]
    queries: tuple[QueryImage, ...]
    thresholds: Thresholds
    unit: str = "cm"
    masks: Path | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.database or not self.queries:
            what = "find" if self.database else "make a map of"
            raise SourceError(f"scene '{self.name}' has no images to {what}: unpack all archives of the data set")
        _check_names(self.name, (image.name for image in self.images))
        _check_names(self.name, (query.result_name for query in self.queries if query.result_name is not None))

    @property
    def images(self) -> tuple[DatabaseImage | QueryImage, ...]:
        """All images, those of the database first."""
        return (*self.database, *self.queries)

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions in the order of the queries; empty where there is only one without a name."""
        return tuple(dict.fromkeys(query.condition for query in self.queries if query.condition))

    def thinned(self, every: int) -> BenchmarkScene:
        """The scene with every n-th image of its database."""
        return replace(self, database=self.database[::every])

    def with_result_names(self, kind: ResultNames) -> BenchmarkScene:
        """The scene with names of this kind in its result files. Raises ConfigError where two images have one name."""
        if kind is ResultNames.server:
            return self
        parts = 1 if kind is ResultNames.file else 2
        queries = tuple(
            query if query.result_name is None else replace(query, result_name="/".join(query.path.parts[-parts:]))
            for query in self.queries
        )
        names = [query.result_name for query in queries if query.result_name is not None]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"images of scene '{self.name}' have the same name in different folders: leave --result-names out"
            )
        return replace(self, queries=queries)

    def checked(self) -> BenchmarkScene:
        """The scene itself. Raises SourceError where images of its lists are missing."""
        check_files(self.name, [image.path for image in self.images])
        return self


def check_files(scene: str, paths: Sequence[Path]) -> None:
    """Raise SourceError with the number of paths that are no files, if there are any."""
    missing = [path for path in paths if not is_file(path)]
    if missing:
        raise SourceError(
            f"{len(missing)} of {len(paths)} images of scene '{scene}' are missing, {missing[0]} the first: unpack all "
            "archives of the data set in the same folder"
        )


def _check_names(scene: str, names: Iterable[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise SourceError(
            f"scene '{scene}' lists the image '{twice}' twice: remove one of the lines from its lists, or download "
            "them again"
        )
