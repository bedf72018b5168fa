"""Pairs chosen by tasks are those that are chosen at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from visloc_cluster.mapping.pairing import pair_tasks, unpack_pairs
from visloc_ros.execution.engine import SerialEngine
from visloc_ros.execution.store import ArtifactStore
from visloc_ros.execution.tasks import TaskRunner
from visloc_ros.mapping.builder import choose_pairs
from visloc_ros.mapping.config import PairConfig
from visloc_ros.mapping.pairs import merge_pairs, sequential_pairs


@pytest.mark.parametrize("counts", [[[40]], [[7, 7, 7, 3], [7, 0, 5], [2]], [[1] * 20, [3] * 7]])
def test_pairs_by_shards_are_those_of_all_images_at_once(counts: list[list[int]], tmp_path: Path) -> None:
    config = PairConfig(loop_gap=6, loops=2)
    sources = [f"source {number}" for number, of_source in enumerate(counts) for _ in range(sum(of_source))]
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(sources), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frames = [SimpleNamespace(source=source, map_from_camera=None) for source in sources]
    expected = choose_pairs(frames, vectors, config)  # type: ignore[arg-type]

    store, row = ArtifactStore(str(tmp_path)), 0
    described: list[list[str]] = []
    for number, of_source in enumerate(counts):
        described.append([])
        for place, count in enumerate(of_source):
            described[-1].append(f"{number}-{place}")
            store.write(described[-1][-1], {"global": vectors[row : row + count]})
            row += count
    tasks = pair_tasks(described, counts, config)
    keys = TaskRunner(SerialEngine(), store).run(tasks)
    following = [(i, j) for i, j in sequential_pairs(len(sources), config.window) if sources[i] == sources[j]]
    assert merge_pairs(following, unpack_pairs([store.read(key) for key in keys])) == expected
