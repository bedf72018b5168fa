"""The recogniser's network: shapes, what it does not depend on, and what it does."""

import numpy as np
import pytest
import torch

from visloc_search.landmarks.backends.recogniser_network import (
    NetworkShape,
    RecogniserNetwork,
    network_shape,
)
from visloc_search.landmarks.config import SIZES

SHAPE = NetworkShape(in_dim=16, num_classes=5, dim=24, heads=2, head_dim=8, layers=2)


@pytest.fixture
def network():
    return make(SHAPE)


def make(shape):
    torch.manual_seed(0)
    return RecogniserNetwork(shape).eval()


def tokens(count, batch=2, dim=16, seed=1):
    generator = torch.Generator().manual_seed(seed)
    descriptors = torch.nn.functional.normalize(torch.randn(batch, count, dim, generator=generator), dim=-1)
    return descriptors, torch.rand(batch, count, 2, generator=generator) - 0.5


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 7, 40])
def test_every_token_gets_a_logit_of_every_class(network, count):
    assert network(*tokens(count)).shape == (2, count, 5)


@torch.no_grad()
def test_filling_changes_nothing(network):
    descriptors, positions = tokens(12)
    alone = network(descriptors[:, :9], positions[:, :9])
    valid = torch.arange(12).expand(2, -1) < 9
    torch.testing.assert_close(network(descriptors, positions, valid)[:, :9], alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(descriptors, positions)[:, :9], alone, atol=1e-3)


@torch.no_grad()
def test_the_order_of_tokens_is_of_no_account(network):
    descriptors, positions = tokens(15)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        network(descriptors[:, order], positions[:, order]), network(descriptors, positions)[:, order]
    )


@torch.no_grad()
def test_only_differences_of_positions_matter(network):
    descriptors, positions = tokens(15)
    here = network(descriptors, positions)
    torch.testing.assert_close(network(descriptors, positions + torch.tensor([0.3, -0.2])), here, atol=1e-4, rtol=1e-4)
    # Turned by half a circle, every difference changes its sign, and it is another arrangement.
    assert not torch.allclose(network(descriptors, -positions), here, atol=1e-4)


@torch.no_grad()
def test_a_lone_token_has_no_position(network):
    descriptors, positions = tokens(1)
    torch.testing.assert_close(network(descriptors, positions), network(descriptors, positions * 3.0))


@pytest.mark.parametrize("size", SIZES)
def test_sizes_take_descriptors_of_any_length(size):
    shape = network_shape(size, 64, 9, prototypes=2)
    network = RecogniserNetwork(shape)
    assert network(*tokens(3, dim=64)).shape == (2, 3, 9)
    weights = sum(parameter.numel() for parameter in network.state_dict().values())
    assert 0.9 * weights < shape.least_weights < weights


@torch.no_grad()
def test_prototypes_are_compared_with_every_token():
    network = make(NetworkShape(**{**vars(SHAPE), "prototypes": 3}))
    descriptors, _ = tokens(6)
    network.prototypes[2, 1] = descriptors[0, 4]
    seen = network._input(descriptors) / np.sqrt(16)
    torch.testing.assert_close(seen[..., :16], descriptors)
    torch.testing.assert_close(seen[0, 4, 16 + 2], torch.tensor(1.0))
    assert seen.shape == (2, 6, 16 + 4)
