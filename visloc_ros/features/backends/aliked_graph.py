"""ALIKED on a GPU, captured in a CUDA graph for every shape of images that comes again."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from visloc_ros.features.backends.aliked_network import AlikedNetwork
from visloc_ros.features.backends.cuda_graph import CapturedGraph, Outputs

_MAX_GRAPHS = 16  # two image sizes in batches of one to eight


class GraphedAliked:
    """Features of images as ``AlikedNetwork.forward`` finds them; shapes that come again are captured in a graph."""

    def __init__(self, network: AlikedNetwork) -> None:
        self._network = network
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[tuple[int, ...], CapturedGraph] = {}
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
            self._captured[key] = CapturedGraph.of(run, (images,), self._pool)
        return self._captured[key].replay(images)
