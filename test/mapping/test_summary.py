"""Advice comes with poor maps only."""

from dataclasses import replace

import pytest

from visloc_ros.mapping.summary import ImageCount, MapSummary, advise

GOOD = MapSummary(
    "room",
    selected_images=50,
    registered_images=50,
    points=3000,
    observations=20_000,
    mean_track_length=6.7,
    reprojection_error_px=0.9,
    metric=True,
    gravity_aligned=True,
)


def test_a_good_map_needs_no_advice():
    assert advise(GOOD) == ()
    assert GOOD.observations_per_image == 400


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"registered_images": 30, "observations": 12_000}, "30 of 50 images"),
        ({"mean_track_length": 2.4}, "only 2.4 images"),
        ({"observations": 1000}, "only 20 points"),
        ({"reprojection_error_px": 3.1}, "3.1 px off"),
        ({"metric": False}, "not metres"),
    ],
)
def test_each_weakness_is_named(change, words):
    (line,) = advise(replace(GOOD, **change))
    assert words in line


def test_its_text_holds_the_figures_and_the_advice():
    text = str(replace(GOOD, metric=False, seconds={"match": 12.34}, advice=advise(replace(GOOD, metric=False))))
    for words in ("'room'", "50 of 50 images", "3000 points", "0.90 px", "match 12.3 s", "advice: the map's scale"):
        assert words in text
    assert "advice" not in str(GOOD)


def test_sources_are_counted_one_by_one_and_one_that_stayed_outside_is_named():
    counts = (ImageCount("hall", 40, 40), ImageCount("stairs", 10, 0))
    names = tuple(f"{number}.jpg" for number in range(10, 22))
    summary = replace(GOOD, by_source=counts, left_out=names)
    (line,) = advise(summary)
    assert "no image of 'stairs'" in line
    text = str(summary)
    for words in ("'hall': 40 of 40 images", "'stairs': 0 of 10 images", "left out: 10.jpg, ", "19.jpg and 2 more"):
        assert words in text
    assert "'hall': " not in str(replace(GOOD, by_source=counts[:1]))


def test_what_was_unusual_in_mapping_is_the_first_advice():
    assert advise(replace(GOOD, remark="the model was cut"))[0].startswith("the model was cut. ")
