"""Builds a map of many images in parts; one method shows all steps, each of which is a set of tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from visloc_cluster.mapping.chosen_frames import open_recording
from visloc_cluster.mapping.contradictions import find_contradictions
from visloc_cluster.mapping.extraction import Origin, describe_tasks, extract_tasks, select_task, train_task
from visloc_cluster.mapping.frames import FrameTable, StoredFrame, full_reconstruction, list_frames
from visloc_cluster.mapping.matching import ViewGraph, group_pairs, least_matches, match_task, read_view_graph
from visloc_cluster.mapping.model import Model
from visloc_cluster.mapping.pairing import pair_tasks, unpack_pairs
from visloc_cluster.mapping.structure import Structure, TaskSizes
from visloc_cluster.mapping.written import WrittenMap
from visloc_ros.core.atomic_write import check_space
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_writer import check_output, staged_folder
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_ros.core.timing import Stopwatch
from visloc_ros.execution.engine import Engine, SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import Task, TaskRunner
from visloc_ros.features import GlobalDescriptor, Vlad
from visloc_ros.mapping.builder import (
    LEAST_BYTES_AN_IMAGE,
    MapBuilder,
    Material,
    check_enough,
    choose_pairs,
    following_pairs,
)
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import MappingConfig, check_frame_config
from visloc_ros.mapping.map_sources import MapSource, TimeSpan, check_shared_references, label_sources
from visloc_ros.mapping.pairs import Pair, merge_pairs
from visloc_ros.mapping.parts import part_folders
from visloc_ros.mapping.recordings import Recording
from visloc_ros.mapping.summary import MapSummary

_log = logging.getLogger(__name__)


def build_large_map(
    recordings: Sequence[Recording],
    output: Path,
    config: MappingConfig | None = None,
    *,
    work: str,
    engine: Engine | None = None,
    sizes: TaskSizes | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MapSummary:
    """Build one map of recordings in parts, whose results are kept in ``work``: a folder or address all workers reach.

    A build that was ended continues where it stopped. One whose maps are there, unchanged, and would be made again of
    the same (options, content of the recordings, weights, code, versions of packages) gives its summary, also with
    ``overwrite``. Raises as ``build_map`` does, OutputError where a result was lost or is damaged, and what the engine
    raises.
    """
    config, sizes = config or MappingConfig(), sizes or TaskSizes()
    origins, sources = _open(recordings)
    measurements = [source.measurements for source in sources]
    check_frame_config(config.frame, any(source.references is not None for source in sources), measurements)
    store = ArtifactStore(work)
    builder = LargeMapBuilder(config, sizes, engine or SerialEngine(), store, progress or SilentProgress())
    origin_values = [one.to_mapping() for one in origins]
    arguments = {"origins": origin_values, "config": config.to_mapping(), "models": builder.weights, **asdict(sizes)}
    written = WrittenMap(store, output, build_large_map, arguments)
    if (known := written.summary()) is not None:
        _log.info("%s is finished: nothing is left to do", output)
        return known
    check_output(output, overwrite=overwrite)
    with changing(output):
        material, models = builder.reconstruct(origins, sources)
        with (
            staged_folder(output, overwrite=overwrite) as folder,
            part_folders(output, overwrite=overwrite) as new_part,
        ):
            check_space(folder, LEAST_BYTES_AN_IMAGE * len(material.frames))
            full = [Component(full_reconstruction(model, builder.frames)) for model in models]
            summary = builder.finisher.finish(material, full, folder, output.resolve().name, new_part)
        written.note(summary)
    return summary


@dataclass(frozen=True, eq=False)
class _Matched:
    """The view graph and the keys of the matching tasks that made it."""

    graph: ViewGraph
    keys: Sequence[str]


class LargeMapBuilder:
    """Holds the options, the engine and the store of a build."""

    def __init__(
        self, config: MappingConfig, sizes: TaskSizes, engine: Engine, store: ArtifactStore, progress: Progress
    ) -> None:
        self._config = config
        self._sizes = sizes
        self._store = store
        self._runner = TaskRunner(engine, store, progress)
        self._watch = Stopwatch()
        self.frames: Sequence[StoredFrame] = ()
        self.finisher = MapBuilder(config, progress, self._watch)
        infos = self.finisher.model_infos
        if self.finisher.describer is not None:
            infos["global"] = self.finisher.describer.info
        self.weights = {role: info.sha256 for role, info in infos.items()}
        """Checksums of the models that do not depend on the images."""

    def reconstruct(self, origins: Sequence[Origin], sources: Sequence[MapSource]) -> tuple[Material, list[Model]]:
        """Find poses and points of the sources' frames: the largest model first, others of what was not joined with it.

        Raises MapError when no map can be made of them.
        """
        selected = self._run([select_task(origin, self._config) for origin in origins])
        chosen = self._count_chosen(sources, selected)
        shards = [self._extract(origin, key) for origin, key in zip(origins, selected, strict=True)]
        described, describer = self._describe(shards)
        table = list_frames(self._store, sources, shards, described)
        check_enough(table.frames)
        self.frames = table.frames
        structure = Structure(self._config.reconstruction, self._sizes, table, self._store, self._run)
        pairs = self._pair(table, described, at_poses=structure.poses is not None)
        matched = self._match(table, pairs, verified=structure.poses is None)
        models = structure.solve(matched.graph, matched.keys)
        warnings = list[str]()
        if structure.poses is None:
            warnings = find_contradictions(models[0], matched.graph, table.frames, self._config.pairs.window)
        return Material(sources, chosen, table.frames, describer, table.descriptors, warnings), models

    def _run(self, tasks: Sequence[Task]) -> list[str]:
        if not tasks:
            return []
        with self._watch(tasks[0].stage.name):
            return self._runner.run(tasks)

    def _count_chosen(self, sources: Sequence[MapSource], selected: Sequence[str]) -> list[range]:
        """As many rows as frames were chosen of each source. Raises ConfigError on references of another one."""
        results = [self._store.read(key) for key in selected]
        spans = [TimeSpan(*map(int, one["span_ns"])) for one in results]
        check_shared_references(sources, spans)
        return [range(len(one["names"])) for one in results]

    def _extract(self, origin: Origin, selected: str) -> list[str]:
        chosen = self._store.read(selected)
        weights = {role: sha256 for role, sha256 in self.weights.items() if role != "matcher"}
        return self._run(extract_tasks(origin, self._config, weights, chosen, self._sizes.shard))

    def _describe(self, shards: Sequence[Sequence[str]]) -> tuple[list[list[str]], GlobalDescriptor]:
        every = [key for keys in shards for key in keys]
        describer, codebook = self.finisher.describer, list[str]()
        if describer is None:
            codebook = self._run([train_task(self._config, every)] if every else [])
            describer = Vlad(self._store.read(codebook[0])["centroids"])
        described = iter(self._run(describe_tasks(every, codebook)))
        return [[next(described) for _ in keys] for keys in shards], describer

    def _pair(self, table: FrameTable, described: Sequence[Sequence[str]], *, at_poses: bool) -> list[Pair]:
        """The pairs of ``choose_pairs``: by the views where all poses are known, else by tasks."""
        if at_poses:
            with self._watch("pairs"):
                return choose_pairs(table.frames, table.descriptors, self._config.pairs)
        keys = self._run(pair_tasks(described, table.counts, self._config.pairs))
        alike = unpack_pairs([self._store.read(key) for key in keys])
        return merge_pairs(following_pairs([frame.source for frame in table.frames], self._config.pairs.window), alike)

    def _match(self, table: FrameTable, pairs: Sequence[Pair], *, verified: bool) -> _Matched:
        least = [0] * len(pairs)
        if verified:
            least = least_matches(pairs, [frame.source for frame in table.frames], self._config.pairs)
        groups = group_pairs(pairs, table.places, self._sizes.pairs)
        tasks = [
            match_task(
                [pairs[row] for row in group],
                [least[row] for row in group],
                table.places,
                table.shards,
                self._config,
                {"matcher": self.weights["matcher"]},
                verified=verified,
            )
            for group in groups
        ]
        keys = self._run(tasks)
        return _Matched(read_view_graph(self._store, keys, groups, pairs), keys)


def _open(recordings: Sequence[Recording]) -> tuple[list[Origin], list[MapSource]]:
    fingerprints = [recording.fingerprint() for recording in recordings]
    opened = [open_recording(*one) for one in zip(recordings, fingerprints, strict=True)]
    sources = label_sources([source.frames for source in opened], [source.references for source in opened])
    origins = [Origin(*one) for one in zip(recordings, fingerprints, (source.label for source in sources), strict=True)]
    return origins, sources
