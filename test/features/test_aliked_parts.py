"""ALIKED's own arithmetic against torch's, where the whole network would not show a difference."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visloc_ros.features.backends import aliked_network
from visloc_ros.features.backends.aliked_descriptors import sample
from visloc_ros.features.backends.aliked_network import SIZES, AlikedNetwork


@pytest.fixture(autouse=True)
def inference():
    with torch.inference_mode():
        yield


def random_map(channels, height, width, seed=0, batch=1):
    values = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=torch.channels_last)


def in_first(positions):
    """All positions are in the first image of a batch."""
    return torch.zeros(len(positions), dtype=torch.long)


def make_network(seed=0):
    """Random weights and random normalisation statistics."""
    torch.manual_seed(seed)
    network = AlikedNetwork(SIZES["aliked-n16"]).eval()
    torch.nn.init.normal_(network.desc_head.agg_weights, std=0.05)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.1)
    return network


def test_sampling_is_bilinear_and_zero_outside():
    features = random_map(5, 7, 9)
    positions = torch.from_numpy(np.random.default_rng(1).uniform(-3.0, 11.0, (400, 2)).astype(np.float32))
    grid = positions / torch.tensor([8.0, 6.0]) * 2.0 - 1.0
    expected = F.grid_sample(features, grid[None, None], align_corners=True)[0, :, 0].T
    torch.testing.assert_close(sample(features, positions, in_first(positions)), expected, atol=1e-5, rtol=0.0)


def test_sampling_a_batch_is_sampling_each_of_its_maps():
    features = random_map(5, 7, 9, batch=3)
    positions = torch.from_numpy(np.random.default_rng(1).uniform(-3.0, 11.0, (400, 2)).astype(np.float32))
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 3, 400))
    found = sample(features, positions, images)
    for index in range(3):
        own = positions[images == index]
        assert torch.equal(found[images == index], sample(features[index : index + 1], own, in_first(own)))


@pytest.mark.parametrize("batch", [1, 3])
def test_deformable_convolution_is_that_of_torchvision(batch):
    from torchvision.ops import deform_conv2d

    convolution = make_network().block3.conv1
    convolution.offset_conv.weight.mul_(20.0)  # offsets of several pixels, some beyond the border and the limit
    x = random_map(32, 14, 18, batch=batch)
    offset = convolution.offset_conv(x).clamp(-4.5, 4.5)
    assert offset.abs().max() == 4.5
    expected = deform_conv2d(x, offset, convolution.regular_conv.weight, padding=(1, 1))
    torch.testing.assert_close(convolution(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [2, 32, 50])
def test_strips_join_without_a_seam(monkeypatch, rows):
    network = make_network()
    network.fold_normalization()
    image = random_map(3, 96, 64, seed=4).abs().clamp(max=1.0)
    monkeypatch.setattr(aliked_network, "_STRIP_ROWS", {})
    whole = network._full_resolution(image)
    monkeypatch.setattr(aliked_network, "_STRIP_ROWS", {"cpu": rows})
    for one, other in zip(whole, network._full_resolution(image), strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
