"""The robustness benchmark's splices of real images, its dead anchors, and its table."""

import numpy as np
import pytest

from benchmarks.robustness.incidents import InterruptedAnchors, as_played_by_nodes, joined
from benchmarks.robustness.scenarios import (
    FLIGHT,
    KITCHEN,
    ROOM,
    SCENARIOS,
    Clip,
    ImageSequence,
    Scenario,
    SplicedSequence,
    to_and_fro,
)
from benchmarks.robustness.tables import HEADER, cells, conclusion
from testing.robustness import Incident
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame, Reason, Rejection


class NumberedSequence:
    """Images that are as bright as their index, on a straight way."""

    def __init__(self):
        self.camera = guess_camera(30, 20)

    def __len__(self):
        return 100

    def image(self, index, camera):
        return np.full((camera.height, camera.width, 3), index, np.uint8)

    def pose(self, index):
        return SE3(np.eye(3), [float(index), 0.0, 0.0])


class Brighter(NumberedSequence):
    def image(self, index, camera):
        return super().image(index + 100, camera)


@pytest.fixture
def splice():
    clips = (Clip(KITCHEN, (5, 6)), Clip(KITCHEN, (7,), dark=True), Clip(FLIGHT, (1, 2)), Clip(KITCHEN, (9,)))
    sequences = {name: NumberedSequence() for name in (KITCHEN, FLIGHT)}
    return SplicedSequence(Scenario("spliced", KITCHEN, clips, 10.0), sequences)


def test_a_splice_shows_its_takes_at_even_stamps(splice):
    frames = list(splice)
    assert len(frames) == len(splice) == 6
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [5, 6, 0, 1, 2, 9]
    assert set(np.diff([frame.stamp_ns for frame in frames])) == {100_000_000}
    assert len({frame.name for frame in frames}) == 6


def test_truth_is_known_where_the_mapped_place_was_filmed(splice):
    """Behind the lens cap the camera moves on; in the other place it is not in the map."""
    stamps_ns = [frame.stamp_ns for frame in splice]
    truth = splice.ground_truth
    assert truth.stamps_ns.tolist() == [stamps_ns[row] for row in (0, 1, 2, 5)]
    assert truth.positions[:, 0].tolist() == [5.0, 6.0, 7.0, 9.0]


def test_images_of_another_place_hide_the_larger_part():
    clips = (Clip(KITCHEN, (5,)), Clip(KITCHEN, (6, 7), hidden_by=FLIGHT))
    sequences = {KITCHEN: NumberedSequence(), FLIGHT: Brighter()}
    frames = list(SplicedSequence(Scenario("hidden", KITCHEN, clips, 10.0), sequences))
    assert [frame.image[0, [0, 11, 12, 29], 0].tolist() for frame in frames] == [
        [5] * 4,
        [6, 6, 106, 106],
        [7, 7, 107, 107],
    ]
    assert len({frame.name for frame in frames}) == 3


@pytest.mark.parametrize(("first", "last", "expected"), [(3, 5, (3, 4, 5, 4, 3, 4, 5)), (5, 3, (5, 4, 3, 4, 5, 4, 3))])
def test_going_to_and_fro_shows_the_ends_once(first, last, expected):
    assert to_and_fro(first, last, 7) == expected


def test_every_scenario_lies_within_its_sequences():
    counts = {KITCHEN: 750, FLIGHT: 400, ROOM: 600}
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        duration_s = sum(len(clip.indices) for clip in scenario.clips) / scenario.rate_hz
        assert all(0 <= index < counts[clip.place] for clip in scenario.clips for index in clip.indices)
        assert scenario.incident is None or scenario.incident.end_s < duration_s - 3.0


class ReadyAnchors:
    """Answers for every frame at once."""

    def __init__(self):
        self.closed, self.asked = False, []

    def is_idle(self, now_ns):
        return True

    def submit(self, frame, prior):
        self.asked.append(frame.stamp_ns)

    def finished(self, now_ns):
        return [Rejection(now_ns, Reason.NO_RETRIEVAL)]

    def close(self):
        self.closed = True


def test_dead_anchors_take_nothing_and_answer_nothing():
    inner = ReadyAnchors()
    anchors = InterruptedAnchors(inner, Incident(1.0, 3.0))
    alive = []
    for second in range(5):
        now_ns = 10**12 + second * 10**9
        idle, results = anchors.is_idle(now_ns), anchors.finished(now_ns)
        assert idle is bool(results)
        alive.append(bool(results))
    assert alive == [True, False, False, True, True]
    anchors.submit(Frame(7, np.zeros((1, 1), np.uint8), None), None)
    anchors.close()
    assert inner.asked == [7]
    assert inner.closed


def test_a_flight_is_redrawn_as_the_kitchen_s_camera_sees_it(shared_data):
    """A pinhole with a narrower view: no border, and straight lines where the lens had bent them."""
    kitchen, flight = (ImageSequence(shared_data / name) for name in ("7scenes_redkitchen", "euroc_mh05"))
    image = flight.image(100, kitchen.camera)
    assert image.shape == (480, 640, 3)
    assert (image.max(axis=2) == 0).mean() < 0.01
    unchanged = flight.image(100, flight.camera)
    assert unchanged.shape == (480, 752, 3)
    assert abs(float(image.mean()) - float(unchanged.mean())) < 20.0


def test_a_scenario_that_is_run_again_replaces_its_row_and_no_other():
    first, second = (one.name for one in SCENARIOS[:2])
    earlier = [{"name": as_played_by_nodes(first), "frames": 1}, {"name": second, "frames": 2}, {"name": "gone"}]
    rows = joined(earlier, [{"name": first, "frames": 3}, {"name": second, "frames": 4}])
    assert [(row["name"], row["frames"]) for row in rows] == [(first, 3), (second, 4), (f"{first}, real nodes", 1)]


def test_the_table_has_a_cell_for_every_column():
    row = {
        "name": "dark", "frames": 10, "poses": 6, "localized": 5, "overconfident": 1, "poses_outside_map": 0,
        "longest_overconfident_s": 0.0, "overconfident_spans_s": [[3.25, 3.25]],
        "detected_after_s": 0.1, "lost_after_s": None, "recovered_after_s": 2.0, "largest_error": 0.12,
        "largest_error_deg": 1.5, "frames_by_state": {"LOCALIZED": 5, "LOST": 4},
        "nees": {"mean": 6.24, "mean_band": [3.0, 9.0], "share_in_band": 0.9},
    }  # fmt: skip
    shown = cells(row)
    assert len(shown) == len(HEADER)
    assert shown[1:4] == ["5, 0, 4 of 10", "–", "2.0 s"]
    assert shown[4:] == ["12.0 cm, 1.5°", "1 (0.0 s)", "6.2"]
    assert cells(row | {"nees": None, "largest_error": None, "overconfident": 0})[4:] == ["–", "0", "–"]
    assert "**1 beyond 3 sigma** (exact covariances: 3)" in conclusion([row | {"localized": 1000}])
