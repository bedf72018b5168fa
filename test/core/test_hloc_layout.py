"""A folder of stock hloc opens as it is; where its names leave a choice, it is refused with what to do."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pycolmap
import pytest
from hloc_folder import in_subfolder, write_features, write_global, write_hloc_folder

from visloc_ros.core.errors import MapError
from visloc_ros.core.hloc_layout import EXTRACTOR_OF_OUTPUT, features_file_name
from visloc_ros.core.map import NO_POINT, open_map


@pytest.fixture
def folder(parts, tmp_path):
    return write_hloc_folder(tmp_path / "outputs", parts)


def with_other_keypoints(features):
    """As many keypoints at other places, as another extractor with the same limit finds them."""
    return {name: replace(one, keypoints=one.keypoints[::-1].copy()) for name, one in features.items()}


class TestWhatOpens:
    def test_images_points_and_features(self, parts, folder):
        opened = open_map(folder)
        assert len(opened.images) == 6
        for image in opened.images:
            features = parts[1][image.name]
            assert np.allclose(image.features.keypoints, features.keypoints, atol=0.26)  # half precision above 512
            assert np.allclose(image.features.scores, features.scores, atol=1e-3)
            assert image.features.descriptors.shape == features.descriptors.shape
            seen = image.point_rows != NO_POINT
            pixels = image.camera.img_from_cam(image.map_from_camera.inverse @ opened.points[image.point_rows[seen]])
            assert np.abs(pixels - image.features.keypoints[seen]).max() < 0.3

    def test_what_it_says_about_itself(self, folder):
        manifest = open_map(folder).manifest
        assert manifest.name == "outputs"
        assert manifest.models["extractor"].name == "aliked-n16"
        assert manifest.models["global"].name == "hloc:netvlad"
        assert not manifest.metric

    def test_names_with_folders(self, parts, tmp_path):
        opened = open_map(write_hloc_folder(tmp_path / "outputs", in_subfolder(parts)))
        assert all(image.name.startswith("db/") for image in opened.images)

    def test_scores_by_either_name(self, parts, folder):
        write_features(folder / "feats-aliked-n16.h5", parts[1], scores="scores")
        image = open_map(folder).images[0]
        assert np.allclose(image.features.scores, parts[1][image.name].scores, atol=1e-3)

    def test_a_text_model(self, parts, tmp_path):
        from_text = open_map(write_hloc_folder(tmp_path / "text", parts, text=True))
        from_binary = open_map(write_hloc_folder(tmp_path / "binary", parts))
        assert np.allclose(np.sort(from_text.points, axis=0), np.sort(from_binary.points, axis=0))
        for a, b in zip(from_text.images, from_binary.images, strict=True):
            assert a.name == b.name
            assert np.allclose(a.map_from_camera.matrix, b.map_from_camera.matrix)
            assert np.array_equal(a.point_rows != NO_POINT, b.point_rows != NO_POINT)

    def test_no_global_descriptors(self, folder):
        (folder / "global-feats-netvlad.h5").unlink()
        opened = open_map(folder)
        assert opened.global_descriptors.size == 0
        assert "global" not in opened.manifest.models

    @pytest.mark.parametrize("model", ["sfm", "sfm_superpoint+superglue", "sfm/models/0", "."])
    def test_the_model_at_any_depth(self, parts, tmp_path, model):
        assert len(open_map(write_hloc_folder(tmp_path / "outputs", parts, model=model)).images) == 6

    def test_parts_that_the_mapper_left_inside_the_model_are_passed_over(self, parts, folder):
        lesser = folder / "sfm_aliked+lightglue" / "models" / "1"
        lesser.mkdir(parents=True)
        parts[0].write_binary(lesser)
        assert len(open_map(folder).images) == 6

    @pytest.mark.parametrize(("conf", "extractor"), sorted(EXTRACTOR_OF_OUTPUT.items()))
    def test_the_conf_of_the_file_names_the_extractor(self, parts, folder, conf, extractor):
        (folder / "feats-aliked-n16.h5").rename(folder / f"feats-{conf}.h5")
        assert open_map(folder).manifest.models["extractor"].name == extractor

    def test_files_of_the_notebook_are_named_by_hand(self, folder):
        """hloc's demo writes features.h5 and matches.h5, which say nothing about the extractor."""
        (folder / "feats-aliked-n16.h5").rename(folder / "features.h5")
        (folder / "global-feats-netvlad.h5").unlink()
        assert open_map(folder, extractor="disk").manifest.models["extractor"].name == "disk"
        with pytest.raises(MapError, match=r"features\.h5.*import-hloc.*--extractor"):
            open_map(folder)

    def test_a_list_called_images_is_no_model(self, folder):
        (folder / "lists").mkdir()
        (folder / "lists" / "images.txt").write_text("db/1.jpg\n")
        assert len(open_map(folder).images) == 6


class TestSeveralOfAKind:
    def test_features_that_fit_the_model_are_chosen(self, parts, folder):
        """Aachen's outputs hold a SIFT model beside the SuperPoint one."""
        write_features(folder / "feats-superpoint-n4096-r1024.h5", with_other_keypoints(parts[1]))
        assert open_map(folder).manifest.models["extractor"].name == "aliked-n16"

    def test_features_that_fit_a_text_model_are_chosen(self, parts, tmp_path):
        folder = write_hloc_folder(tmp_path / "text", parts, text=True)
        write_features(folder / "feats-superpoint-n4096-r1024.h5", with_other_keypoints(parts[1]))
        assert open_map(folder).manifest.models["extractor"].name == "aliked-n16"

    def test_the_model_that_fits_the_features_is_chosen(self, parts, folder):
        options = pycolmap.SyntheticDatasetOptions(num_rigs=1, num_frames_per_rig=6, num_points3D=50)
        other = pycolmap.synthesize_dataset(options)
        assert {image.name for image in other.images.values()} == set(parts[1])
        (folder / "sfm_sift").mkdir()
        other.write_binary(folder / "sfm_sift")
        assert len(open_map(folder).points) == 60

    def test_features_of_queries_only_are_passed_over(self, parts, folder):
        name, one = next(iter(parts[1].items()))
        write_features(folder / "feats-disk.h5", {f"query/{name}": one})
        assert open_map(folder).manifest.models["extractor"].name == "aliked-n16"

    def test_two_that_fit_are_refused(self, folder):
        shutil.copy(folder / "feats-aliked-n16.h5", folder / "feats-disk.h5")
        with pytest.raises(MapError, match=r"more than one pair.*feats-aliked-n16\.h5, feats-disk\.h5.*keep one"):
            open_map(folder)

    def test_none_that_fits_is_refused(self, parts, folder):
        for conf in ("aliked-n16", "disk"):
            write_features(folder / f"feats-{conf}.h5", with_other_keypoints(parts[1]))
        with pytest.raises(MapError, match="no two of the models"):
            open_map(folder)

    def test_two_global_descriptors_are_refused(self, parts, folder):
        write_global(folder / "global-feats-megaloc.h5", parts[2])
        with pytest.raises(MapError, match=r"global-feats-megaloc\.h5, global-feats-netvlad\.h5.*keep one"):
            open_map(folder)


class TestBrokenFolder:
    def test_an_image_without_features(self, parts, folder):
        with h5py.File(folder / "feats-aliked-n16.h5", "r+") as file:
            del file[next(iter(parts[1]))]
        with pytest.raises(MapError, match=r"feats-aliked-n16\.h5 lacks"):
            open_map(folder)

    @pytest.mark.parametrize(("in_model", "in_file"), [("db/", ""), ("", "images/db/"), ("images/db/", "db/")])
    def test_names_that_differ_in_their_folder_are_named(self, parts, tmp_path, in_model, in_file):
        folder = write_hloc_folder(tmp_path / "outputs", in_subfolder(parts, in_model))
        features = in_subfolder(parts, in_file)[1]
        write_features(folder / "feats-aliked-n16.h5", features)
        with pytest.raises(MapError, match=f", but has '{in_file}camera[^/]*/keypoints': extract the features with"):
            open_map(folder)

    def test_features_of_another_map(self, parts, folder):
        write_features(folder / "feats-aliked-n16.h5", with_other_keypoints(parts[1]))
        with pytest.raises(MapError, match="different maps"):
            open_map(folder)

    @pytest.mark.parametrize("pattern", ["feats-aliked-n16.h5", "sfm_aliked+lightglue"])
    def test_a_missing_part(self, folder, pattern):
        path = folder / pattern
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(MapError, match="not a map folder"):
            open_map(folder)


def test_a_name_that_hloc_has_no_conf_for_still_makes_a_file_name():
    assert features_file_name("hloc:my conf/1") == "feats-my-conf-1.h5"
    assert features_file_name("superpoint") == "feats-superpoint-n4096-r1024.h5"
    assert features_file_name("hloc:r2d2") == "feats-r2d2-n5000-r1024.h5"
