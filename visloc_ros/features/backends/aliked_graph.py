"""ALIKED on a GPU, where its small kernels take longer to launch than to run: a CUDA graph launches all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visloc_ros.features.backends.aliked_network import AlikedNetwork

Outputs = tuple[Tensor, ...]
_WARM_UP_RUNS = 3  # libraries choose their kernels and take their memory in the first ones
_MAX_GRAPHS = 16  # two image sizes in batches of one to eight


class GraphedAliked:
    """Features of images as ``AlikedNetwork.forward`` finds them; shapes that come again are captured in a graph."""

    def __init__(self, network: AlikedNetwork) -> None:
        self._network = network
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[tuple[int, ...], _Capture] = {}
        self._seen: set[tuple[int, ...]] = set()
        self._lock = threading.Lock()  # graphs share their memory, and so would threads

    def __call__(self, images: Tensor, max_keypoints: int, threshold: float, radius: int) -> list[Outputs]:
        """Keypoints (N, 2), scores (N,) and descriptors (N, D) of each of the images (B, 3, H, W), in main memory."""
        key = (*images.shape, max_keypoints, radius)
        with self._lock:
            outputs = self._outputs(key, images, max_keypoints, radius)
            found = [output.cpu() for output in outputs]
        keep = found[1] > threshold
        return [tuple(output[image][keep[image]] for output in found) for image in range(len(images))]

    def _outputs(self, key: tuple[int, ...], images: Tensor, max_keypoints: int, radius: int) -> Outputs:
        def run(inputs: Tensor) -> Outputs:
            return self._network.describe_strongest(inputs, max_keypoints, radius)

        if key not in self._captured:
            if key not in self._seen or len(self._captured) >= _MAX_GRAPHS:
                self._seen.add(key)
                return run(images)
            self._captured[key] = _Capture.of(run, images, self._pool)
        return self._captured[key].replay(images)


@dataclass(frozen=True)
class _Capture:
    """A graph, and the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    outputs: Outputs

    @staticmethod
    def of(run: Callable[[Tensor], Outputs], example: Tensor, pool: Any) -> _Capture:
        """Capture what ``run`` does with images of this shape; graphs of one memory pool must not run side by side."""
        inputs = example.clone(memory_format=torch.contiguous_format)
        stream: Any = torch.cuda.Stream(example.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(example.device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                run(inputs)
        torch.cuda.current_stream(example.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):  # other threads go on meanwhile
            outputs = run(inputs)
        return _Capture(graph, inputs, outputs)

    def replay(self, images: Tensor) -> Outputs:
        self.inputs.copy_(images)
        self.graph.replay()
        return self.outputs
