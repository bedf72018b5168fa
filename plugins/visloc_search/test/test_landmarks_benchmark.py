"""The benchmarks of the search by landmarks: what is counted, and that figures add up."""

import numpy as np
import pytest

from plugins.visloc_search.benchmarks.landmarks import kidnapped
from plugins.visloc_search.benchmarks.landmarks.kidnapped import Trial, row, summarize
from plugins.visloc_search.benchmarks.landmarks.measured import Measured, accuracy_cells, number
from plugins.visloc_search.benchmarks.landmarks.search import BASELINE, HEADER, way_row
from plugins.visloc_search.benchmarks.landmarks.storage import STORAGE_HEADER, saved_percent, storage_row
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.evaluation.series import PoseSeries

ORIGIN = SE3(np.eye(3), np.zeros(3))


def test_images_without_a_pose_count_in_recall_but_not_in_errors():
    measured = Measured()
    measured.add(Rejection(0, Reason.FEW_INLIERS, {}, {}), ORIGIN, 3.0)
    measured.poses.append(SE3(np.eye(3), np.array([0.1, 0.0, 0.0])))
    measured.truths.append(ORIGIN)
    measured.milliseconds.append(1.0)
    figures = measured.figures()
    assert (figures["images"], figures["found"]) == (2, 1)
    assert figures["recall_percent"] == [0.0, 50.0]
    assert figures["position_m"] == pytest.approx(0.1)
    assert len(way_row("room", BASELINE, figures)) == len(HEADER)


def test_figures_of_nothing_found_are_dashes():
    measured = Measured()
    measured.add(Rejection(0, Reason.FEW_INLIERS, {}, {}), ORIGIN, 3.0)
    assert accuracy_cells(measured.figures())[-1] == "–"
    assert number(None, "{:.1f}") == "–"


def test_bytes_saved_are_reported_with_the_recogniser():
    figures = {
        "hloc": {"local features": 900_000, "global descriptors": 60_000, "model": 40_000},
        "hloc_total": 1_000_000,
        "retrieval_total": 500_000,
        "landmarks_total": 50_000,
        "recogniser": 150_000,
    }
    cells = storage_row("place", "network", figures, 1.5)
    assert len(cells) == len(STORAGE_HEADER)
    assert cells[-4:] == ["50", "150", "80.0 %", "1.50"]
    assert saved_percent(200, 100) == -100.0


def test_a_camera_that_is_never_found_again_waits_for_ever():
    figures = summarize([Trial(1, 4, 0, 0, (5.0,)), Trial(3, 8, 1, 2, (7.0,)), Trial(2, None, 0, 0, ())])
    assert figures["anchor"] == {"found": 3, "longest": 3}
    assert figures["fused"] == {"found": 2, "longest": None}
    cells = row("landmarks", figures)
    assert cells == ["landmarks", "3", "3", "3", "2", "–", "1", "2", "6"]
    assert len(cells) == len(kidnapped.HEADER)


def test_frames_are_counted_from_the_first_after_the_black_ones():
    seconds = np.arange(33, 39) / 10.0
    nothing = np.full(6, np.nan)
    errors = np.array([0.0, 0.0, 1.0, 0.3, 0.1, 0.1])
    poses = PoseSeries(seconds, np.zeros((6, 3)), errors, np.zeros(6), nothing, nothing, nothing, 6)
    trusted = np.array([True, True, True, False, True, True])
    assert kidnapped.after_the_black(poses, trusted, 10.0) == (3, 1)
    assert kidnapped.after_the_black(poses, np.zeros(6, bool), 10.0) == (None, 0)
