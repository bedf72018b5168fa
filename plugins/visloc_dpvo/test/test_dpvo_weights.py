"""The parameters of the network, and reading them from a file as it is published."""

import pytest
import torch
from dpvo_golden import golden_network

from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.odometry import load_network
from visloc_ros.core.errors import ModelError

CPU = torch.device("cpu")
ENCODER = {
    "conv1": (32, 3, 7, 7),
    "layer1.0.conv1": (32, 32, 3, 3),
    "layer1.0.conv2": (32, 32, 3, 3),
    "layer1.1.conv1": (32, 32, 3, 3),
    "layer1.1.conv2": (32, 32, 3, 3),
    "layer2.0.conv1": (64, 32, 3, 3),
    "layer2.0.conv2": (64, 64, 3, 3),
    "layer2.0.downsample.0": (64, 32, 1, 1),
    "layer2.1.conv1": (64, 64, 3, 3),
    "layer2.1.conv2": (64, 64, 3, 3),
}
SQUARE, NORM = (384, 384), (384,)
AGGREGATION = {f"agg_{name}.{part}": SQUARE for name in ("kk", "ij") for part in "fgh"}
GATED = {"gate.0": SQUARE, "res.0": SQUARE, "res.2": SQUARE}
UPDATE = {
    **dict.fromkeys(("c1.0", "c1.2", "c2.0", "c2.2"), SQUARE),
    "norm": NORM,
    **AGGREGATION,
    "gru.0": NORM,
    **{f"gru.1.{name}": shape for name, shape in GATED.items()},
    "gru.2": NORM,
    **{f"gru.3.{name}": shape for name, shape in GATED.items()},
    "corr.0": (384, 882),
    "corr.2": SQUARE,
    "corr.3": NORM,
    "corr.5": SQUARE,
    "d.1": (2, 384),
    "w.1": (2, 384),
}
MODULES = {
    **{f"patchify.fnet.{name}": shape for name, shape in {**ENCODER, "conv2": (128, 64, 1, 1)}.items()},
    **{f"patchify.inet.{name}": shape for name, shape in {**ENCODER, "conv2": (384, 64, 1, 1)}.items()},
    **{f"update.{name}": shape for name, shape in UPDATE.items()},
}


def test_names_shapes_and_order_are_those_of_the_publication():
    expected = [
        entry for name, shape in MODULES.items() for entry in ((f"{name}.weight", shape), (f"{name}.bias", shape[:1]))
    ]
    state = PatchNetwork().state_dict()
    assert [(name, tuple(tensor.shape)) for name, tensor in state.items()] == expected
    assert len(state) == 94
    assert sum(tensor.numel() for tensor in state.values()) == 3_384_324


@pytest.fixture(scope="module")
def published():
    """A state dictionary as it was saved while training on several GPUs."""
    state = {f"module.{name}": tensor for name, tensor in golden_network().state_dict().items()}
    return {**state, "module.update.lmbda": torch.zeros(1)}


@pytest.fixture
def file(published, tmp_path):
    torch.save(published, tmp_path / "dpvo.pth")
    return tmp_path / "dpvo.pth"


def test_the_published_file_is_read(file):
    network = load_network(file, CPU)
    assert not network.training
    for name, tensor in golden_network().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_weights_are_found_in_the_cache_of_torch(file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"no weights dpvo in .*checkpoints: run 'visloc fetch-weights dpvo'"):
        load_network("", CPU)
    (tmp_path / "checkpoints").mkdir()
    file.rename(tmp_path / "checkpoints" / "dpvo.pth")
    assert sum(weight.numel() for weight in load_network("", CPU).parameters()) == 3_384_324


def test_a_missing_file_says_where_there_is_one(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pth does not exist: 'visloc fetch-weights dpvo'"):
        load_network(tmp_path / "none.pth", CPU)


def test_a_cut_off_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match="does not hold the weights of PatchNetwork"):
        load_network(file, CPU)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_every_weight_must_be_there_and_nothing_else(published, tmp_path, change):
    state = dict(published)
    if change == "missing":
        del state["module.update.d.1.bias"]
    elif change == "unknown":
        state["module.update.extra"] = torch.zeros(1)
    else:
        state["module.update.d.1.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="does not hold the weights of PatchNetwork"):
        load_network(tmp_path / "other.pth", CPU)


@torch.inference_mode()
def test_precision_is_that_of_the_products(file):
    network = load_network(file, CPU)
    image = torch.randint(0, 256, (3, 32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    exact, exact_context = network.encode(image)
    assert (exact.shape, exact_context.shape) == ((128, 8, 12), (384, 8, 12))
    network.set_precision(torch.bfloat16)
    rough, rough_context = network.encode(image)
    assert rough.dtype is rough_context.dtype is torch.bfloat16
    assert 0 < (rough - exact).abs().mean() < 0.03 * exact.abs().mean()
    assert (rough_context - exact_context).abs().mean() < 0.03 * exact_context.abs().mean()
