"""From verified pairs to models of the whole: blocks, their frames, one joined and adjusted model of each component."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from visloc_cluster.mapping.adjustment import Moving, adjust_task
from visloc_cluster.mapping.alignment import Alignment, align_task, read_alignments
from visloc_cluster.mapping.averaging import BlockFrames, Node, join_frames
from visloc_cluster.mapping.blocks import block_task, read_models
from visloc_cluster.mapping.division import Registered, colour, divide, middle_parameters
from visloc_cluster.mapping.frames import FrameTable
from visloc_cluster.mapping.joining import join, join_task
from visloc_cluster.mapping.matching import ViewGraph
from visloc_cluster.mapping.model import Model
from visloc_cluster.mapping.partition import Block, partition
from visloc_cluster.mapping.pieces import Piece, all_agreeing, neighbours
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Task
from visloc_ros.mapping.config import ReconstructionConfig

_log = logging.getLogger(__name__)

_TOLERANCE_FACTOR = 2.0  # of a point's reprojection error: each of two blocks may err by one
_ROUNDS = 3
_LEAST_PART = 10  # images of a part, as COLMAP's mapper has it for models beside the first


@dataclass(frozen=True)
class TaskSizes:
    """Images of a shard, pairs of a matching task, own images of a block, images that one block lends another.

    A model of more than ``joint`` images is adjusted in pieces of as many at most.
    """

    shard: int = 64
    pairs: int = 512
    block: int = 150
    shared: int = 20
    joint: int = 500


class Structure:
    """Structure from motion of all frames of a table by tasks; ``run`` runs those of one stage and gives their keys."""

    def __init__(
        self,
        config: ReconstructionConfig,
        sizes: TaskSizes,
        table: FrameTable,
        store: ArtifactStore,
        run: Callable[[Sequence[Task]], list[str]],
    ) -> None:
        self._config = config
        self._sizes = sizes
        self._table = table
        self._store = store
        self._run = run

    @cached_property
    def poses(self) -> list[SE3] | None:
        """Reference poses of all frames, where points are to be triangulated at them.

        Raises ConfigError where only some have one.
        """
        known = [frame.map_from_camera for frame in self._table.frames if frame.map_from_camera is not None]
        if not known or self._config.reference != "fixed":
            return None
        if len(known) < len(self._table.frames):
            raise ConfigError(
                "a build in parts takes reference poses of all sources or of none: set reconstruction.reference to "
                "aligned, or add the other sources afterwards (--add-to)"
            )
        return known

    def solve(self, graph: ViewGraph, matches: Sequence[str]) -> list[Model]:
        """The models, that of most images first; ``matches`` are the keys of the tasks that made the graph.

        Raises MapError when there is none.
        """
        table = self._table
        sizes = self._sizes
        blocks = partition(len(table.frames), graph.pairs, graph.inliers, sizes.block, sizes.shared, sizes.joint)
        numbers, shards = table.camera_numbers, table.shards
        results = self._run(
            [block_task(one, graph, table.places, numbers, shards, matches, self._config, self.poses) for one in blocks]
        )
        registered = self._read_registered(results)
        components = self._find_frames(blocks, results, registered)
        models = [self._model_of(component, blocks, results, registered) for component in components]
        return sorted(models, key=lambda model: -len(model.images))

    def _model_of(
        self,
        component: BlockFrames,
        blocks: Sequence[Block],
        results: Sequence[str],
        registered: Mapping[Node, Registered],
    ) -> Model:
        """The adjusted model of a component, of which only this process holds all."""
        nodes = component.map_from_blocks
        parameters = middle_parameters(registered[node] for node in nodes)
        shares = divide(nodes, registered, blocks)
        keys = self._run([join_task(share, component, parameters, results) for share in shares])
        keys = self._adjust(keys)
        pieces = all_agreeing([Piece.from_arrays(self._store.read(key)) for key in keys])
        return join([piece.model for piece in pieces])

    def _adjust(self, pieces: list[str]) -> list[str]:
        """Adjust one piece as a whole, several in rounds, in which a set of them moves and the rest is still."""
        near = neighbours(Piece.from_arrays(self._store.read(key)) for key in pieces)

        def task(number: int, moving: Moving) -> Task:
            others = [pieces[other] for other in near[number]]
            return adjust_task(pieces[number], others, self._table.cameras, self._config, moving)

        if self.poses is None and len(pieces) == 1:
            return self._run([task(0, "all")])
        for numbers in _ROUNDS * colour(near) if self.poses is None else ():
            adjusted = self._run([task(number, "own") for number in numbers])
            for number, key in zip(numbers, adjusted, strict=True):
                pieces[number] = key
        return self._run([task(number, "points") for number in range(len(pieces))])

    def _read_registered(self, results: Sequence[str]) -> dict[Node, Registered]:
        """What is registered in the blocks' models. Raises MapError where there is none."""
        found = {
            (block, number): Registered.of(model)
            for block, key in enumerate(results)
            for number, model in enumerate(read_models(self._store.read(key)))
        }
        if not found:
            raise MapError(
                "no two images could be joined into a map: film slowly, sideways rather than turning on the spot, "
                "with plenty of texture in view"
            )
        return found

    def _find_frames(
        self, blocks: Sequence[Block], results: Sequence[str], registered: Mapping[Node, Registered]
    ) -> list[BlockFrames]:
        """The frames of the blocks' models, by the images that these share."""
        if self.poses is not None:
            return [BlockFrames(dict.fromkeys(registered, Sim3.identity()))]
        tolerance_px = _TOLERANCE_FACTOR * self._config.max_reprojection_error_px
        sizes = {node: int(one.counts.sum()) for node, one in registered.items()}
        components, left_out = join_frames(sizes, self._align(blocks, results, tolerance_px), tolerance_px)
        for block, number in left_out:
            self._report(read_models(self._store.read(results[block]))[number])
        counts = [
            len(np.unique(np.concatenate([registered[node].images for node in one.map_from_blocks])))
            for one in components
        ]
        return [one for one, count in zip(components, counts, strict=True) if count >= min(_LEAST_PART, max(counts))]

    def _align(
        self, blocks: Sequence[Block], results: Sequence[str], tolerance_px: float
    ) -> Mapping[tuple[Node, Node], Alignment]:
        focal_px = [float(camera.intrinsics.mean_focal_length()) for camera in self._table.cameras]
        pairs = neighbouring_blocks(blocks)
        tasks = [align_task((results[a], results[b]), focal_px, tolerance_px) for a, b in pairs]
        found: dict[tuple[Node, Node], Alignment] = {}
        for (a, b), key in zip(pairs, self._run(tasks), strict=True):
            for (i, j), alignment in read_alignments(self._store.read(key)).items():
                found[(a, i), (b, j)] = alignment
        return found

    def _report(self, model: Model) -> None:
        first, last = (self._table.frames[row].name for row in (model.images[0], model.images[-1]))
        _log.warning(
            "%d images, among them those from '%s' to '%s', are left out: their reconstruction contradicts those of "
            "the images around them",
            len(model.images),
            first,
            last,
        )  # fmt: skip


def neighbouring_blocks(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """Numbers of blocks that share images, the smaller one first."""
    images = np.concatenate([block.images for block in blocks])
    numbers = np.concatenate([np.full(len(block.images), number) for number, block in enumerate(blocks)])
    order = np.lexsort((numbers, images))
    pairs = set[tuple[int, int]]()
    for group in np.split(numbers[order], np.flatnonzero(np.diff(images[order])) + 1):
        pairs.update((int(a), int(b)) for place, a in enumerate(group) for b in group[place + 1 :])
    return sorted(pairs)
