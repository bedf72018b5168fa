"""Preparing maps: together, again, interrupted, and with maps of other places."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import ConfigError, MapError, ModelError
from visloc_ros.core.manifest import read_manifest, write_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import unpacked
from visloc_ros.core.progress import SilentProgress
from visloc_ros.localization.search_hint import unit_embedding
from visloc_search.landmarks import preparation
from visloc_search.landmarks.clustering import label_points
from visloc_search.landmarks.config import (
    NETWORK,
    LandmarkConfig,
    PreparationConfig,
    TrainingConfig,
)
from visloc_search.landmarks.landmark_map import reduce_map
from visloc_search.landmarks.opening import (
    RecogniserOfOneMap,
    are_comparable,
    open_landmarks_of,
    open_texts,
)
from visloc_search.landmarks.preparation import Scene, prepare_landmarks
from visloc_search.landmarks.text_likelihood import log_mean
from visloc_search.landmarks.tokens import BACKGROUND

ROOM = Path(__file__).parents[4] / "maps" / "demo_room.tar.gz"
SHORT = PreparationConfig(
    NETWORK,
    training=TrainingConfig(size="nano", prototypes=4, max_steps=6, batch=4, warm_up=1, validate_every=3, device="cpu"),
)


def copy_of_room(folder, name):
    with unpacked(ROOM) as room:
        path = Path(shutil.copytree(room, folder / name))
    write_manifest(path, replace(read_manifest(path), name=name))
    return path


class InterruptedAt(SilentProgress):
    """Presses Ctrl-C when so many percent of the training are done."""

    def __init__(self, percent):
        self.percent = percent

    def advance(self, steps=1):
        self.percent -= steps
        if self.percent < 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two maps that were prepared together, and the embedding of the sign in each."""
    folder = tmp_path_factory.mktemp("together")
    paths = [copy_of_room(folder, name) for name in ("here", "there")]
    signs = dict(zip(("here", "there"), np.random.default_rng(0).normal(size=(2, 16)), strict=True))
    images = [image.name for image in open_map(paths[0]).images]
    texts = {f"{name}/{image}": unit_embedding(sign, "") for name, sign in signs.items() for image in images[::2]}
    prepare_landmarks(paths, SHORT, texts=texts)
    return paths, signs


def test_maps_prepared_together_share_a_recogniser_that_numbers_their_landmarks_on(together):
    here, there = map(open_map, together[0])
    entries = [one.manifest.prepared["landmarks"] for one in (here, there)]
    assert [entry["maps"] for entry in entries] == [["here", "there"]] * 2
    assert [entry["first_class"] for entry in entries] == [0, entries[0]["landmarks"]]
    assert here.prepared["landmarks"]["recogniser.pt"] == there.prepared["landmarks"]["recogniser.pt"]


def test_texts_of_images_are_learned_for_the_search(together):
    paths, signs = together
    for path in paths:
        map_ = open_map(path)
        learned = open_texts(map_, map_.manifest.prepared["landmarks"]["landmarks"])
        read = {name: log_mean(learned.of(unit_embedding(sign, ""))) for name, sign in signs.items()}
        assert max(read, key=read.get) == path.name


def test_preparing_again_replaces_landmarks_and_texts_and_the_training_on_the_card(together, tmp_path):
    path = Path(shutil.copytree(together[0][0], tmp_path / "here"))
    once = (path / "map.html").read_text()
    assert once.count("Search by landmarks") == 1
    assert "of 6 was kept" in once
    assert 'aria-label="Training curves"' in once
    landmarks, training = replace(SHORT.landmarks, num_landmarks=2), replace(SHORT.training, max_steps=3)
    prepare_landmarks([path], replace(SHORT, landmarks=landmarks, training=training))
    again = (path / "map.html").read_text()
    assert again.count("Search by landmarks") == 1
    assert "of 3 was kept" in again
    assert again.index("Search by landmarks") < again.index("<footer>")
    assert open_map(path).manifest.prepared["landmarks"]["landmarks"] <= 2
    assert open_texts(open_map(path), 2) is None


def test_the_map_is_as_it_was_where_preparing_is_interrupted_and_training_goes_on(tmp_path):
    path = copy_of_room(tmp_path, "room")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(KeyboardInterrupt):
        prepare_landmarks([path], SHORT, InterruptedAt(40))
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert (tmp_path / ".room.landmarks").is_dir()
    progress = InterruptedAt(10_000)
    prepare_landmarks([path], SHORT, progress)
    straight = copy_of_room(tmp_path / "other", "room")
    prepare_landmarks([straight], SHORT)
    of_both = [open_map(one).prepared["landmarks"]["recogniser.pt"] for one in (path, straight)]
    assert of_both[0] == of_both[1]
    assert not (tmp_path / ".room.landmarks").exists()


def test_maps_of_the_same_name_are_refused(tmp_path):
    paths = [copy_of_room(tmp_path / parent, "room") for parent in ("a", "b")]
    with pytest.raises(ConfigError, match="the same name"):
        prepare_landmarks(paths, SHORT)


def test_frames_are_of_one_map(tmp_path):
    paths = [copy_of_room(tmp_path, name) for name in ("here", "there")]
    with pytest.raises(ConfigError, match="frames are of one place"):
        prepare_landmarks(paths, SHORT, frames=[])


def test_texts_of_no_image_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="name them as images are"):
        prepare_landmarks([copy_of_room(tmp_path, "room")], SHORT, texts={"other.jpg": np.ones(3)})


def test_no_map_and_no_such_map(tmp_path):
    with pytest.raises(ConfigError, match="at least one map"):
        prepare_landmarks([], SHORT)
    with pytest.raises(MapError, match="there is no map"):
        prepare_landmarks([tmp_path / "nowhere"], SHORT)


def test_by_default_points_recognise_landmarks_and_nothing_is_trained(tmp_path):
    path = copy_of_room(tmp_path, "room")
    prepare_landmarks([path])
    map_ = open_map(path)
    assert map_.prepared["landmarks"].keys() == {"landmarks.npz", "landmarks.json", "frames.npz"}
    assert "recogniser" not in map_.manifest.prepared["landmarks"]
    ((landmarks, recogniser),) = open_landmarks_of([map_])
    labels = np.append(label_points(map_, LandmarkConfig()), BACKGROUND)
    image = map_.images[0]
    truth, found = labels[image.point_rows], recogniser.recognise(image.features).argmax(axis=1)
    assert (found == truth)[truth != BACKGROUND].mean() > 0.9
    assert recogniser.num_classes == 1 + landmarks.num_landmarks


def test_points_learn_nothing_from_frames_and_other_places(tmp_path):
    path = copy_of_room(tmp_path, "room")
    for options in ({"frames": []}, {"elsewhere": [path]}):
        with pytest.raises(ConfigError, match="recogniser to 'network'"):
            prepare_landmarks([path], **options)


def test_texts_are_compared_of_maps_prepared_in_one_call(tmp_path):
    paths = [copy_of_room(tmp_path, name) for name in ("here", "there")]
    prepare_landmarks(paths)
    maps = [open_map(path) for path in paths]
    assert are_comparable(maps)
    prepare_landmarks(paths[:1])
    assert not are_comparable([open_map(path) for path in paths])


def test_a_missing_network_is_no_map_without_one(together):
    paths, _ = together
    map_ = open_map(paths[0])
    files = {name: one for name, one in map_.prepared["landmarks"].items() if not name.startswith("recogniser")}
    with pytest.raises(ModelError, match="is missing"):
        open_landmarks_of([replace(map_, prepared={"landmarks": files})])


def test_classes_of_other_maps_are_not_there():
    class Fixed:
        num_classes, background_threshold = 6, 0.9

        def recognise(self, features):
            return np.array([[0.1, 0.2, 0.3, 0.1, 0.2, 0.1]], np.float32)

    own = RecogniserOfOneMap(Fixed(), first_class=2, num_landmarks=2)
    assert own.num_classes == 3
    np.testing.assert_allclose(own.recognise(None), [[0.25, 0.25, 0.5]], atol=1e-5)


ELSEWHERE = Path("elsewhere")


@pytest.fixture
def scene(hall_map):
    labels = label_points(hall_map, LandmarkConfig())
    return Scene(Path("hall"), hall_map, labels, reduce_map(hall_map, labels, LandmarkConfig()), 0)


def images_of(monkeypatch, scene, models):
    other = replace(scene.map, manifest=replace(scene.map.manifest, models=models))
    monkeypatch.setattr(preparation, "open_map", lambda path, **_: {ELSEWHERE: other}[path])
    return list(preparation._images_of_elsewhere([scene], [ELSEWHERE]))


def test_every_keypoint_of_elsewhere_is_background(monkeypatch, scene):
    images = images_of(monkeypatch, scene, scene.map.manifest.models)
    assert len(images) == len(scene.map.images)
    assert all(np.all(image.labels == BACKGROUND) for image in images)


@pytest.mark.parametrize("name", ["sift", None])
def test_features_of_another_extractor_are_refused(monkeypatch, scene, name):
    stated = scene.map.manifest.models["extractor"]
    models = {} if name is None else {"extractor": replace(stated, name=name)}
    with pytest.raises(ConfigError, match=r"elsewhere has features of .*'synthetic'"):
        images_of(monkeypatch, scene, models)
