"""The views of a database that look like a query: by descriptor, with a prior of the position where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from visloc_geo.config import GeoConfig
from visloc_geo.diffusion import diffused_scores
from visloc_geo.solving.types import Tag
from visloc_ros.core.geometry import Array

_MOST_OF_PANORAMA = 2  # views of one panorama share their centre: more of them add no parallax
_MOST_SIGMAS = 4.0  # farther away is hardly ever right, even where the errors of satellites have long tails
_RERANKED = 500  # views at most: 0.1 s, however large the database
_LARGEST_PLACE_M = 100.0  # a chain of near views can be a whole street


@dataclass(frozen=True, eq=False)
class Place:
    """Views that stand together: their rows, best first, and the sum of their scores."""

    rows: tuple[int, ...]
    score: float


@dataclass(frozen=True, eq=False)
class ViewIndex:
    """What retrieval knows of N views.

    ``descriptors`` (N, D) float32 are unit rows, ``positions`` (N, 2) metres east and north with their standard
    deviations ``sigmas`` (N,), ``panoramas`` the panorama that each view is cut from, or None.
    """

    descriptors: NDArray[np.float32]
    positions: Array
    sigmas: Array
    panoramas: Sequence[str | None]

    @staticmethod
    def of_tags(descriptors: NDArray[np.float32], tags: Sequence[Tag], panoramas: Sequence[str | None]) -> ViewIndex:
        """The index of views with these tags, each of which has a position."""
        positions = np.array([tag.position for tag in tags])[:, :2]
        return ViewIndex(descriptors, positions, np.array([tag.position_sigma_m for tag in tags]), panoramas)

    def search(self, query: NDArray[np.float32], config: GeoConfig, prior: Tag | None = None) -> list[int]:
        """Rows of views that look like the query (D,), best first.

        With the position of a ``prior``, half of the views are the most similar ones near it; the other half are sought
        everywhere, so that a wrong prior forces no answer.
        """
        ranked = self.rank(query, config)
        if prior is None or prior.position is None:
            return self._diverse(ranked, config.num_candidates)
        near = self._near(prior.position[:2], prior.position_sigma_m)
        by_prior = [row for row in np.argsort(-(self.descriptors @ query), kind="stable") if near[row]]
        mixed = chain.from_iterable(zip_longest(by_prior[: config.num_candidates // 2], ranked))
        return self._diverse(dict.fromkeys(row for row in mixed if row is not None), config.num_candidates)

    def _near(self, position: Array, sigma: float) -> NDArray[np.bool_]:
        distances = np.linalg.norm(self.positions - position, axis=1)
        return np.asarray(distances <= _MOST_SIGMAS * np.hypot(sigma, self.sigmas) + _LARGEST_PLACE_M)

    def rank(self, query: NDArray[np.float32], config: GeoConfig) -> list[int]:
        """Rows similar to the query (D,), best first; of more than 500 the most similar ones."""
        similarity = self.descriptors @ query
        best = np.argsort(-similarity, kind="stable")[:_RERANKED]
        best = best[similarity[best] > 0.0]
        if config.rerank and len(best) > 2:
            best = best[self._order_by_diffusion(query, best, config)]
        return [int(row) for row in best]

    def _order_by_diffusion(
        self, query: NDArray[np.float32], rows: NDArray[np.int64], config: GeoConfig
    ) -> NDArray[np.int64]:
        items = np.vstack([query, self.descriptors[rows]]).astype(np.float64)
        half = len(items) // 2  # with more neighbours than that, everything is like everything
        scores = diffused_scores(items @ items.T, min(3 * config.k, half), min(config.k, half))
        return np.argsort(-scores, kind="stable")

    def _diverse(self, rows: Iterable[int], count: int) -> list[int]:
        taken: dict[str, int] = {}
        chosen: list[int] = []
        for row in rows:
            panorama = self.panoramas[row]
            if panorama is not None:
                taken[panorama] = taken.get(panorama, 0) + 1
                if taken[panorama] > _MOST_OF_PANORAMA:
                    continue
            chosen.append(int(row))
            if len(chosen) == count:
                break
        return chosen


def places(rows: Sequence[int], scores: Sequence[float], positions: Array, config: GeoConfig) -> list[Place]:
    """Rows with their scores as places whose views stand within ``cameras_distance_thr`` of the next; best place first.

    No place is larger than 100 m, and none has more than ``k`` views.
    """
    score_of = dict(zip(rows, scores, strict=True))
    left = sorted(rows, key=lambda row: -score_of[row])
    found = []
    while left:
        labels = _components(positions[left], config.cameras_distance_thr)
        together = [row for row, label in zip(left, labels, strict=True) if label == labels[0]]
        chosen: list[int] = []
        for row in together:
            if all(np.linalg.norm(positions[chosen] - positions[row], axis=1) <= _LARGEST_PLACE_M):
                chosen.append(row)
        left = [row for row in left if row not in set(chosen)]
        best = tuple(chosen[: config.k])
        found.append(Place(best, sum(score_of[row] for row in best)))
    return sorted(found, key=lambda place: -place.score)


def _components(positions: Array, radius_m: float) -> NDArray[np.int32]:
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    return np.asarray(connected_components(csr_array(apart <= radius_m), directed=False)[1])
