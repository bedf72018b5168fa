"""The picture of matches: a panel for each way, with its counts, inliers and outliers in their colours."""

import numpy as np
import pytest

from plugins.visloc_search.benchmarks.fused.match_picture import MatchPanel, draw_matches
from visloc_ros.evaluation.plot_style import LIGHT, to_png

NOTHING = "none: 0 of 0 keypoints agree"


def panel(title, inliers):
    pixels = np.random.default_rng(0).uniform(0.0, 60.0, (len(inliers), 2))
    projected = pixels + 1.0
    projected[0] = np.nan  # behind the camera
    return MatchPanel(title, pixels, projected, np.array(inliers))


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_both_ways_are_drawn_with_their_counts(shape):
    image = np.full(shape, 90, np.uint8)
    figure = draw_matches(image, [panel("local", [False, True, False]), panel("fused", [False, True, True])])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["local: 1 of 3 keypoints agree", "fused: 2 of 3 keypoints agree"]
    counts = {LIGHT.bad: 1, LIGHT.good: 2}
    drawn = {dots.get_facecolor()[0].tobytes(): len(dots.get_offsets()) for dots in figure.axes[1].collections}
    assert sorted(drawn.values()) == sorted(counts.values())
    assert to_png(figure).startswith(b"\x89PNG")


def test_nothing_matched_is_drawn_as_well():
    nothing = MatchPanel("none", np.empty((0, 2)), np.empty((0, 2)), np.empty(0, bool))
    assert draw_matches(np.zeros((48, 64), np.uint8), [nothing]).axes[0].get_title(loc="left") == NOTHING
