"""Features and matches that are computed once: kept in a file by what they are computed from."""

import hashlib
import pickle
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_geo.features import ImageDescriber
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.types import Matcher, Matches


class Store:
    """Values by keys in a file; a program that was stopped goes on where it was."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
        self._file.execute("CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB)")

    def __call__(self, key: str, compute: Callable[[], Any]) -> Any:
        """The value of a key, computed once."""
        row = self._file.execute("SELECT value FROM kept WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return pickle.loads(row[0])
        value = compute()
        self._file.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, pickle.dumps(value)))
        self._file.commit()
        return value


class CachedDescriber(ImageDescriber):
    """Describes images of a database's kind, each once."""

    store: Store

    def describe(self, image: Image) -> tuple[LocalFeatures, NDArray[np.float32]]:
        """Local features and the unit vector (G,) of an image."""
        described: tuple[LocalFeatures, NDArray[np.float32]] = self.store(
            f"features {_digest(image)}", lambda: super(CachedDescriber, self).describe(image)
        )
        return described


class CachedMatcher:
    """Matches pairs of images, each once."""

    def __init__(self, matcher: Matcher, store: Store) -> None:
        self._matcher, self._store = matcher, store
        self.info, self.batch_size = matcher.info, matcher.batch_size

    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches between two images."""
        key = f"matches {_digest(a.keypoints)} {_digest(b.keypoints)}"
        matches: Matches = self._store(key, lambda: self._matcher.match(a, b))
        return matches

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference, in their order."""
        return [self.match(query, reference) for reference in references]


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:32]
