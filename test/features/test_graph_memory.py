"""Graphs write every result to the same memory: results are taken from it before the next run overwrites them.

The graphs here run on a processor and share their memory as those of a GPU do; each replay spoils what others gave.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_features import textured
from torch import Tensor

from visloc_ros.features import FeatureConfig, MatcherConfig, make_extractor, make_matcher
from visloc_ros.features.backends import cuda_graph
from visloc_ros.features.backends.aliked_graph import GraphedAliked
from visloc_ros.features.backends.lightglue_batch import BatchMatcher

KEYPOINTS = 60


class DeviceTensor(torch.Tensor):
    """A tensor whose copy in main memory is a copy, as that of a GPU is."""

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.as_subclass(Tensor).clone()


class SharedMemory:
    """Stands for ``CapturedGraph``: reads and writes at the same places, and spoils what other graphs gave."""

    graphs: list[SharedMemory]

    def __init__(self, run: Any, examples: tuple[Tensor, ...]) -> None:
        self.run, self.inputs = run, tuple(example.clone() for example in examples)
        self.outputs = tuple(output.clone().as_subclass(DeviceTensor) for output in run(*self.inputs))
        self.graphs.append(self)

    @classmethod
    def of(cls, run: Any, examples: tuple[Tensor, ...], pool: Any = None) -> SharedMemory:
        return cls(run, examples)

    def replay(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        for output in (output for graph in self.graphs for output in graph.outputs):
            output.fill_(torch.nan)
        for own, found in zip(self.outputs, self.run(*self.inputs), strict=True):
            own.copy_(found)
        return self.outputs


@pytest.fixture
def shared_memory(monkeypatch: pytest.MonkeyPatch) -> type[SharedMemory]:
    monkeypatch.setattr(SharedMemory, "graphs", [], raising=False)
    monkeypatch.setattr(cuda_graph, "CapturedGraph", SharedMemory)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    return SharedMemory


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Seven different images of two shapes."""
    return [np.roll(textured(seed), 7 * seed, axis=1)[: 96 + 32 * (seed % 2), :128] for seed in range(7)]


def test_results_stay_when_graphs_run_again(shared_memory):
    graphs = cuda_graph.GraphsByKey(2)
    runs = [(key, float(number)) for number in range(4) for key in ("one", "other")]
    kept = [graphs.run(key, lambda value: (2 * value,), torch.tensor([number]))[0] for key, number in runs]
    assert len(shared_memory.graphs) == 2
    assert [one.item() for one in kept] == [2 * number for _, number in runs]


@torch.inference_mode()
def test_features_of_every_image_are_its_own(shared_memory, images):
    network = make_extractor(FeatureConfig(device="cpu", precision="float32")).network
    find = GraphedAliked(network)
    planes = [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None] / 255 for image in images]
    kept = [find(one, KEYPOINTS, 0.05, 2)[0] for one in planes]
    assert len(shared_memory.graphs) == 2
    for one, (pixels, scores, descriptors) in zip(planes, kept, strict=True):
        expected = network.describe_strongest(one, KEYPOINTS, 2)
        strong = expected[1][0] > 0.05
        assert len(scores) == strong.sum() > 0
        for found, right in zip((pixels, scores, descriptors), expected, strict=True):
            torch.testing.assert_close(found, right[0][strong])


def test_matches_of_every_batch_are_its_own(shared_memory, images):
    extractor = make_extractor(FeatureConfig(device="cpu", precision="float32", max_keypoints=KEYPOINTS))
    features = [extractor.extract(image) for image in images]
    matcher = make_matcher(MatcherConfig(device="cpu", batching="always", precision="float32"))
    batches = [(features[row], features[row + 1 : row + 4]) for row in range(4)]
    expected = [matcher.match_many(*batch) for batch in batches]
    matcher._batch = BatchMatcher(matcher.network, matcher.config.filter_threshold, on_gpu=True)
    found = [matcher.match_many(*batch) for batch in batches]
    assert shared_memory.graphs
    for batch, right in zip(found, expected, strict=True):
        for one, other in zip(batch, right, strict=True):
            np.testing.assert_array_equal(one.pairs, other.pairs)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
