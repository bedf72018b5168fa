import numpy as np
import pytest

from plugins.visloc_geo.benchmarks.retrieval import Recall


def test_recall_of_four_views_on_a_line():
    metres = np.array([0.0, 8.0, 20.0, 60.0])
    distances = np.abs(metres[:, None] - metres)
    angles = np.radians([0.0, 10.0, 30.0, 25.0])  # the last one looks like the third, 40 m away
    found = Recall.of(np.column_stack([np.cos(angles), np.sin(angles)]), distances)
    assert found.median_m == pytest.approx(np.median([8.0, 8.0, 40.0, 40.0]))
    assert (found.first_within_25_m, found.five_within_10_m) == (0.5, 0.5)
