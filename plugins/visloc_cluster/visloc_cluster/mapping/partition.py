"""Cuts the view graph into blocks that one worker can reconstruct, neighbours of which share the images at the cut.

The graph is halved again and again where the cut is weakest for its parts' sizes: the sweep over the Fiedler vector
that has the least conductance (Shi and Malik, PAMI 2000). The vector is computed on a coarse graph, in which images
that share most are joined in pairs until few nodes are left (Karypis and Kumar, SIAM J. Sci. Comput. 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Rows = NDArray[np.intp]

_COARSE_NODES = 400  # whose eigenvectors take 0.1 s
_LEAST_SHARE = 0.3  # of a graph that either half has


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of a block's images, increasing: its ``own``, and all ``images`` with those that it shares.

    Blocks of one ``group`` were cut last of all.
    """

    own: Rows
    images: Rows
    group: int


def partition(
    count: int, pairs: NDArray[np.int64], weights: NDArray[np.int64], size: int, shared: int, grouped: int
) -> list[Block]:
    """Blocks of at most ``size`` own images of ``count``, by pairs of rows (E, 2) and their weights (E,).

    A group has at most ``grouped`` images, and one block at least.

    Of each two blocks that pairs connect, each one also gets up to ``shared`` images of the other, those of the
    heaviest pairs. Images without a pair are in none.
    """
    graph = _symmetric(count, pairs, weights)
    _, labels = connected_components(graph, directed=False)
    parts = [(np.flatnonzero(labels == label), -1) for label in np.unique(labels[np.unique(pairs)])]
    leaves: list[tuple[Rows, int]] = []
    while parts:
        rows, group = parts.pop()
        if group < 0 and len(rows) <= max(size, grouped):
            group = int(rows[0])
        if len(rows) <= size:
            leaves.append((rows, group))
            continue
        first = _first_half(csr_array(graph[rows][:, rows]))
        parts += [(rows[first], group), (rows[~first], group)]
    leaves.sort(key=lambda leaf: int(leaf[0][0]))
    return _with_shared_images(leaves, count, pairs, weights, shared)


def _symmetric(count: int, pairs: NDArray[np.int64], weights: NDArray[np.int64]) -> csr_array:
    i, j = pairs.T
    both = np.concatenate([i, j]), np.concatenate([j, i])
    return csr_array(coo_array((np.tile(weights, 2).astype(np.float64), both), shape=(count, count)))


def _first_half(graph: csr_array) -> NDArray[np.bool_]:
    """Which nodes of a graph are in the first half of its best cut."""
    sizes: NDArray[np.float64] = np.ones(graph.shape[0])
    clusters = np.arange(graph.shape[0])
    coarse = graph
    while coarse.shape[0] > _COARSE_NODES:
        joined = _join_in_pairs(coarse)
        count = int(joined.max()) + 1
        if count > 0.95 * coarse.shape[0]:
            break
        clusters, sizes = joined[clusters], np.bincount(joined, sizes, count).astype(np.float64)
        to_joined = csr_array((np.ones(len(joined)), (np.arange(len(joined)), joined)), shape=(len(joined), count))
        coarse = csr_array(to_joined.T @ coarse @ to_joined)
        coarse.setdiag(0.0)
        coarse.eliminate_zeros()
    return np.asarray(_best_cut(coarse.toarray(), sizes)[clusters])


def _join_in_pairs(graph: csr_array) -> Rows:
    """A new number for each node: the same for two that are joined, the heaviest edges first."""
    edges = coo_array(graph)
    i, j = edges.coords
    upper = i < j
    i, j, weights = i[upper], j[upper], edges.data[upper]
    mates = np.full(graph.shape[0], -1)
    for row in np.lexsort((j, i, -weights)):
        if mates[i[row]] < 0 and mates[j[row]] < 0:
            mates[i[row]], mates[j[row]] = j[row], i[row]
    lead = np.where(mates < 0, np.arange(len(mates)), np.minimum(np.arange(len(mates)), mates))
    return np.asarray(np.unique(lead, return_inverse=True)[1], dtype=np.intp)


def _best_cut(weights: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which nodes of a dense graph, of so many images each, are before the cut of the least conductance."""
    degrees = np.maximum(weights.sum(axis=1), 1e-12)
    root = 1.0 / np.sqrt(degrees)
    laplacian = np.eye(len(weights)) - root[:, None] * weights * root
    fiedler = root * eigh(laplacian, subset_by_index=[1, 1])[1][:, 0]
    order = np.argsort(fiedler * np.sign(fiedler[np.argmax(np.abs(fiedler))]), kind="stable")
    ordered = weights[np.ix_(order, order)]
    inside = 2.0 * np.cumsum([ordered[row, : row + 1].sum() for row in range(len(order))])
    volume = np.cumsum(degrees[order])
    cut = volume - inside
    conductance = cut / np.maximum(np.minimum(volume, volume[-1] - volume), 1e-12)
    share = np.cumsum(sizes[order]) / sizes.sum()
    balanced = (share >= _LEAST_SHARE) & (share <= 1.0 - _LEAST_SHARE)
    if not balanced.any():
        balanced[int(np.argmin(np.abs(share[:-1] - 0.5)))] = True
    last = int(np.argmin(np.where(balanced, conductance, np.inf)))
    before = np.zeros(len(order), bool)
    before[order[: last + 1]] = True
    return before


def _with_shared_images(
    leaves: list[tuple[Rows, int]], count: int, pairs: NDArray[np.int64], weights: NDArray[np.int64], shared: int
) -> list[Block]:
    owner = np.full(count, -1)
    for number, (rows, _) in enumerate(leaves):
        owner[rows] = number
    crossing = np.flatnonzero(owner[pairs[:, 0]] != owner[pairs[:, 1]])
    crossing = crossing[np.lexsort((crossing, -weights[crossing]))]
    lent: dict[tuple[int, int], set[int]] = {}
    for i, j in pairs[crossing]:
        for image, receiver in ((i, owner[j]), (j, owner[i])):
            images = lent.setdefault((int(owner[image]), int(receiver)), set())
            if len(images) < shared:
                images.add(int(image))
    guests: dict[int, set[int]] = {}
    for (_, receiver), images in lent.items():
        guests.setdefault(receiver, set()).update(images)
    return [
        Block(rows, np.union1d(rows, np.array(sorted(guests.get(number, ())), np.intp)).astype(np.intp), group)
        for number, (rows, group) in enumerate(leaves)
    ]
