"""What ``export_hloc`` writes is what stock hloc and COLMAP read, and it opens again as the same map.

Maps that stock hloc made are brought over.
"""

import ast
import re
from dataclasses import replace

import h5py
import numpy as np
import pycolmap
import pytest
from hloc_readers import list_names, localize, read_images_binary, read_pairs, read_queries
from hloc_room import INFO, Room

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.feature_files import read_keypoints, read_local_features
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map, pack_map
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.mapping.hloc_export import (
    export_hloc,
    hloc_extractor_conf,
    hloc_matcher_conf,
    shared_points,
    write_hloc_map,
)
from visloc_ros.mapping.hloc_import import import_hloc

FEATURES = "feats-aliked-n16.h5"


@pytest.fixture(scope="module")
def room():
    return Room()


@pytest.fixture(scope="module")
def map_folder(room, tmp_path_factory):
    return room.save(tmp_path_factory.mktemp("maps") / "room")


@pytest.fixture(scope="module")
def exported(room, map_folder, tmp_path_factory):
    """The map with two queries."""
    folder = tmp_path_factory.mktemp("exported") / "room_hloc"
    export_hloc(map_folder, folder, room.frames(), room, top_k=3)
    return folder


def match_by_files(folder):
    """Rows matched between a query and a map image, from nothing but the exported feature files."""
    matcher = NearestMatcher(0.5)

    def read(path, name):
        return read_local_features(path, [name], [len(read_keypoints(path, [name])[0])])[0]

    def match(query, reference):
        a, b = read(folder / "queries" / FEATURES, query), read(folder / FEATURES, reference)
        return matcher.match(a, b).pairs

    return match


class TestFiles:
    def test_features_have_hloc_s_names_shapes_and_pixels(self, room, exported):
        assert list_names(exported / FEATURES) == set(room.features)
        name, features = next(iter(room.features.items()))
        with h5py.File(exported / FEATURES, "r", libver="latest") as file:
            group = file[name]
            assert np.allclose(group["keypoints"][()] + 0.5, features.keypoints, atol=1e-3)
            assert group["descriptors"].shape == (128, len(features))
            assert tuple(group["image_size"][()]) == (640, 480)

    def test_the_model_fits_the_features_row_by_row(self, exported):
        model = pycolmap.Reconstruction(exported / "sfm")
        with h5py.File(exported / FEATURES) as file:
            for image in model.images.values():
                in_colmap = np.array([point.xy for point in image.points2D])
                assert np.allclose(file[image.name]["keypoints"][()] + 0.5, in_colmap, atol=1e-3)

    def test_older_readers_take_the_model(self, room, exported):
        images = read_images_binary(exported / "sfm" / "images.bin")
        assert set(images) == set(room.features)
        for image in room.reconstruction.images.values():
            assert (images[image.name] >= 0).sum() == image.num_points3D

    def test_global_descriptors_of_map_and_queries_compare(self, exported):
        with (
            h5py.File(exported / "global-feats-vlad.h5") as file,
            h5py.File(exported / "queries" / "global-feats-vlad.h5") as queries,
        ):
            references = {name: file[name]["global_descriptor"][()].astype(float) for name in list_names(file.filename)}
            vector = queries["query_0.jpg"]["global_descriptor"][()].astype(float)
        best = max(references, key=lambda name: references[name] @ vector)
        assert best == read_pairs(exported / "queries" / "pairs-queries-vlad3.txt")["query_0.jpg"][0]

    def test_pairs_of_the_map_see_the_same_points(self, room, exported):
        pairs = [(a, b) for a, others in read_pairs(exported / "pairs-db-covis20.txt").items() for b in others]
        assert len({frozenset(pair) for pair in pairs}) == len(pairs) == 15
        assert {name for pair in pairs for name in pair} == set(room.features)

    def test_queries_come_with_intrinsics_and_pairs(self, room, exported):
        queries = read_queries(exported / "queries" / "queries_with_intrinsics.txt")
        assert list(queries) == ["query_0.jpg", "query_1.jpg"]
        assert queries["query_0.jpg"].params.tolist() == [600.0, 320.0, 240.0, 0.02]
        retrieval = read_pairs(exported / "queries" / "pairs-queries-vlad3.txt")
        assert [len(names) for names in retrieval.values()] == [3, 3]
        assert set(retrieval["query_1.jpg"]) <= set(room.features)


class TestUse:
    def test_localizing_as_hloc_does_finds_the_queries(self, room, exported):
        queries = exported / "queries"
        poses = localize(
            exported,
            read_queries(queries / "queries_with_intrinsics.txt"),
            queries / FEATURES,
            read_pairs(queries / "pairs-queries-vlad3.txt"),
            match_by_files(exported),
        )
        for name, camera_from_map in poses.items():
            found = SE3.from_rigid3d(camera_from_map).inverse
            assert np.allclose(found.matrix, room.poses[name].matrix, atol=1e-3)

    def test_it_opens_again_as_the_same_map(self, map_folder, exported):
        own, again = open_map(map_folder), open_map(exported)
        assert again.manifest.models["extractor"].name == "aliked-n16"
        assert again.manifest.models["global"].name == "vlad"
        assert np.allclose(again.vlad_centroids, own.vlad_centroids)
        assert [image.name for image in again.images] == [image.name for image in own.images]
        for a, b in zip(again.images, own.images, strict=True):
            assert np.array_equal(
                again.points[a.point_rows[a.point_rows >= 0]], own.points[b.point_rows[b.point_rows >= 0]]
            )
            assert np.allclose(a.features.descriptors, b.features.descriptors, atol=2e-2)
            assert np.allclose(a.features.keypoints, b.features.keypoints, atol=1e-3)

    @pytest.mark.parametrize("with_queries", [True, False])
    def test_the_readme_s_calls_are_python_that_names_the_files(self, room, map_folder, tmp_path, with_queries):
        queries = (room.frames(), room) if with_queries else ()
        export_hloc(map_folder, tmp_path / "out", *queries)
        text = (tmp_path / "out" / "README.txt").read_text()
        code = "\n".join(line[4:] for line in text.split("\n") if line.startswith("    "))
        called = {node.func.value.id for node in ast.walk(ast.parse(code)) if is_main_call(node)}
        assert called >= {"match_features", "localize_sfm"}
        assert ("extract_features" in called) is not with_queries
        for name in set(re.findall(r'"([\w.-]+\.(?:h5|txt))"', code)) - {"matches.h5", "poses.txt"}:
            found = [tmp_path / "out" / name, tmp_path / "out" / "queries" / name]
            assert any(path.exists() for path in found) or not with_queries

    def test_an_archive_is_exported_too(self, map_folder, tmp_path):
        archive = pack_map(map_folder, tmp_path / "reference.tar.gz")
        export_hloc(archive, tmp_path / "out")
        assert len(open_map(tmp_path / "out").images) == 6
        assert not (tmp_path / "out" / "queries").exists()


def is_main_call(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "main"


class TestRefusals:
    def test_a_taken_output_is_kept(self, map_folder, tmp_path):
        (tmp_path / "precious.txt").write_text("mine")
        with pytest.raises(OutputError, match="not empty"):
            export_hloc(map_folder, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]

    def test_what_is_no_map_leaves_nothing(self, tmp_path):
        (tmp_path / "nothing").mkdir()
        with pytest.raises(MapError, match="not a map folder"):
            export_hloc(tmp_path / "nothing", tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["nothing"]

    def test_a_map_that_does_not_name_its_extractor(self, room, map_folder, tmp_path):
        map_ = open_map(map_folder)
        nameless = replace(map_, manifest=replace(map_.manifest, models={}))
        with pytest.raises(MapError, match="which model was its extractor"):
            write_hloc_map(nameless, tmp_path)


def test_names_that_hloc_cannot_list_are_refused(room, map_folder, tmp_path):
    frames = [replace(frame, name=f"my {frame.name}") for frame in room.frames()]
    with pytest.raises(MapError, match=r"blanks.*'my query_0\.jpg'"):
        export_hloc(map_folder, tmp_path / "out", frames, room)
    assert list(tmp_path.iterdir()) == []


def test_frames_without_names_are_called_by_their_stamp(room, map_folder, tmp_path):
    frames = [replace(frame, name="") for frame in room.frames()]
    export_hloc(map_folder, tmp_path / "out", frames, room)
    assert list(read_queries(tmp_path / "out" / "queries" / "queries_with_intrinsics.txt")) == ["0", "1"]


def test_shared_points_are_counted(room, map_folder):
    map_ = open_map(map_folder)
    counts = shared_points(map_)(np.arange(len(map_.images)))
    seen = [set(image.point_rows[image.point_rows >= 0]) for image in map_.images]
    assert counts[0, 3] == len(seen[0] & seen[3]) > 0
    assert np.array_equal(counts, counts.T)


@pytest.mark.parametrize(
    ("extractor", "conf"),
    [
        ("aliked-n16", "extract_features.confs['aliked-n16']"),
        ("superpoint", "extract_features.confs['superpoint_aachen']"),
        ("hloc:r2d2", "extract_features.confs['r2d2']"),
        ("xfeat", ""),
    ],
)
def test_confs_of_hloc(extractor, conf):
    assert hloc_extractor_conf(extractor) == conf


def test_an_aliked_without_a_conf_of_hloc_gets_one():
    conf = ast.literal_eval(hloc_extractor_conf("aliked-n32"))
    assert conf["model"] == {"name": "aliked", "model_name": "aliked-n32"}
    assert conf["output"] == "feats-aliked-n32"


@pytest.mark.parametrize(
    ("extractor", "conf"),
    [("aliked-n32", "aliked+lightglue"), ("superpoint", "superpoint+lightglue"), ("hloc:r2d2", "NN-mutual")],
)
def test_matchers_of_hloc(extractor, conf):
    assert hloc_matcher_conf(extractor) == f"match_features.confs['{conf}']"


def test_a_map_of_another_extractor_keeps_its_name(room, tmp_path):
    room.save(tmp_path / "map", replace(INFO, name="hloc:r2d2"))
    export_hloc(tmp_path / "map", tmp_path / "out")
    assert (tmp_path / "out" / "feats-r2d2-n5000-r1024.h5").exists()
    assert open_map(tmp_path / "out").manifest.models["extractor"].name == "hloc:r2d2"


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    """What hloc's demo leaves: features.h5 and a model, nothing that names the extractor or a global descriptor."""
    folder = tmp_path_factory.mktemp("hloc")
    export_hloc(Room().save(folder / "map"), folder / "outputs")
    (folder / "outputs" / "feats-aliked-n16.h5").rename(folder / "outputs" / "features.h5")
    for name in ("global-feats-vlad.h5", "vlad.h5"):
        (folder / "outputs" / name).unlink()
    return folder / "outputs"


def test_the_extractor_is_named_and_a_codebook_trained(nameless, tmp_path):
    import_hloc(nameless, tmp_path / "room", "aliked-n16", metric=True)
    map_ = open_map(tmp_path / "room")
    assert map_.manifest.models["extractor"].name == "aliked-n16"
    assert map_.manifest.models["global"].name == "vlad"
    assert map_.manifest.metric
    assert map_.name == "room"
    assert map_.global_descriptors.shape == (6, map_.vlad_centroids.size)
    assert np.allclose(np.linalg.norm(map_.global_descriptors, axis=1), 1.0, atol=0.02)


def test_without_metric_the_scale_stays_unknown(nameless, tmp_path):
    manifest = import_hloc(nameless, tmp_path / "room", "hloc:r2d2")
    assert not manifest.metric
    assert manifest.scale_source == "none"


def test_an_unknown_extractor_is_refused(nameless, tmp_path):
    with pytest.raises(ConfigError, match="unknown extractor 'alikedn16'; known: aliked-n16"):
        import_hloc(nameless, tmp_path / "room", "alikedn16")
    assert not list(tmp_path.iterdir())


def test_an_extractor_that_contradicts_the_folder_is_refused(tmp_path):
    room = Room().save(tmp_path / "map")
    export_hloc(room, tmp_path / "outputs")
    with pytest.raises(MapError, match="made by aliked-n16, as its name says, not by disk"):
        import_hloc(tmp_path / "outputs", tmp_path / "imported", "disk")
    with pytest.raises(MapError, match="says itself what its features were made by"):
        import_hloc(room, tmp_path / "imported", "disk")
    assert not (tmp_path / "imported").exists()


def test_an_extractor_must_be_named(nameless, tmp_path):
    with pytest.raises(MapError, match="--extractor NAME"):
        import_hloc(nameless, tmp_path / "room")


def test_a_taken_output_is_kept(nameless, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        import_hloc(nameless, tmp_path, "aliked-n16")
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
