"""Projection of patches, apparent motion and world points, against plain matrices."""

import numpy as np
import pytest
import torch

from visloc_dpvo import lie
from visloc_dpvo.projection import flow_magnitude, reproject

FX, FY, CX, CY = 40.0, 42.0, 24.0, 18.0


def views(*tangents: tuple[float, ...]) -> torch.Tensor:
    return lie.exp(torch.tensor(tangents, dtype=torch.float64))


def patch(x: float, y: float, inverse_depth: float) -> torch.Tensor:
    around = torch.arange(3.0, dtype=torch.float64) - 1
    depth = torch.tensor(inverse_depth, dtype=torch.float64)
    return torch.stack(torch.broadcast_tensors(x + around, y + around[:, None], depth))[None]


INTRINSICS = torch.tensor([[FX, FY, CX, CY], [FX, FY, CX, CY]], dtype=torch.float64)
ZERO, ONE = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)


def test_coordinates_are_those_of_a_pinhole_camera():
    poses, intrinsics = views((0.1, 0, 0, 0.05, 0, 0), (0.3, -0.2, 0.4, 0.1, -0.2, 0.3)), INTRINSICS.clone()
    intrinsics[1] = torch.tensor([30.0, 31.0, 20.0, 21.0])
    coords = reproject(poses, patch(30, 12, 0.5), intrinsics, ZERO, ONE, ZERO)
    turn, shift = (part.numpy() for part in (lie.rotation(poses), poses[:, :3]))
    for row, col in np.ndindex(3, 3):
        point = 2 * np.array([(29 + col - CX) / FX, (11 + row - CY) / FY, 1])
        seen = turn[1] @ (turn[0].T @ (point - shift[0])) + shift[1]
        expected = 30 * seen[0] / seen[2] + 20, 31 * seen[1] / seen[2] + 21
        assert coords[0, :, row, col].tolist() == pytest.approx(expected)


def test_a_patch_in_its_own_frame_stays_where_it_is():
    poses = views((0.3, -0.2, 0.4, 0.1, -0.2, 0.3))
    assert torch.allclose(reproject(poses, patch(7, 9, 0.3), INTRINSICS, ZERO, ZERO, ZERO), patch(7, 9, 0.3)[:, :2])


@pytest.mark.parametrize(("z", "divisor", "in_front"), [(0.3, 0.3, True), (0.15, 0.15, False), (0.05, 0.1, False)])
def test_depth_is_clamped_before_dividing(z, divisor, in_front):
    poses = views((0.0,) * 6, (0.5, 0, z - 1, 0, 0, 0))
    coords = reproject(poses, patch(CX, CY, 1.0), INTRINSICS, ZERO, ONE, ZERO)
    assert coords[0, :, 1, 1].tolist() == pytest.approx([FX * 0.5 / divisor + CX, CY])
    _, valid = flow_magnitude(poses, patch(CX, CY, 1.0), INTRINSICS, ZERO, ONE, ZERO)
    assert valid.all() == valid.any() == in_front


def test_flow_of_a_turn_counts_in_part_and_that_of_a_shift_wholly():
    turn, shift = views((0.0,) * 6, (0, 0, 0, 0, 0.1, 0)), views((0.0,) * 6, (0.1, 0, 0, 0, 0, 0))
    arguments = patch(CX, CY, 0.5), INTRINSICS, ZERO, ONE, ZERO
    turned = FX * np.tan(0.1)
    assert flow_magnitude(turn, *arguments)[0][0, 1, 1].item() == pytest.approx(0.5 * turned)
    assert flow_magnitude(turn, *arguments, beta=0.8)[0][0, 1, 1].item() == pytest.approx(0.8 * turned)
    assert flow_magnitude(shift, *arguments)[0][0].flatten().tolist() == pytest.approx([0.05 * FX] * 9)
