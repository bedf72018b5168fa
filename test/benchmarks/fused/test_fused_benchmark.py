"""The benchmarks of the search by fused descriptors: what is counted, and that figures add up."""

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.fused import million, weights
from benchmarks.fused.million import Cities, foretold_bytes, measure
from benchmarks.fused.twin_facades import Facades
from benchmarks.fused.weights_picture import draw_weights

ROW = {"options": "default", "rho": 0.5, **dict.fromkeys(weights.HEADER[2:], 1.0)}


def test_a_pose_is_right_when_it_is_near_in_both_and_the_median_is_of_all_images():
    rows = [[1.0, 0.5, 0.4, 0.1, 1.0], [1.0, 0.5, 0.4, 0.1, 3.0], [0.4, 0.2, 0.1, np.inf, np.inf]]
    assert weights.place_figures(rows) == pytest.approx([80.0, 40.0, 30.0, 100.0 / 3.0, 10.0, 3.0])


def test_the_tables_have_all_columns_and_the_picture_all_panels():
    merged = {"places": ["room"], "images": [3], "rows": [ROW]}
    text = weights.as_markdown({"merged": [merged], "twins": [{"rho": 0.5, "right_percent": 99.0}]})
    assert "room (3)" in text
    assert text.count("| 0.5 | 1.0 % | 1.0 % | 1.0 % | 1.0 % | 1.00 | 1.00 |") == 1
    assert "99.0 % with rho 0.5" in text
    assert len(draw_weights([ROW]).axes) == 2


def test_images_tell_twin_facades_apart_and_keypoints_guess():
    local, fused = Facades().figures({}, (0.0, 0.5))
    assert local["right_percent"] == pytest.approx(50.0, abs=5.0)
    assert fused["right_percent"] >= 95.0


def test_bytes_are_those_foretold():
    cities = Cities(12_000)
    exact, approximate = measure(cities.codebook("int8"), "int8", [cities.image(100)])
    for one in (exact, approximate):
        assert one["megabytes"] == pytest.approx(one["foretold_megabytes"], rel=0.1)
        assert one["megabytes"] == pytest.approx(foretold_bytes(12_000, "int8", one["index"]) / 1e6, rel=0.1)
    assert exact["inlier_percent"] == 100.0
    assert approximate["inlier_percent"] > 90.0
    report = {"points": 12_000, "keypoints": 100, "rows": [exact, approximate]}
    assert million.as_markdown(report).count("int8") == 2
