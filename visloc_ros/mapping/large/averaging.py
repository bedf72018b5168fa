"""Frames of all blocks from the similarities between neighbours: averaged over loops, contradictions left out.

The similarities are averaged by their differences in the Lie algebra (Govindu, CVPR 2004), with a loss under which a
few wrong ones count little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import coo_array, lil_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from visloc_ros.core.geometry import Array, Sim3, rotation_matrix
from visloc_ros.mapping.large.alignment import Alignment

Node = tuple[int, int]
"""A model: the number of its block, its own number there."""

_LEAST_AGREEING = 0.5  # of the observations that two blocks share: what most of them say
_LEAST_CONTRADICTION = 0.05  # of a model's observations: fewer are those of things that hang in two places


@dataclass(frozen=True)
class BlockFrames:
    """A component of models in one frame: ``map_from_blocks``; the largest model's own frame is the map's."""

    map_from_blocks: Mapping[Node, Sim3]


def agrees(alignment: Alignment) -> bool:
    """Whether most of what two models both see agrees."""
    return alignment.agreeing >= _LEAST_AGREEING * alignment.common


def join_frames(
    sizes: Mapping[Node, int], edges: Mapping[tuple[Node, Node], Alignment], tolerance_px: float
) -> tuple[list[BlockFrames], list[Node]]:
    """Components of models that agree, and the models that contradict their neighbours.

    ``sizes`` are the models' numbers of observations. A model is left out where more of them contradict the others than
    agree with them; the worst one goes first, and the rest is averaged without it.
    """
    kept, left_out = sorted(sizes), list[Node]()
    while True:
        own = {pair: one for pair, one in edges.items() if pair[0] in kept and pair[1] in kept}
        good = {pair: one for pair, one in own.items() if agrees(one)}
        components = [BlockFrames(_average(nodes, good)) for nodes in _components(kept, good)]
        worst = _worst(components, own, sizes, tolerance_px)
        if worst is None:
            return components, left_out
        kept.remove(worst)
        left_out.append(worst)


def _components(nodes: Sequence[Node], edges: Mapping[tuple[Node, Node], Alignment]) -> list[list[Node]]:
    places = {node: place for place, node in enumerate(nodes)}
    pairs = np.array([(places[a], places[b]) for a, b in edges], np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(nodes), len(nodes)))
    count, labels = connected_components(graph, directed=False)
    return [[node for node, own in zip(nodes, labels, strict=True) if own == label] for label in range(count)]


def _average(nodes: Sequence[Node], edges: Mapping[tuple[Node, Node], Alignment]) -> dict[Node, Sim3]:
    own = {pair: one for pair, one in edges.items() if pair[0] in nodes}
    start = _along_tree(nodes, own)
    if len(own) < len(nodes):  # a tree fits without a rest
        return start
    places = {node: place for place, node in enumerate(nodes)}
    pairs = list(own)

    def moved(steps: Array) -> dict[Node, Sim3]:
        steps = np.concatenate([np.zeros(7), steps]).reshape(-1, 7)
        return {
            node: start[node] @ Sim3(float(np.exp(step[0])), rotation_matrix(step[1:4]), step[4:])
            for node, step in zip(nodes, steps, strict=True)
        }

    def residuals(steps: Array) -> Array:
        frames = moved(steps)
        return np.concatenate([own[a, b].difference_px(frames[a], frames[b]) for a, b in pairs])

    sparsity = lil_array((7 * len(pairs), 7 * len(nodes)), dtype=int)
    for row, pair in enumerate(pairs):
        for node in pair:
            sparsity[7 * row : 7 * row + 7, 7 * places[node] : 7 * places[node] + 7] = 1
    result = least_squares(
        residuals, np.zeros(7 * (len(nodes) - 1)), loss="cauchy", jac_sparsity=sparsity[:, 7:], x_scale="jac"
    )
    return moved(result.x)


def _along_tree(nodes: Sequence[Node], edges: Mapping[tuple[Node, Node], Alignment]) -> dict[Node, Sim3]:
    """Frames by the alignments with most agreeing observations, from the first node on."""
    places = {node: place for place, node in enumerate(nodes)}
    rows, columns = [places[a] for a, _ in edges], [places[b] for _, b in edges]
    weights = [1.0 / (1.0 + one.agreeing) for one in edges.values()]
    tree = minimum_spanning_tree(coo_array((weights, (rows, columns)), shape=(len(nodes), len(nodes))).tocsr())
    order, before = breadth_first_order(tree, 0, directed=False)
    frames = {nodes[0]: Sim3.identity()}
    for place in order[1:]:
        node, parent = nodes[place], nodes[before[place]]
        forth, back = edges.get((parent, node)), edges.get((node, parent))
        parent_from_node = forth.first_from_second if forth is not None else back.first_from_second.inverse  # type: ignore[union-attr]
        frames[node] = frames[parent] @ parent_from_node
    return frames


def _worst(
    components: Sequence[BlockFrames],
    edges: Mapping[tuple[Node, Node], Alignment],
    sizes: Mapping[Node, int],
    tolerance_px: float,
) -> Node | None:
    """The model that most contradicts the others, if one contradicts them more than it agrees with them."""
    map_from = {node: frame for one in components for node, frame in one.map_from_blocks.items()}
    agreeing, contradicting = dict.fromkeys(map_from, 0), dict.fromkeys(map_from, 0)
    for (a, b), edge in edges.items():
        difference_px = float(np.linalg.norm(edge.difference_px(map_from[a], map_from[b])))
        fits = agrees(edge) and difference_px <= tolerance_px
        for node in (a, b):
            agreeing[node] += edge.agreeing if fits else 0
            contradicting[node] += 0 if fits else edge.common
    wrong = [
        node
        for node in sorted(map_from)
        if contradicting[node] > max(agreeing[node], _LEAST_CONTRADICTION * sizes[node])
    ]
    return min(wrong, key=lambda node: (agreeing[node] - contradicting[node], sizes[node], node), default=None)
