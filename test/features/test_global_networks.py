"""Global descriptors out of torch.hub's folder, and NetVLAD from the authors' file."""

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import GlobalConfig, make_global_descriptor

NOTHING = LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 1)), (1, 1))

# A repository as torch.hub keeps it: it reads its weights like the real ones, and tells what image it was given.
HUBCONF = """
import torch

class Toy(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([float(scale)]))

    def forward(self, image):
        assert image.shape[0] == 1 and image.shape[1] == 3
        size = torch.tensor([[image.shape[-1], image.shape[-2]]], device=image.device)
        return torch.cat((image.mean(dim=(2, 3)) * self.scale, size), dim=1)

def get_trained_model(**options):
    state = torch.hub.load_state_dict_from_url("https://example.org/weights/toy_of_a_place.pth")
    return Toy(state["scale"])
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    repository = tmp_path / "gmberton_eigenplaces_main"  # as its README writes the name, unlike the address
    repository.mkdir()
    (repository / "hubconf.py").write_text(HUBCONF)
    (tmp_path / "checkpoints").mkdir()
    torch.save({"scale": torch.tensor(1.0)}, tmp_path / "checkpoints" / "toy_of_a_place.pth")
    return tmp_path


def test_images_are_normalised_and_reduced_as_the_network_was_trained(hub):
    describer = make_global_descriptor(GlobalConfig(name="eigenplaces"))
    image = np.full((960, 1280, 3), [124, 116, 104], np.uint8)
    vector = describer.describe(image, NOTHING)
    expected = np.array([124, 116, 104]) / 255
    expected = np.append((expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], [640, 480])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)
    assert vector.dtype == np.float32


def test_grey_images_and_another_size_are_taken(hub):
    describer = make_global_descriptor(GlobalConfig(name="eigenplaces", resize_max=100))
    vector = describer.describe(np.zeros((50, 200), np.uint8), NOTHING)
    assert vector[3] / vector[4] == pytest.approx(4.0)
    assert np.linalg.norm(vector) == pytest.approx(1.0)


def test_sides_are_multiples_of_a_transformer_s_patches(hub):
    (hub / "gmberton_eigenplaces_main").rename(hub / "gmberton_MegaLoc_main")
    describer = make_global_descriptor(GlobalConfig(name="megaloc"))
    vector = describer.describe(np.zeros((480, 640), np.uint8), NOTHING)
    width, height = vector[3:] / vector[3] * 322
    assert (width, height % 14) == (322, pytest.approx(0.0, abs=1e-3))


def test_the_weights_identify_the_model(hub):
    first = make_global_descriptor(GlobalConfig(name="eigenplaces")).info
    torch.save({"scale": torch.tensor(2.0)}, hub / "checkpoints" / "toy_of_a_place.pth")
    second = make_global_descriptor(GlobalConfig(name="eigenplaces")).info
    assert (first.name, first.licence, len(first.sha256)) == ("eigenplaces", "MIT", 64)
    assert first.sha256 != second.sha256


def test_absent_weights_are_not_downloaded(hub):
    (hub / "checkpoints" / "toy_of_a_place.pth").unlink()
    with pytest.raises(ModelError, match=r"lacks https://example\.org/weights/toy_of_a_place\.pth: .*torch\.hub\.load"):
        make_global_descriptor(GlobalConfig(name="eigenplaces"))


@pytest.mark.parametrize("name", ["megaloc", "salad", "openibl"])
def test_an_absent_repository_says_how_to_get_it(hub, name):
    with pytest.raises(ModelError, match=rf"'{name}' needs the torch\.hub repository .*torch\.hub\.load\('\w+/\w+'"):
        make_global_descriptor(GlobalConfig(name=name))


def test_a_repository_has_its_own_weights(hub):
    with pytest.raises(ConfigError, match="leave the option 'weights' empty"):
        make_global_descriptor(GlobalConfig(name="eigenplaces", weights="mine.pth"))


class TestNetVlad:
    OUTPUTS = 6

    @pytest.fixture
    def weights(self, tmp_path, monkeypatch):
        """The layers of the MATLAB export that are read, with random numbers and a small whitening."""
        from visloc_ros.features.backends import netvlad

        monkeypatch.setattr(netvlad, "_OUTPUT_DIM", self.OUTPUTS)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        rng = np.random.default_rng(0)
        return tmp_path / "netvlad" / "VGG16-NetVLAD-Pitts30K.mat", matlab_layers(rng, self.OUTPUTS)

    @pytest.fixture
    def saved(self, weights):
        from scipy.io import savemat

        path, (layers, mean) = weights
        path.parent.mkdir()
        savemat(path, {"net": {"layers": layers, "meta": {"normalization": {"averageImage": mean}}}})
        return layers, mean[0, 0]

    def test_a_descriptor_is_that_of_the_definition(self, saved):
        layers, mean = saved
        describer = make_global_descriptor(GlobalConfig(name="netvlad"))
        image = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
        expected = netvlad_by_definition(image.astype(np.float64) - mean, layers)
        np.testing.assert_allclose(describer.describe(image, NOTHING), expected, atol=1e-4)
        assert describer.info.name == "netvlad"

    def test_absent_weights_name_the_command_that_fetches_them(self, weights):
        with pytest.raises(ModelError, match="run 'visloc fetch-weights netvlad'"):
            make_global_descriptor(GlobalConfig(name="netvlad"))

    def test_an_explicit_file_is_taken(self, saved, weights):
        elsewhere = weights[0].rename(weights[0].parents[1] / "mine.mat")
        assert make_global_descriptor(GlobalConfig(name="netvlad", weights=str(elsewhere))).info.name == "netvlad"

    def test_another_file_is_refused(self, weights):
        weights[0].parent.mkdir()
        weights[0].write_bytes(b"MATLAB 5.0 MAT-file" * 20)
        with pytest.raises(ModelError, match="does not hold the weights of NetVLAD"):
            make_global_descriptor(GlobalConfig(name="netvlad"))


CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
CONVOLUTIONS |= {17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}


def matlab_layers(rng, outputs):
    """Cells of structs as MATLAB writes them, and the mean image."""

    def layer(*arrays):
        weights = np.empty(len(arrays), object)
        weights[:] = [array.astype(np.float32) for array in arrays]
        return {"weights": weights}

    layers = np.empty(34, object)
    layers[:] = [{"type": "relu"}] * 34
    for index, (before, after) in CONVOLUTIONS.items():
        kernel = rng.normal(size=(3, 3, before, after)) * (2.0 / (9 * before)) ** 0.5
        layers[index] = layer(kernel, rng.normal(size=after) * 0.1)
    layers[30] = layer(rng.normal(size=(512, 64)), rng.normal(size=(512, 64)) * 0.05)
    layers[33] = layer(rng.normal(size=(1, 1, 512 * 64, outputs)), rng.normal(size=outputs))
    return layers, np.tile(rng.uniform(90, 120, 3), (4, 4, 1))


def netvlad_by_definition(image, layers):
    """NetVLAD word by word in plain numpy, on top of VGG-16 by functional torch."""
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    for index in range(29):
        if index in CONVOLUTIONS:
            kernel, bias = layers[index]["weights"]
            kernel = torch.from_numpy(kernel.transpose(3, 2, 0, 1).astype(np.float64))
            x = torch.conv2d(x, kernel, torch.from_numpy(bias.astype(np.float64)), padding=1)
        else:
            x = torch.max_pool2d(x, 2) if index in (4, 9, 16, 23) else torch.relu(x)
    local = x[0].flatten(1).T.numpy()
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    assignment, negative_centres = layers[30]["weights"]
    shares = np.exp(local @ assignment)
    shares /= shares.sum(axis=1, keepdims=True)
    words = [(shares[:, k, None] * (local + negative_centres[:, k])).sum(axis=0) for k in range(64)]
    vector = np.stack([word / np.linalg.norm(word) for word in words], axis=1).ravel()
    weight, bias = layers[33]["weights"]
    whitened = vector / np.linalg.norm(vector) @ weight[0, 0] + bias
    return whitened / np.linalg.norm(whitened)
