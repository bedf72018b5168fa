"""Updates in tables of fixed sizes, as a GPU does them in one graph, against those edge by edge."""

import numpy as np
import pytest
import torch
from dpvo_golden import golden_network
from dpvo_oracle import (
    CPU,
    INTRINSICS,
    MAP_SIZE,
    STEP_NS,
    FlatNetwork,
    Oracle,
    ate,
    sideways_path,
    zeros_of_correlation,
)

from visloc_dpvo import DpvoConfig, frontend
from visloc_dpvo.bundle import BundleFailure
from visloc_dpvo.correlation import correlate
from visloc_dpvo.frontend import FrontEnd
from visloc_dpvo.window_frontend import WindowFrontEnd
from visloc_ros.core.timing import Stopwatch

NO_FRAME, SOME_FRAMES, ALL_FRAMES = -1.0, 15.0, 1e6  # thresholds below which keyframes are dropped


class WindowOracle(Oracle):
    """The same journey through a window."""

    def __init__(self, path, **options):
        super().__init__(path, **options)
        config = DpvoConfig(**options)
        self.front_end = WindowFrontEnd(config, FlatNetwork(), self, zeros_of_correlation, MAP_SIZE, CPU)

    def __call__(self, net, inp, corr, ii, jj, kk):
        return self.update(net, inp, corr, ii, jj, kk)

    def step(self, net, inp, corr, groups):
        pairs, per_frame = self.state.pairs, self.state.patches_per_frame
        filled = [np.zeros(len(net) // per_frame, int) for _ in range(2)]
        for part, frames in zip(filled, (pairs.source, pairs.target), strict=True):
            part[: len(frames)] = frames
        ii, jj = (torch.from_numpy(part).repeat_interleave(per_frame) for part in filled)
        kk = ii * per_frame + torch.arange(per_frame).repeat(len(net) // per_frame)
        return self.update(net, inp, corr, ii, jj, kk)


@pytest.fixture(scope="module", params=[NO_FRAME, SOME_FRAMES, ALL_FRAMES], ids=["no frame", "some", "all"])
def journeys(request):
    """A known path, edge by edge and by a window, with some keyframes dropped."""
    options = {"patches_per_frame": 4, "keyframe_thresh": request.param, "preset": "fast"}
    return [kind(sideways_path(), **options).run() for kind in (Oracle, WindowOracle)]


def test_the_same_frames_are_kept_at_the_same_poses(journeys):
    edges, window = journeys
    assert window.state.frame_ids == edges.state.frame_ids
    assert [step.dropped_keyframe for step in window.steps] == [step.dropped_keyframe for step in edges.steps]
    assert_same_state(window.state, edges.state, 1e-4)
    assert window.kept_error() == pytest.approx(edges.kept_error(), rel=0.01)


def test_adjustments_and_support_are_the_same(journeys):
    edges, window = journeys
    assert [step.adjustment for step in window.steps] == [step.adjustment for step in edges.steps]
    expected, found = (journey.front_end.support() for journey in journeys)
    assert found.measured == expected.measured > 0
    assert found.fitting == expected.fitting
    assert found.mean_weight == pytest.approx(expected.mean_weight)


def test_the_end_is_the_same(journeys):
    for journey in journeys:
        journey.finish()
    edges, window = journeys
    assert_same_state(window.state, edges.state, 1e-4)
    assert window.kept_error() < 3e-4


def assert_same_state(one, other, tolerance):
    """Poses and depths of the kept frames, in units of the mean depth: nothing measures the length of a unit."""
    for found, expected in zip(*(in_mean_depths(state) for state in (one, other)), strict=True):
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def in_mean_depths(state):
    nearness, poses = state.inverse_depths.mean(), state.poses[: state.num_frames].clone()
    poses[:, :3] *= nearness
    return poses, state.inverse_depths / nearness


def test_old_frames_are_forgotten():
    options = {"patches_per_frame": 2, "keyframe_thresh": NO_FRAME, "preset": "cpu", "buffer_size": 64}
    edges, window = (kind(sideways_path(80), **options).run() for kind in (Oracle, WindowOracle))
    assert window.state.num_forgotten == edges.state.num_forgotten == 32
    assert_same_state(window.state, edges.state, 1e-3)
    errors = [ate(journey.path, journey.state.trajectory().positions) for journey in (edges, window)]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)


@pytest.fixture(scope="module")
def images():
    """Noise that moves sideways."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.randint(0, 256, (3, 4 * MAP_SIZE[0], 400), generator=generator, dtype=torch.uint8)
    return [plane[:, :, 20 * index : 20 * index + 4 * MAP_SIZE[1]].contiguous() for index in range(9)]


def test_the_network_hears_the_same_messages(images, monkeypatch):
    """Random weights: a wrong neighbour along a patch or across a pair would change everything."""
    monkeypatch.setattr(frontend, "START_UPDATES", 2)
    config, network = DpvoConfig(preset="cpu", patches_per_frame=5, keyframe_thresh=NO_FRAME), golden_network()
    plain = FrontEnd(config, network, network.update, MAP_SIZE, CPU)
    window = WindowFrontEnd(config, network, network.update, correlate, MAP_SIZE, CPU)
    for front_end in (plain, window):
        process(front_end, images)
        assert front_end.state.num_frames == len(images)
    assert_same_state(window.state, plain.state, 1e-3)


def process(front_end, images, first=0):
    stamped = enumerate(images, start=first)
    return [front_end.process(image, INTRINSICS, STEP_NS * index, Stopwatch()) for index, image in stamped]


def test_an_adjustment_that_fails_moves_nothing():
    journey = WindowOracle(sideways_path(), patches_per_frame=4, keyframe_thresh=NO_FRAME, preset="fast").run(12)
    before = journey.state.poses[: journey.state.num_frames].clone()
    journey.state.intrinsics[0] = torch.nan
    journey.run(1)
    assert journey.steps[-1].adjustment.failure is BundleFailure.NOT_FINITE
    assert journey.steps[-1].adjustment.iterations == 0
    assert torch.equal(journey.state.poses[: len(before)], before)
