"""ALIKED on a GPU, captured in a CUDA graph for every shape of images that comes again."""

from __future__ import annotations

from torch import Tensor

from visloc_ros.features.backends.aliked_network import AlikedNetwork
from visloc_ros.features.backends.cuda_graph import GraphsByKey, Outputs

_MAX_GRAPHS = 16  # two image sizes in batches of one to eight


class GraphedAliked:
    """Features of images as ``AlikedNetwork.forward`` finds them; shapes that come again are captured in a graph."""

    def __init__(self, network: AlikedNetwork) -> None:
        self._network = network
        self._graphs = GraphsByKey(_MAX_GRAPHS)

    def __call__(self, images: Tensor, max_keypoints: int, threshold: float, radius: int) -> list[Outputs]:
        """Keypoints (N, 2), scores (N,) and descriptors (N, D) of each of the images (B, 3, H, W), in main memory."""

        def run(inputs: Tensor) -> Outputs:
            return self._network.describe_strongest(inputs, max_keypoints, radius)

        found = self._graphs.run((*images.shape, max_keypoints, radius), run, images)
        keep = found[1] > threshold
        return [tuple(output[image][keep[image]] for output in found) for image in range(len(images))]
