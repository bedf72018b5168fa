"""A film that falls into places that nothing connects: the largest becomes the map, each other one a map beside it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from kitchen_map import contents

from visloc_ros.core.errors import OutputError
from visloc_ros.core.map import open_map
from visloc_ros.localization import AnchorEngine
from visloc_ros.mapping import MappingConfig, build_map, builder
from visloc_ros.mapping.config import FrameConfig, ReconstructionConfig
from visloc_ros.mapping.parts import frame_of_one
from visloc_ros.mapping.reconstruction import reconstruct_components
from visloc_ros.mapping.sfm_database import registered_poses
from visloc_ros.simulation import SimulationConfig, simulate

CONFIG = MappingConfig.from_mapping(
    {
        "selection": {"min_motion": 0.0},
        "reconstruction": {"threads": 1},
        "workers": 1,
        "matcher": {"name": "nearest"},
        "pairs": {"loops": 0},
    }
)
SIMULATION = SimulationConfig(
    width=320, height=240, focal_px=240.0, duration_s=9.0, rate_hz=3.0, samples=1, blackout_start_s=4.0, blackout_s=1.5
)
BEFORE, HAND, AFTER = range(12), range(12, 17), range(17, 27)


class Film:
    """The frames of a recording, read once."""

    name, skipped, ground_truth, calibrated = "film", 0, None, True

    def __init__(self, recording):
        self.camera, self.calibration = recording.camera, recording.calibration
        self._frames = list(recording)

    def __len__(self):
        return len(self._frames)

    def __iter__(self):
        return iter(self._frames)


@pytest.fixture(scope="module")
def film():
    """A pass through the room with a hand before the lens for a while, long enough that nothing connects the rest."""
    return Film(simulate(SIMULATION))


@pytest.fixture(scope="module", autouse=True)
def nothing_connects(film):
    """The camera has gone on elsewhere while it was covered: no pair across the gap has anything in common."""
    choose, first_after = builder.choose_pairs, list(film)[AFTER.start].name

    def apart(frames, *arguments):
        is_after = [frame.name >= first_after for frame in frames]
        return [(i, j) for i, j in choose(frames, *arguments) if is_after[i] == is_after[j]]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(builder, "choose_pairs", apart)
        yield


@pytest.fixture(scope="module")
def built(film, nothing_connects, tmp_path_factory):
    """The folder of a map and of its part, and the summary."""
    folder = tmp_path_factory.mktemp("parts")
    return folder, build_map(film, folder / "room", CONFIG)


def names_of(film, rows):
    return {frame.name for row, frame in enumerate(film) if row in rows}


def test_each_part_is_a_map_that_finds_its_images(film, built):
    folder, summary = built
    assert {path.name for path in folder.iterdir()} == {"room", "room_part2"}
    first, second = (open_map(folder / name) for name in ("room", "room_part2"))
    assert {image.name for image in first.images} == names_of(film, BEFORE)
    assert {image.name for image in second.images} == names_of(film, AFTER)
    assert (first.name, second.name) == ("room", "room_part2")
    assert second.manifest.created_from == "film, part of 'room'"
    (part,) = summary.parts
    first_name, *_, last_name = sorted(names_of(film, AFTER))
    expected = ("room_part2", len(AFTER), first_name, last_name, 0)
    assert (part.name, part.images, part.first, part.last, part.shared) == expected
    assert summary.outside == len(HAND)
    for words in (
        "12 of 27 images",
        "'room_part2', a map of its own beside it: 10 images (37% of all)",
        "5 images in no map",
    ):
        assert words in str(summary)
    assert "0 images are in both" in part.reason
    assert "no pair of their images matches" in part.reason
    assert summary.share_outside == pytest.approx(15 / 27)
    assert "outside 'room': 56% of the images" in str(summary)
    card = (folder / "room" / "map.html").read_text()
    for words in ("room_part2", part.reason, "56 % of the images"):
        assert words in card
    assert "of 10 chosen frames" in (folder / "room_part2" / "map.html").read_text()
    engine = AnchorEngine(second)
    assert engine.localize(list(film)[AFTER[4]]).num_inliers > 30


def test_a_failure_leaves_the_old_map_and_its_parts_as_they_were(film, built, tmp_path, monkeypatch):
    shutil.copytree(built[0], tmp_path, dirs_exist_ok=True)
    before = contents(tmp_path)

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as failing:
        write, written = builder.write_card, []
        failing.setattr(builder, "write_card", lambda *words: fail() if written else written.append(write(*words)))
        with pytest.raises((OSError, OutputError)):
            build_map(film, tmp_path / "room", CONFIG, overwrite=True)
    assert contents(tmp_path) == before
    build_map(film, tmp_path / "room", CONFIG, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"room", "room_part2"}


def test_a_map_of_that_name_is_left_alone(film, built, tmp_path):
    shutil.copytree(built[0] / "room", tmp_path / "room_part2")
    before = contents(tmp_path / "room_part2")
    summary = build_map(film, tmp_path / "room", CONFIG, overwrite=True)
    assert [part.name for part in summary.parts] == ["room_part3"]
    assert contents(tmp_path / "room_part2") == before


def test_a_known_distance_scales_no_part_that_does_not_hold_it(caplog):
    config, every = FrameConfig(scale="distance", scale_distance=5.0), ["1", "2", "3", "4"]
    assert frame_of_one(config, every, every) is config
    assert frame_of_one(config, ["1", "2"], every) == FrameConfig(scale="none")
    named = replace(config, scale_from="1", scale_to="2")
    assert frame_of_one(named, ["1", "2"], every) is named
    assert frame_of_one(named, ["3", "4"], every).scale_distance == 0.0
    assert "does not set the scale" in caplog.text


def seen_from_two_sides(scene, odd_from, even_until):
    """Matches of two kinds of points: even rows are not seen after one image, odd rows not before an earlier one."""
    every = scene.matches()
    kept = {}
    for (i, j), rows in every.items():
        is_odd = scene.point_rows[i][rows[:, 0]] % 2 == 1
        allowed = np.where(is_odd, i >= odd_from, j < even_until)
        kept[i, j] = rows[allowed]
    return {pair: rows for pair, rows in kept.items() if len(rows)}


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_a_film_whose_halves_share_images_but_no_point_is_one_map(scene, mapper):
    """The three images in the middle show points of both halves."""
    matches = seen_from_two_sides(scene, 4, 7)
    components = reconstruct_components(scene.views, matches, ReconstructionConfig(threads=1, mapper=mapper))
    assert [one.size[0] for one in components] == [len(scene.views)]


@pytest.mark.parametrize("mapper", ["incremental", "global"])
def test_both_mappers_keep_every_part_of_ten_images(scene, mapper):
    config = ReconstructionConfig(threads=1, mapper=mapper)
    twice = [*scene.views, *(replace(view, name=f"other {view.name}") for view in scene.views)]
    one = scene.matches()
    apart = {**one, **{(i + 10, j + 10): rows for (i, j), rows in one.items()}}
    parts = [set(registered_poses(one.model)) for one in reconstruct_components(twice, apart, config)]
    assert [len(part) for part in parts] == [10, 10]
    assert not parts[0] & parts[1]
