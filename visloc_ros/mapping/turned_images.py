"""Images taken turned against those of a map, as a drone takes them that flies back: found once they are turned.

Descriptors of corners change with a turn, so that no two such images have matches. Their features are then found in the
turned image, at their places in the image as given (``LocalFeatures.quarters``): camera and pose stay those of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import LocalFeatures
from visloc_ros.features import GlobalDescriptor, Matcher
from visloc_ros.mapping.collection import FrameCollector, MapFrame
from visloc_ros.mapping.map_sources import MapSource
from visloc_ros.mapping.matching import support_loop

_log = logging.getLogger(__name__)

_PROBES, _LEAST_FOUND = 3, 2  # images of a group that are looked for, and that must be found, turned
_REFERENCES = 5  # most similar images, with which each is matched
_QUARTERS = (2, 1, 3)  # the most likely one first


@dataclass(frozen=True, eq=False)
class TurnFinder:
    """Looks for turned images among known ones, of N features and global descriptors (N, G)."""

    collector: FrameCollector
    matcher: Callable[[], Matcher]
    describer: GlobalDescriptor
    features: Sequence[LocalFeatures]
    descriptors: NDArray[np.float32]

    def turned(
        self, sources: Sequence[MapSource], frames: Sequence[MapFrame], groups: Sequence[Sequence[int]], least: int
    ) -> dict[int, MapFrame]:
        """Frames of the sources by row, turned as some of their group are found by ``least`` matches.

        A group is of rows of images that were taken together.
        """
        found = dict[int, MapFrame]()
        for group in groups:
            quarters = self._turn_of(sources, [frames[row] for row in group], least)
            if quarters:
                turned = self.collector.turned(sources, [frames[row] for row in group], quarters)
                found |= zip(group, turned, strict=True)
        return found

    def _turn_of(self, sources: Sequence[MapSource], group: Sequence[MapFrame], least: int) -> int:
        """Quarters by which some images of a group are found turned; 0 if they are not."""
        rows = np.unique(np.linspace(0, len(group) - 1, min(_PROBES, len(group))).round().astype(int)).tolist()
        for quarters in _QUARTERS:
            turned = self.collector.turned(sources, [group[row] for row in rows], quarters)
            if sum(self._is_known(frame, least) for frame in turned) >= _LEAST_FOUND:
                _log.info("%d images, such as %s, are turned by %d degrees", len(group), group[0].name, 90 * quarters)
                return quarters
        return 0

    def _is_known(self, frame: MapFrame, least: int) -> bool:
        similarity = self.descriptors @ global_descriptor_of(frame, self.describer)
        alike = [self.features[row] for row in np.argsort(-similarity, kind="stable")[:_REFERENCES].tolist()]
        matched = self.matcher().match_many(frame.features, alike)
        return any(
            support_loop(frame.features, other, one.pairs, least) for other, one in zip(alike, matched, strict=True)
        )


def global_descriptor_of(frame: MapFrame, describer: GlobalDescriptor) -> NDArray[np.float32]:
    """A frame's global descriptor (G,), made of its features where the describer was trained with the map."""
    if frame.global_descriptor is not None:
        return frame.global_descriptor
    return np.asarray(describer.describe(np.empty((0, 0), np.uint8), frame.features), np.float32)


def groups_beside(frames: Sequence[MapFrame], models: Sequence[Collection[str]]) -> list[list[int]]:
    """Rows of the frames that are not in the first of some models (names of images), by model; the rest by source.

    Smaller groups than are looked for are left out.
    """
    left = [row for row, frame in enumerate(frames) if frame.name not in models[0]]
    groups = list[list[int]]()
    for names in models[1:]:
        groups.append([row for row in left if frames[row].name in names])
        left = [row for row in left if frames[row].name not in names]
    by_source = dict[str, list[int]]()
    for row in left:
        by_source.setdefault(frames[row].source, []).append(row)
    return [group for group in (*groups, *by_source.values()) if len(group) >= _PROBES]
