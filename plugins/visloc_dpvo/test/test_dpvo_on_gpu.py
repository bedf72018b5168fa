"""The kernel for correlation wherever Triton is, and graphs wherever a GPU is."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dpvo_golden import golden_network
from dpvo_oracle import INTRINSICS, MAP_SIZE, STEP_NS

from visloc_dpvo import DpvoConfig, frontend, lie
from visloc_dpvo.correlation import correlate
from visloc_dpvo.frontend import FrontEnd
from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.window_frontend import WindowFrontEnd, one_kernel
from visloc_ros.core.timing import Stopwatch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
NO_FRAME = -1.0

INTERPRETED = """
import sys
import torch
from visloc_dpvo.correlation_kernel import correlate
inputs = torch.load(sys.argv[1])
torch.save(correlate(*inputs), sys.argv[1])
"""


def correlation_inputs(edges, dtype=torch.float32):
    """Patches of all kinds: inside, torn apart, across the border, far outside, and not a number."""
    generator = torch.Generator().manual_seed(5)
    gmap = torch.randn(5, 128, 3, 3, generator=generator)
    fine = torch.randn(3, 128, 13, 18, generator=generator).to(memory_format=torch.channels_last)
    centres = torch.rand(edges, 2, 1, 1, generator=generator) * torch.tensor([22.0, 17.0])[:, None, None] - 2.0
    coords = centres + 1.5 * torch.randn(edges, 2, 3, 3, generator=generator)
    coords[0] = coords[0].round()
    coords[1, :, 0, 0] += 30.0
    coords[2], coords[3, 0, 1, 1], coords[3, 1] = 1e7, torch.nan, -3.5
    rows = torch.arange(edges)
    pyramid = (fine.to(dtype), torch.nn.functional.avg_pool2d(fine, 4).to(dtype))
    return gmap.to(dtype), pyramid, coords, rows % 5, rows % 3


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernel_computes_what_is_defined(tmp_path):
    """Run by Triton's interpreter, which needs no GPU."""
    inputs, file = correlation_inputs(8), tmp_path / "correlation.pt"
    torch.save(inputs, file)
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    repository = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", INTERPRETED, str(file)], check=True, env=environment, cwd=repository)
    torch.testing.assert_close(torch.load(file), correlate(*inputs), atol=1e-4, rtol=1e-5)


@needs_gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float16, 0.05)])
def test_the_kernel_runs_on_a_gpu(dtype, tolerance):
    gmap, pyramid, *others = correlation_inputs(700, dtype)
    exact = correlate(gmap.float(), tuple(level.float() for level in pyramid), *others)
    gpu = torch.device("cuda")
    kernel = one_kernel(gpu, dtype)
    found = kernel(gmap.to(gpu), tuple(level.to(gpu) for level in pyramid), *(part.to(gpu) for part in others))
    torch.testing.assert_close(found.float().cpu(), exact, atol=tolerance, rtol=1e-2)


@needs_gpu
def test_motions_are_composed_as_on_the_processor():
    """Also where one pose is composed with many."""
    poses = lie.exp(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    for a, b in ((poses, poses.flip(0)), (poses, poses[0]), (poses[0], poses)):
        found = lie.compose(a.cuda(), lie.inverse(b.cuda())).cpu()
        torch.testing.assert_close(found, lie.compose(a, lie.inverse(b)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lie.rotation(poses.cuda()).cpu(), lie.rotation(poses), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lie.adjoint(poses.cuda()).cpu(), lie.adjoint(poses), atol=1e-5, rtol=1e-5)


@needs_gpu
def test_graphs_give_what_edges_give(monkeypatch):
    """Random weights in float32, and few updates: they would make much of small differences."""
    monkeypatch.setattr(frontend, "START_UPDATES", 2)
    gpu, network = torch.device("cuda"), golden_network().to("cuda")
    config = DpvoConfig(preset="cpu", patches_per_frame=8, keyframe_thresh=NO_FRAME)
    plain = FrontEnd(config, network, network.update, MAP_SIZE, gpu)
    window = WindowFrontEnd(config, network, network.update, one_kernel(gpu, torch.float32), MAP_SIZE, gpu)
    for front_end in (plain, window):
        for index, image in enumerate(moving_noise(11)):
            front_end.process(image.to(gpu), INTRINSICS.to(gpu), STEP_NS * index, Stopwatch())
    assert plain.state.num_frames == window.state.num_frames == 11
    torch.testing.assert_close(window.state.poses[:11], plain.state.poses[:11], atol=2e-2, rtol=2e-2)
    assert window.support().measured == plain.support().measured


@needs_gpu
@pytest.mark.parametrize("threshold", [NO_FRAME, 1e6])
def test_half_precision_runs_for_long_and_ends(threshold):
    gpu = torch.device("cuda")
    torch.manual_seed(0)
    network = PatchNetwork().eval().requires_grad_(False).to(gpu)
    network.get_parameter("update.d.1.bias").add_(4.0)  # so that the start sees motion
    network.set_precision(torch.float16)
    config = DpvoConfig(preset="fast", patches_per_frame=16, keyframe_thresh=threshold)
    window = WindowFrontEnd(
        config, network, network.update, one_kernel(gpu, torch.float16), MAP_SIZE, gpu, dtype=torch.float16
    )
    for index, image in enumerate(moving_noise(60)):
        step = window.process(image.to(gpu), INTRINSICS.to(gpu), STEP_NS * index, Stopwatch())
        assert step.adjustment is None or step.adjustment.failure is None
    assert window.state.num_frames == (60 if threshold == NO_FRAME else 8)
    assert window.state.poses[: window.state.num_frames].isfinite().all()
    assert window.finish().failure is None


def moving_noise(count):
    generator = torch.Generator().manual_seed(0)
    width = 4 * MAP_SIZE[1]
    plane = torch.randint(0, 256, (3, 4 * MAP_SIZE[0], 8 * count + width), generator=generator, dtype=torch.uint8)
    return [plane[:, :, 8 * index : 8 * index + width].contiguous() for index in range(count)]
