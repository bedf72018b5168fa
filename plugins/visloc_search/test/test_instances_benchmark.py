"""The benchmarks of changed images: what is altered, how far places of one map are apart, and that figures add up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap

from benchmarks.places import DEMO_MAP, Place
from plugins.visloc_search.benchmarks.instances import changed, style_tables, ways
from plugins.visloc_search.benchmarks.instances.alterations import ALTERATIONS, COLOUR, LEVELS, NIGHT
from plugins.visloc_search.benchmarks.instances.building import write_joined
from plugins.visloc_search.benchmarks.instances.rooms import StyledPlace
from plugins.visloc_search.benchmarks.instances.style import alterations_of
from plugins.visloc_search.benchmarks.instances.ways import all_ways, figures_of
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection
from visloc_ros.evaluation.search_comparison import SearchRecord
from visloc_ros.localization.config import search_names
from visloc_ros.sources import SourceConfig

ORIGIN = SE3(np.eye(3), np.zeros(3))
CAMERA = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 50, 32, 24])
PLACE = Place("place", Path("map"), SourceConfig(), Path("queries"), SourceConfig(), 1.0)
NOT_FOUND = Rejection(0, Reason.FEW_INLIERS, {}, {})


def found(x):
    return AnchorPose(0, SE3(np.eye(3), np.array([x, 0.0, 0.0])), 1e-4 * np.eye(6), 50, 80, 0.9)


def record(*results):
    one = SearchRecord()
    for result in results:
        one.add(result, ORIGIN)
    return one


def test_higher_levels_change_an_image_more_and_the_same_again():
    image = np.random.default_rng(0).integers(30, 220, (48, 640, 3), dtype=np.uint8)
    frame = Frame(5, image, CAMERA)
    for name, alter in ALTERATIONS.items():
        changes = [np.abs(alter(frame, level).image.astype(float) - image).mean() for level in LEVELS]
        assert changes == sorted(changes), name
        assert changes[0] > 1.0, name
        assert np.array_equal(alter(frame, 3).image, alter(frame, 3).image), name


def test_places_without_colour_or_a_rendered_night_are_not_altered_by_them():
    grey, room = StyledPlace(PLACE, False, has_colour=False), StyledPlace(PLACE, True, night=Path("night"))
    assert set(alterations_of(grey)) == set(ALTERATIONS) - {COLOUR, NIGHT}
    assert set(alterations_of(room)) == set(ALTERATIONS)


def test_all_installed_ways_are_searched_and_one_with_several_preparations_by_each(monkeypatch):
    assert list(dict.fromkeys(way.search for way in all_ways())) == search_names()
    monkeypatch.setattr(ways, "PREPARATIONS", {"fused": {"fused": {}, "fused, light": {"rho": 0.1}}})
    assert [way.name for way in all_ways() if way.search == "fused"] == ["fused", "fused, light"]
    assert len(all_ways()) == len(search_names()) + 1


def test_a_pose_far_off_is_found_but_wrong():
    figures = figures_of(record(found(0.0), found(0.1), found(2.0), NOT_FOUND))
    assert (figures["images"], figures["found"], figures["wrong"]) == (4, 3, 1)
    assert [one["percent"] for one in figures["recall"]] == [25.0, 50.0]


def test_tables_have_a_row_for_each_way_and_means_count_images():
    good, bad = figures_of(record(found(0.0), found(0.0), found(0.0))), figures_of(record(NOT_FOUND))
    levels = [{"retrieval": good, "fused": good}] * 3 + [{"retrieval": good, "fused": bad}]
    places = {
        "kitchen": {"unseen": False, "alterations": {"darker": levels}},
        "flight": {"unseen": True, "alterations": {"darker": levels, "noise": [levels[3]] * 4}},
    }
    rows = [*style_tables.mean_rows(places, True)]
    assert [row[1] for row in rows] == ["retrieval", "fused"]
    assert all(len(row) == len(style_tables.HEADER) for row in rows)
    assert rows[0][2] == "100 / 100"
    assert rows[1][2:6] == ["100 / 100", "75 / 75", "75 / 75", "0 / 0"]
    text = style_tables.as_markdown({"places": places})
    assert text.count("| fused |") == 3  # of both groups, and a column of the details
    assert "| flight, noise | 100 / 100 / 100 / 100 | 0 / 0 / 0 / 0 |" in text
    assert style_tables.draw({"places": places}).startswith(b"\x89PNG")


def test_changed_rooms_have_a_row_for_each_share_and_way():
    shares = [{"retrieval": figures_of(record(found(0.01)))}] * len(changed.SHARES)
    text = changed.as_markdown({"rooms": {"601": {"unseen": False, "shares": shares}}})
    assert text.count("| 1 of 1 | 100 % | 100 % | 0 | 1.00 |") == len(changed.SHARES)


def test_places_of_one_map_are_far_apart_with_their_points_and_one_global_index(tmp_path):
    one = open_map(DEMO_MAP)
    write_joined(tmp_path / "building", [one, replace(one, name="other"), replace(one, name="third")])
    joined = open_map(tmp_path / "building")
    assert (len(joined.images), len(joined.points)) == (3 * len(one.images), 3 * len(one.points))
    assert len(joined.thumbnails) == 3 * len(one.thumbnails)
    assert joined.global_descriptors.shape == (len(joined.images), one.global_descriptors.shape[1])
    offsets = joined.camera_positions - np.tile(one.camera_positions, (3, 1))
    assert np.allclose(offsets, np.repeat(offsets[:: len(one.images)], len(one.images), axis=0))
    assert np.allclose(offsets[0], 0.0)
    assert np.diff(offsets[:: len(one.images), 0]).min() > 90.0
    ours, theirs = (joined.images[row] for row in (0, 2 * len(one.images)))
    seen = ours.point_rows >= 0
    shift = offsets[2 * len(one.images)]
    assert np.allclose(joined.points[theirs.point_rows[seen]] - joined.points[ours.point_rows[seen]], shift)
