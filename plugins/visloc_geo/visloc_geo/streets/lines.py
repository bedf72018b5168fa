"""Streets as lines: segments between junctions, each once, put together where nothing else meets them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

import numpy as np

from visloc_ros.core.geometry import Array

Node = Hashable
Lines = list[Array]
"""Each (N, 2): latitudes and longitudes in degrees."""


def merge_segments(positions: Mapping[Node, tuple[float, float]], segments: Iterable[tuple[Node, Node]]) -> Lines:
    """Lines of the segments between nodes at (latitude, longitude): as long as possible, in a fixed order.

    A segment counts once, whatever its direction, and none leads from a node to itself.
    """
    neighbours: dict[Node, dict[Node, None]] = {}
    for first, second in segments:
        if first != second:
            neighbours.setdefault(first, {})[second] = None
            neighbours.setdefault(second, {})[first] = None
    return [np.array([positions[node] for node in chain]) for chain in _chains(neighbours)]


def _chains(neighbours: Mapping[Node, Mapping[Node, None]]) -> Iterator[list[Node]]:
    used: set[frozenset[Node]] = set()
    ends = [node for node, others in neighbours.items() if len(others) != 2]
    for start in (*ends, *neighbours):  # last, circles: they have no end
        for second in neighbours[start]:
            if frozenset((start, second)) not in used:
                yield _chain(start, second, neighbours, used)


def _chain(
    start: Node, second: Node, neighbours: Mapping[Node, Mapping[Node, None]], used: set[frozenset[Node]]
) -> list[Node]:
    """The nodes from one end by way of a neighbour to the next junction, dead end, or back to the start."""
    chain = [start, second]
    used.add(frozenset((start, second)))
    while chain[-1] != start and len(neighbours[chain[-1]]) == 2:
        (onward,) = (node for node in neighbours[chain[-1]] if node != chain[-2])
        used.add(frozenset((chain[-1], onward)))
        chain.append(onward)
    return chain
