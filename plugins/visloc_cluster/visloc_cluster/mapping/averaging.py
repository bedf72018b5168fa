"""Frames of all blocks from the similarities between neighbours: averaged over loops, contradictions left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from visloc_cluster.mapping.alignment import Alignment
from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.similarities import Similarities
from visloc_ros.core.similarity_graph import LinearisedGraph, SimilarityEdges

_log = logging.getLogger(__name__)

Node = tuple[int, int]
"""A model: the number of its block, its own number there."""

_LOSS_PX = 1.0  # what blocks that agree differ by
_SETTLED_PX = 1e-3
_MOST_STEPS = 200
_DAMPING = 1e-12  # of a block that hangs on the others by a few observations at one distance

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
    firsts, seconds = (np.array([places[pair[side]] for pair in own]) for side in (0, 1))
    second_from_first = Similarities.stack(*(one.first_from_second.inverse for one in own.values()))
    roots = np.array([one.tangent_root for one in own.values()])
    start_from_map = Similarities.stack(*(start[node].inverse for node in nodes))
    map_from = _least(start_from_map, SimilarityEdges(firsts, seconds, second_from_first), roots).inverse
    return {node: map_from.member(place) for place, node in enumerate(nodes)}


def _least(nodes: Similarities, edges: SimilarityEdges, roots: Array) -> Similarities:
    """The ``node_from_map`` with the least sum of Cauchy's loss over the edges, node 0 still.

    The loss begins as wide as the largest residual and is narrowed by half a step (graduated non-convexity: Blake and
    Zisserman, 1987), as loops that do not close yet are else taken for wrong ones. Each step is Gauss-Newton's with the
    edges weighted by their residuals.
    """
    graph = LinearisedGraph(edges, len(nodes), fixed=0)
    before, width_px = np.inf, np.inf
    for _ in range(_MOST_STEPS):
        residuals = edges.residuals(nodes)
        differences_px = np.einsum("nij,nj->ni", roots, residuals)
        lengths_px = np.linalg.norm(differences_px, axis=1)
        if width_px == _LOSS_PX and np.abs(differences_px - before).max() < _SETTLED_PX:
            return nodes
        before = differences_px
        width_px = max(min(width_px / 2.0, lengths_px.max()), _LOSS_PX)
        weights = 1.0 / (1.0 + np.square(lengths_px / width_px))
        step = graph.step(residuals, _DAMPING, np.sqrt(weights)[:, None, None] * roots)
        nodes = Similarities.exp(step) @ nodes
    _log.warning("the frames of %d blocks did not settle within %d steps: the map may be bent", len(nodes), _MOST_STEPS)
    return nodes


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
