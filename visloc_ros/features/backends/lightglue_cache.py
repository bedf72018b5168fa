"""What the matcher keeps of images it has seen."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import NamedTuple

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.backends.lightglue_network import Prepared


class _Entry(NamedTuple):
    features: weakref.ref[LocalFeatures]
    prepared: Prepared


class PreparedCache:
    """Prepared images, least recently used first, within a memory limit but never fewer than the newest two.

    An image is known by its features object: the features of a map live as long as the map, those of a query go with
    it, and its entry with the next one made.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, features: LocalFeatures, prepare: Callable[[LocalFeatures], Prepared]) -> Prepared:
        """The prepared image, by ``prepare`` where it is not known."""
        entry = self._entries.pop(id(features), None)
        if entry is None or entry.features() is not features:
            entry = _Entry(weakref.ref(features), prepare(features))
            self._make_room(entry.prepared.num_bytes)
        self._entries[id(features)] = entry
        return entry.prepared

    def _make_room(self, wanted: int) -> None:
        alive = {key: entry for key, entry in self._entries.items() if entry.features() is not None}
        total = wanted + sum(entry.prepared.num_bytes for entry in alive.values())
        for key in list(alive)[:-1]:
            if total <= self._max_bytes:
                break
            total -= alive.pop(key).prepared.num_bytes
        self._entries = alive
