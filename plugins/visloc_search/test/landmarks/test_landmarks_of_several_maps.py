"""Several maps searched by landmarks: the right one is told, and never another, on exactly known maps."""

from dataclasses import replace

import numpy as np
import pytest
from landmark_worlds import PreparedTogether
from synthetic_map import DIM, MATCHER, FakeExtractor, World, near_image
from twin_places import named

from visloc_ros.core.errors import MapError
from visloc_ros.core.types import AnchorPose, Reason, Rejection
from visloc_ros.localization import AnchorConfig, SearchHint
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_search.landmarks import opening
from visloc_search.landmarks.recogniser import WEIGHTS_NAME
from visloc_search.landmarks.text_likelihood import TEXTS_NAME, TextSample, learn_texts

BY_LANDMARKS = AnchorConfig(search="landmarks")
NAMES = ("office", "hall", "cellar")


@pytest.fixture(scope="module")
def worlds():
    return [World(seed) for seed in range(len(NAMES))]


@pytest.fixture(scope="module")
def maps(worlds):
    return [named(world.map, name) for world, name in zip(worlds, NAMES, strict=True)]


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares maps together; what recognises them is not read from files."""

    def together(maps, **options):
        prepared = PreparedTogether(maps, tmp_path / f"{len(list(tmp_path.iterdir()))}", **options)
        of_weights[prepared.maps[0].prepared["landmarks"][WEIGHTS_NAME]] = prepared
        return prepared

    def load(files, *_):
        loads.append(of_weights[files[WEIGHTS_NAME]])
        return loads[-1]

    of_weights, loads = {}, []
    together.loads = loads
    monkeypatch.setattr(opening, "load_recogniser", load)
    return together


def engine_of(maps):
    return MultiMapEngine(maps, BY_LANDMARKS, FakeExtractor(None), MATCHER)


def look(engine, world, row=2, hint=None, outliers=0.0):
    """The answer to a view near that of a map image."""
    return engine.localize(world.frame(), world.view(near_image(world, row), outliers=outliers), hint)


def assert_found(anchor, name, pose):
    assert isinstance(anchor.result, AnchorPose)
    assert anchor.map.name == name
    assert np.linalg.norm(anchor.result.map_from_camera.translation - pose.translation) < 0.05


def test_the_map_and_the_pose_in_it_are_reported(worlds, maps, prepare):
    engine = engine_of(prepare(maps).maps)
    for world, name in zip(worlds, NAMES, strict=True):
        for row in range(4):
            anchor = look(engine, world, row, outliers=0.2)
            assert_found(anchor, name, near_image(world, row))


def test_classes_are_those_of_each_map_in_its_range(maps, prepare):
    """From a map's landmark to the class of all maps and back."""
    prepared = prepare(maps)
    for row, ((landmarks, own), map_) in enumerate(zip(opening.open_landmarks_of(prepared.maps), maps, strict=True)):
        assert own.first_class == prepared.first_classes[row]
        assert landmarks.num_landmarks == own.num_landmarks == own.num_classes - 1
        features = landmarks.map.images[0].features
        truth = landmarks.labels[landmarks.map.images[0].point_rows]
        assert np.array_equal(own.recognise(features).argmax(axis=1), truth)
        assert np.array_equal(prepared.recognise(features).argmax(axis=1), truth + own.first_class)
        others = [one for one in range(len(maps)) if one != row]
        for other in others:
            recogniser = opening.open_landmarks_of(prepared.maps)[other][1]
            assert (recogniser.recognise(features).argmax(axis=1) == 0).mean() > 0.95
        assert map_.name == landmarks.map.name


def test_the_recogniser_is_loaded_once_and_looks_once_at_an_image(worlds, maps, prepare):
    prepared = prepare(maps)
    engine = engine_of(prepared.maps)
    assert prepare.loads == [prepared]
    for count in range(1, 4):
        look(engine, worlds[1])
        assert prepared.calls == count


def test_only_maps_with_votes_are_searched(worlds, maps, prepare, monkeypatch):
    engine, tried = engine_of(prepare(maps).maps), []
    for one in engine._engines:
        monkeypatch.setattr(
            one, "solve", lambda query, one=one, solve=one.solve: tried.append(one.map.name) or solve(query)
        )
    look(engine, worlds[2])
    assert tried == ["cellar"]


def test_a_place_that_two_maps_show_is_ambiguous(worlds, maps, prepare):
    engine = engine_of(prepare([*maps[:2], named(maps[0], "twin")]).maps)
    anchor = look(engine, worlds[0])
    assert anchor.result.reason is Reason.AMBIGUOUS_PLACE
    assert anchor.result.counts["inliers"] > 30
    assert_found(look(engine, worlds[1]), "hall", near_image(worlds[1]))


def look_alike(world, share):
    """A map of the same scene in which only a share of the points looks the same."""
    rng = np.random.default_rng(5)
    kept = rng.random(len(world.points)) < share
    images = []
    for image in world.map.images:
        other = ~kept[image.point_rows] | (image.point_rows < 0)
        descriptors = np.array(image.features.descriptors)
        replaced = rng.normal(size=(len(world.points), DIM))
        descriptors[other] = (replaced / np.linalg.norm(replaced, axis=1, keepdims=True))[image.point_rows[other]]
        images.append(replace(image, features=replace(image.features, descriptors=descriptors)))
    return replace(named(world.map, "look-alike"), images=tuple(images))


def test_a_place_is_found_although_another_map_looks_alike_in_part(worlds, maps, prepare):
    engine = engine_of(prepare([look_alike(worlds[0], 0.2), maps[0]]).maps)
    for row in range(3):
        anchor = look(engine, worlds[0], row)
        assert_found(anchor, "office", near_image(worlds[0], row))


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_a_look_alike_map_is_not_mistaken(worlds, maps, prepare, share):
    engine = engine_of(prepare([look_alike(worlds[0], share), maps[0]]).maps)
    for row in range(3):
        anchor = look(engine, worlds[0], row)
        assert anchor.map.name == "office" or anchor.result.reason is Reason.AMBIGUOUS_PLACE


def test_a_sure_recogniser_does_not_hide_a_look_alike(worlds, maps, prepare, monkeypatch):
    """It was trained on both maps, and takes what both show for the first, for no good reason."""
    prepared = prepare([maps[0], named(maps[0], "twin")])
    recognise = prepared.recognise

    def sure(features):
        probabilities = recognise(features).copy()
        probabilities[:, 1 + prepared.first_classes[1] :] = 0.0
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    monkeypatch.setattr(prepared, "recognise", sure)
    anchor = look(engine_of(prepared.maps), worlds[0])
    assert anchor.result.reason is Reason.AMBIGUOUS_PLACE


def test_a_recogniser_that_is_wrong_of_all_landmarks_does_not_hide_the_place(worlds, maps, prepare, monkeypatch):
    prepared = prepare(maps[:1])
    recognise = prepared.recognise

    def confused(features):
        probabilities = recognise(features).copy()
        probabilities[:, 1:] = np.roll(probabilities[:, 1:], 1, axis=1)
        return probabilities

    monkeypatch.setattr(prepared, "recognise", confused)
    engine = engine_of(prepared.maps)
    for row in range(4):
        found = look(engine, worlds[0], row)
        assert_found(found, "office", near_image(worlds[0], row))


def test_an_image_of_elsewhere_is_rejected(maps, prepare):
    other, engine = World(9), engine_of(prepare(maps).maps)
    anchor = look(engine, other)
    assert isinstance(anchor.result, Rejection)
    assert anchor.map.name in NAMES


def prepared_apart(maps, prepare):
    """Each with a recogniser of its own."""
    return [prepare([map_], weights=map_.name.encode()).maps[0] for map_ in maps]


def test_maps_that_were_prepared_apart_are_distinguished(worlds, maps, prepare):
    engine = engine_of(prepared_apart(maps, prepare))
    assert len(prepare.loads) == len(maps)
    for world, name in zip(worlds, NAMES, strict=True):
        for row in range(4):
            assert_found(look(engine, world, row), name, near_image(world, row))


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_look_alike_map_that_was_prepared_apart_is_not_mistaken(worlds, maps, prepare, share):
    engine = engine_of(prepared_apart([look_alike(worlds[0], share), maps[0]], prepare))
    for row in range(3):
        anchor = look(engine, worlds[0], row)
        assert anchor.map.name == "office" or anchor.result.reason is Reason.AMBIGUOUS_PLACE


def test_copies_of_one_prepared_map_show_the_same(worlds, maps, prepare):
    one = prepare(maps[:1]).maps[0]
    anchor = look(engine_of([one, named(one, "copy")]), worlds[0])
    assert anchor.result.reason is Reason.AMBIGUOUS_PLACE


def test_texts_that_were_learned_apart_are_not_compared(worlds, maps, prepare):
    engine = engine_of(prepared_apart(maps[:2], prepare))
    with pytest.raises(MapError, match="prepared apart, so that a text does not distinguish them"):
        look(engine, worlds[0], hint=SearchHint(text=np.ones(8)))


def test_a_map_that_was_not_prepared_is_refused(maps, prepare):
    with pytest.raises(MapError, match="'hall' holds no landmarks"):
        engine_of([prepare(maps[:1]).maps[0], maps[1]])


def with_texts(prepared, signs, folder):
    """The maps with a sign in each, which all of its landmarks go with."""
    counts = [one.num_landmarks for one in prepared.landmarks]
    starts = np.cumsum([0, *counts])
    samples = []
    for row, sign in enumerate(signs):
        seen = np.zeros(starts[-1], np.int64)
        seen[starts[row] : starts[row + 1]] = 10
        samples += [TextSample(seen, sign / np.linalg.norm(sign))] * 4
    learned = learn_texts(samples)
    for row, map_ in enumerate(prepared.maps):
        learned.of_rows(slice(starts[row], starts[row + 1])).save(folder)
        files = {**map_.prepared["landmarks"], TEXTS_NAME: (folder / TEXTS_NAME).read_bytes()}
        yield replace(map_, prepared={"landmarks": files})


def test_a_text_distinguishes_maps_of_the_same_place(worlds, prepare, tmp_path):
    world, names = worlds[0], ("first_floor", "second_floor")
    signs = np.random.default_rng(5).normal(size=(3, 384))
    prepared = prepare([named(world.map, name) for name in names])
    engine = engine_of(list(with_texts(prepared, signs[:2], tmp_path)))
    frame, features, pose = world.frame(), world.view(near_image(world)), near_image(world)
    for name, sign in zip(names, signs[:2], strict=True):
        assert_found(engine.localize(frame, features, SearchHint(text=sign)), name, pose)
    for hint in (None, SearchHint(text=signs[2])):
        assert engine.localize(frame, features, hint).result.reason is Reason.AMBIGUOUS_PLACE
