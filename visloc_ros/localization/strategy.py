"""The interface of a way of searching: one object, found by its name, and the searchers that it makes of maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.config import Config
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map
from visloc_ros.core.progress import Progress
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.view_change import ViewOverlap
from visloc_ros.sources import FrameSource


@dataclass(frozen=True, eq=False)
class OpenedMaps:
    """Searchers of maps, in their order, and their ranking: None where only a search can distinguish them."""

    searchers: Sequence[Searcher]
    ranking: MapRanking | None = None


@dataclass(frozen=True, eq=False)
class Examples:
    """Sources that a preparation may learn from besides the maps.

    ``frames`` show the place of a single map, ``elsewhere`` are maps of other places, ``texts`` is a file of embeddings
    of the texts in images. ``masks`` is a folder of the instances that map images show, by the images' names as PNG;
    ``styles`` are files of the same views in other styles, by image name, which of several maps begins with that of the
    map and a slash.
    """

    frames: FrameSource | None = None
    elsewhere: Sequence[Path] = ()
    texts: Path | None = None
    masks: Path | None = None
    styles: Mapping[str, Sequence[Path]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """The result of a preparation: ``figures`` for the map's manifest, and the same in ``words``."""

    path: Path
    figures: Mapping[str, Any]
    words: str


NOTHING_ELSE = Examples()


class SearchStrategy(ABC):
    """Searches maps in one way; an entry point of the group ``visloc_ros.search`` names an object of such a class.

    ``preparation`` is the type of the options by which it prepares a map, None where it searches maps as they are
    built; what it prepares is in a folder of its ``name`` in the map. ``options`` of the search itself, where there are
    any besides those of ``AnchorConfig``, are read as ``anchor.<name>``.
    """

    name: ClassVar[str]
    preparation: ClassVar[type[Config] | None] = None
    options: ClassVar[type[Config] | None] = None

    @abstractmethod
    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map; they share models.

        Raises MapError where a map lacks what the search needs, ModelError where a model cannot be loaded.
        """

    def can_search(self, manifest: Manifest) -> bool:
        """Whether a whole map has what the search needs."""
        return self.preparation is None or self.name in manifest.prepared

    def prepare(
        self, maps: Sequence[Path], options: Any, progress: Progress, examples: Examples = NOTHING_ELSE
    ) -> list[PreparedMap]:
        """Write into maps what the search needs; ``options`` are of the type ``preparation``.

        The maps stay as they are until all is done. Raises ConfigError, MapError, OutputError.
        """
        raise ConfigError(f"there is nothing to prepare for '{self.name}': it searches maps as they are built")

    def prepares_together(self, options: Any) -> bool:
        """Whether maps that are prepared together share something, as a network; others can be prepared at once."""
        return False

    def is_prepared(self, manifests: Sequence[Manifest]) -> bool:
        """Whether maps that are searched together are prepared already."""
        return all(self.can_search(manifest) for manifest in manifests)

    def prepared_map(self, map_: Map) -> Map:
        """The prepared points and images of a map, which a map reduced to this search keeps.

        Raises MapError where they are missing, broken or of another version of the map.
        """
        raise MapError(f"the search by '{self.name}' needs the whole map '{map_.name}'")

    @property
    def can_reduce(self) -> bool:
        """Whether the search needs nothing of a map but what it prepares."""
        return type(self).prepared_map is not SearchStrategy.prepared_map

    def labelled_map(self, map_: Map) -> Map | None:
        """The prepared points of a map with their labels, to be shown; None where the search labels none.

        Raises MapError where they are broken or of another version of the map.
        """
        return None


class Searcher(Protocol):
    """Gathers evidence of an image's place in a map; made once for a map, then called for every image."""

    @property
    def map(self) -> Map:
        """The map that is searched, or the one made of it, in the same frame. Evidence refers to its rows."""
        ...

    @property
    def overlap(self) -> ViewOverlap:
        """Which images of ``map`` a predicted pose would see."""
        ...

    @property
    def matcher(self) -> Matcher:
        """The matcher of the keypoints of two images."""
        ...

    @property
    def min_similarity(self) -> float:
        """Least dot product of the unit descriptors of a keypoint and of the point that it shows."""
        ...

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence, at least once; each next one is gathered only if those before do not determine the pose.

        ``prior`` is a predicted ``map_from_camera``. The last evidence decides about the image.
        """
        ...


class MapRanking(Protocol):
    """Ranks quickly which of several maps an image may show."""

    def votes(self, query: Query) -> Array:
        """The votes for each map (M,)."""
        ...

    def rivals(self, query: Query, found: int) -> list[int]:
        """Rows of the other maps that may show the same as the one that is found."""
        ...

    def log_likelihood(self, query: Query, row: int, landmarks: NDArray[np.int32]) -> float:
        """Logarithm of how well these landmarks (N,) of a map, or its best where none is given, go with a text."""
        ...
