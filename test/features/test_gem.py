"""GeM descriptors: files as they are published, with random weights."""

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import GlobalConfig, make_global_descriptor
from visloc_ros.features.registry import find_gem_weights

NOTHING = LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 1)), (1, 1))
IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def new_resnet():
    import torchvision

    return torchvision.models.resnet50()


@pytest.fixture(scope="module")
def state():
    """Weights of a ResNet-50 by torchvision's names, and of the layers after it."""
    torch.manual_seed(0)
    resnet = new_resnet()
    weights = {name: value for name, value in resnet.state_dict().items() if not name.startswith("fc.")}
    return weights | {"p": torch.tensor([2.5]), "weight": torch.randn(2048, 2048) / 45, "bias": torch.randn(2048) / 45}


def reference(state, normalizes_pooled):
    """The same by torchvision's network, written out."""
    resnet = new_resnet()
    resnet.load_state_dict(state, strict=False)
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    planes = (torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255.0 - mean) / deviation
    with torch.inference_mode():
        maps = torch.nn.Sequential(*list(resnet.eval().children())[:-2])(planes)
        pooled = maps.clamp(min=1e-6).pow(2.5).mean(dim=(2, 3)).pow(1 / 2.5)
        pooled = torch.nn.functional.normalize(pooled, dim=1) if normalizes_pooled else pooled
        vector = pooled @ state["weight"].T + state["bias"]
    return (vector / vector.norm())[0].numpy()


def as_cirtorch(state):
    """The names of Radenovic's files: children of the network by their places."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    renamed = {"pool.p": state["p"], "whiten.weight": state["weight"], "whiten.bias": state["bias"]}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        if first in places:
            renamed[f"features.{places[first]}.{rest}"] = value
    return {name: value for name, value in renamed.items() if "num_batches" not in name}


def as_naver(state):
    rest = {name: value for name, value in state.items() if name not in ("p", "weight", "bias")}
    return {**rest, "adpool.p": state["p"], "fc.weight": state["weight"], "fc.bias": state["bias"]}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("radenovic_gldv1", lambda state: {"meta": {"outputdim": 2048}, "state_dict": as_cirtorch(state)}),
        ("radenovic_sfm", as_cirtorch),
        ("naver", lambda state: {"state_dict": {f"module.{key}": value for key, value in as_naver(state).items()}}),
    ],
)
def test_published_files_give_the_descriptor_of_the_papers(tmp_path, state, name, published):
    torch.save(published(state), tmp_path / "weights.pth")
    describer = make_global_descriptor(GlobalConfig(name=name, weights=str(tmp_path / "weights.pth"), device="cpu"))
    vector = describer.describe(IMAGE, NOTHING)
    assert vector.shape == (2048,)
    assert vector == pytest.approx(reference(state, name != "naver"), abs=1e-5)
    assert (describer.info.name, len(describer.info.sha256)) == (name, 64)


def test_weights_of_a_backbone_are_found_in_the_folder_of_torch_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError, match=r"gl18-tl-resnet101-gem-w-a4d43db\.pth .*cmp\.felk\.cvut\.cz"):
        make_global_descriptor(GlobalConfig(name="radenovic_gldv1"))
    path = tmp_path / "checkpoints" / "gl18-tl-resnet50-gem-w-83fdc30.pth"
    path.parent.mkdir()
    path.touch()
    assert find_gem_weights("radenovic_gldv1", "resnet50conv5") == str(path)
    with pytest.raises(ConfigError, match="resnet101conv5, resnet50conv5"):
        find_gem_weights("radenovic_gldv1", "vgg16")


def test_files_that_hold_more_than_weights_are_refused_with_what_to_do(tmp_path):
    torch.save({"state_dict": {}, "pca": np.random.default_rng(0)}, tmp_path / "naver.pt")
    with pytest.raises(ModelError, match="'state_dict' alone"):
        make_global_descriptor(GlobalConfig(name="naver", weights=str(tmp_path / "naver.pt")))
