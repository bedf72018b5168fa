"""The benchmarks of the search by landmarks: which landmarks are in view, what is counted, and that figures add up."""

from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.landmarks import kidnapped
from benchmarks.landmarks.engines import Tried, Unfiltered
from benchmarks.landmarks.kidnapped import Trial, row, summarize
from benchmarks.landmarks.measured import Measured, accuracy_cells, number
from benchmarks.landmarks.picture import colours
from benchmarks.landmarks.prepared import DEFAULT
from benchmarks.landmarks.recognition import hits, landmarks_in_view, prefilter, preparations
from benchmarks.landmarks.search import BASELINE, HEADER, way_row
from benchmarks.landmarks.storage import STORAGE_HEADER, saved_percent, storage_row
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.evaluation.series import PoseSeries

ORIGIN = SE3(np.eye(3), np.zeros(3))


@pytest.mark.parametrize(
    ("shared", "expected"),
    [
        ((30, 29, 40), (True, False, True)),
        ((29, 3, 8), (True, False, False)),
        ((5, 9, 2, 9, 1), (False, True, False, True, False)),
        ((0, 0, 0), (False, False, False)),
    ],
)
def test_a_landmark_is_in_view_with_enough_points_or_among_the_best_third(shared, expected):
    assert landmarks_in_view(np.array(shared)).tolist() == list(expected)


def test_the_prefilter_keeps_landmarks_up_to_a_threshold_and_drops_background_above_it():
    probabilities = [np.array([[0.1, 0.9], [0.5, 0.5]], np.float32), np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)]
    labels = [np.array([1, 1]), np.array([0, 0])]
    kept, dropped = prefilter(probabilities, labels, np.array([0.0, 0.1, 0.5, 1.0]))
    assert kept.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert dropped.tolist() == [1.0, 1.0, 0.5, 0.0]


def test_the_first_landmark_may_be_out_of_view_where_one_of_three_is_in_it():
    probabilities = np.array([[0.1, 0.8, 0.05, 0.05], [0.1, 0.8, 0.05, 0.05], [0.1, 0.1, 0.7, 0.1]], np.float32)
    assert hits(probabilities, 1.0, np.array([True, False, False])) == (True, True)
    assert hits(probabilities, 1.0, np.array([False, True, False])) == (False, True)
    assert hits(probabilities, 1.0, np.array([False, False, False])) == (False, False)


def test_the_default_training_is_not_repeated_under_another_name():
    trained = preparations(("nano", "tiny"), 8.0)
    assert len(trained) == 4
    assert sum(one is DEFAULT for one in trained.values()) == 1


def test_images_without_a_pose_count_in_recall_but_not_in_errors():
    measured = Measured()
    measured.add(Rejection(0, Reason.FEW_INLIERS, {}, {}), ORIGIN, 3.0, (8, 5))
    measured.poses.append(SE3(np.eye(3), np.array([0.1, 0.0, 0.0])))
    measured.truths.append(ORIGIN)
    measured.milliseconds.append(1.0)
    measured.tried.append((2, 0))
    figures = measured.figures()
    assert (figures["images"], figures["found"]) == (2, 1)
    assert figures["recall_percent"] == [0.0, 50.0, 50.0]
    assert figures["position_m"] == pytest.approx(0.1)
    assert (figures["tried_quickly"], figures["tried_learned"]) == (5.0, 2.5)
    cells = way_row(BASELINE, figures, 100.0, figures["search_ms"])
    assert len(cells) == len(HEADER)
    assert cells[-4:-2] == ["1.0", "1.00"]


def test_figures_of_nothing_found_are_dashes():
    measured = Measured()
    measured.add(Rejection(0, Reason.FEW_INLIERS, {}, {}), ORIGIN, 3.0, (8, 5))
    assert accuracy_cells(measured.figures())[-2:] == ["–", "–"]
    assert number(None, "{:.1f}") == "–"


def test_counts_of_what_was_tried_begin_anew():
    tried = Tried(3, 2)
    assert tried.take() == (3, 2)
    assert tried.take() == (0, 0)


def test_bytes_saved_are_told_with_and_without_the_recogniser():
    figures = {
        "images": 10,
        "hloc": {"local features": 900_000, "global descriptors": 60_000, "model": 40_000},
        "hloc_total": 1_000_000,
        "retrieval_total": 500_000,
        "landmarks_total": 50_000,
        "recogniser": 150_000,
    }
    cells = storage_row("place", figures, 1.5)
    assert len(cells) == len(STORAGE_HEADER)
    assert cells[-4:] == ["80.0 %", "95.0 %", "60.0 %", "1.5"]
    assert saved_percent(200, 100) == -100.0


def test_a_camera_that_is_never_found_again_waits_for_ever():
    figures = summarize([Trial(1, 4, 0, 0, (5.0,)), Trial(3, 8, 1, 2, (7.0,)), Trial(2, None, 0, 0, ())])
    assert figures["anchor"] == {"found": 3, "median": 2.0, "longest": 3.0}
    assert figures["fused"] == {"found": 2, "median": 8.0, "longest": None}
    cells = row("landmarks", figures)
    assert cells == ["landmarks", "3", "3", "2", "3", "2", "8", "–", "1", "2", "6"]
    assert len(cells) == len(kidnapped.HEADER)


def test_frames_are_counted_from_the_first_after_the_black_ones():
    seconds = np.arange(33, 39) / 10.0
    nothing = np.full(6, np.nan)
    errors = np.array([0.0, 0.0, 1.0, 0.3, 0.1, 0.1])
    poses = PoseSeries(seconds, np.zeros((6, 3)), errors, np.zeros(6), nothing, nothing, nothing, 6)
    trusted = np.array([True, True, True, False, True, True])
    assert kidnapped.after_the_black(poses, trusted, 10.0) == (3, 1)
    assert kidnapped.after_the_black(poses, np.zeros(6, bool), 10.0) == (None, 0)


@dataclass
class Recogniser:
    """Knows two classes."""

    num_classes = 2
    background_threshold = 0.5

    def recognise(self, features):
        return features


def test_without_the_prefilter_every_keypoint_is_kept():
    unfiltered = Unfiltered(Recogniser())
    assert (unfiltered.num_classes, unfiltered.background_threshold) == (2, 1.0)
    assert unfiltered.recognise("features") == "features"


def test_background_is_grey_and_landmarks_are_not():
    table = colours(np.array([0, 1, 2]), 2)
    assert np.ptp(table[0, :3]) < 0.1 < min(np.ptp(table[1, :3]), np.ptp(table[2, :3]))
