"""A folder of stock hloc becomes a map that says what the file names did not."""

import numpy as np
import pytest
from hloc_room import Room

from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.map import open_map
from visloc_ros.mapping.hloc_export import export_hloc
from visloc_ros.mapping.hloc_import import import_hloc


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    """What hloc's demo leaves: features.h5 and a model, nothing that names the extractor or a global descriptor."""
    folder = tmp_path_factory.mktemp("hloc")
    export_hloc(Room().save(folder / "map"), folder / "outputs")
    (folder / "outputs" / "feats-aliked-n16.h5").rename(folder / "outputs" / "features.h5")
    for name in ("global-feats-vlad.h5", "vlad.h5"):
        (folder / "outputs" / name).unlink()
    return folder / "outputs"


def test_the_extractor_is_told_and_a_codebook_trained(nameless, tmp_path):
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


def test_an_extractor_must_be_told(nameless, tmp_path):
    with pytest.raises(MapError, match="--extractor NAME"):
        import_hloc(nameless, tmp_path / "room")


def test_a_taken_output_is_kept(nameless, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        import_hloc(nameless, tmp_path, "aliked-n16")
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
