"""Bundle adjustment: derivatives, the solution of a plain dense solver, exact truth, and the rules at the edges."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from visloc_dpvo import bundle_equations, lie
from visloc_dpvo.bundle import BundleFailure, BundleReport, adjust
from visloc_dpvo.linearisation import linearise
from visloc_dpvo.projection import reproject

INTRINSICS = torch.tensor([40.0, 42.0, 24.0, 18.0], dtype=torch.float64)
DAMPING = 1e-4


class Problem(NamedTuple):
    """Frames that look at patches of each other, in double precision."""

    poses: Tensor
    patches: Tensor
    target: Tensor
    weight: Tensor
    ii: Tensor
    jj: Tensor
    kk: Tensor

    @property
    def intrinsics(self) -> Tensor:
        return INTRINSICS.to(self.poses.dtype).repeat(len(self.poses), 1)

    def adjusted(self, first_free: int, num_frames: int = 0, **options) -> tuple[BundleReport, "Problem"]:
        result = self._replace(poses=self.poses.clone(), patches=self.patches.clone())
        frames = num_frames or len(self.poses)
        report = adjust(*result[:2], self.intrinsics, *self[2:], first_free, frames, **options)
        return report, result

    @property
    def depths(self) -> Tensor:
        return self.patches[:, 2, 1, 1]


def scene(frames: int = 6, patches: int = 8, seed: int = 0, reach: int = 9) -> Problem:
    """Exact targets of every patch in every frame at most ``reach`` away, in no order."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    xi = 0.3 * (drawn(frames, 6) - 0.5)
    xi[:, 0] += 0.15 * torch.arange(frames)
    xi[:, 3:] *= 0.3
    count = frames * patches
    centres = torch.stack((4 + 40 * drawn(count), 4 + 28 * drawn(count)), 1)[..., None, None]
    around = torch.arange(3.0, dtype=torch.float64) - 1
    depth = (0.2 + 0.6 * drawn(count))[:, None, None]
    cut = torch.stack(torch.broadcast_tensors(centres[:, 0] + around, centres[:, 1] + around[:, None], depth), 1)
    kk, jj = torch.arange(count).repeat_interleave(frames), torch.arange(frames).repeat(count)
    near = ((kk // patches - jj).abs() <= reach).nonzero()[:, 0]
    edges = near[torch.randperm(len(near), generator=generator)]
    kk, jj = kk[edges], jj[edges]
    poses, weight = lie.exp(xi), 0.3 + 0.7 * drawn(len(kk), 2)
    target = reproject(poses, cut, INTRINSICS.repeat(frames, 1), kk // patches, jj, kk)[:, :, 1, 1]
    return Problem(poses, cut.contiguous(), target, weight, kk // patches, jj, kk)


def disturbed(problem: Problem, first_free: int = 1, size: float = 0.02) -> Problem:
    generator = torch.Generator().manual_seed(7)
    xi = size * torch.randn(len(problem.poses), 6, generator=generator, dtype=torch.float64)
    xi[:first_free] = 0
    patches = problem.patches.clone()
    factors = 1 + 5 * size * (torch.rand(len(patches), generator=generator, dtype=torch.float64) - 0.5)
    patches[:, 2] *= factors[:, None, None]
    return problem._replace(poses=lie.retract(problem.poses, xi), patches=patches)


class TestDerivatives:
    """Central differences in double precision."""

    STEP = 1e-6

    @pytest.fixture
    def edges(self):
        generator = torch.Generator().manual_seed(2)
        relative = lie.exp(0.2 * torch.randn(20, 6, generator=generator, dtype=torch.float64))
        centres = torch.rand(20, 3, generator=generator, dtype=torch.float64) * torch.tensor([48.0, 36.0, 0.8])
        return relative, centres

    def pixels(self, relative: Tensor, centres: Tensor) -> Tensor:
        return -linearise(relative, centres, INTRINSICS, torch.zeros(len(centres), 2, dtype=torch.float64)).residual

    def linearised(self, relative: Tensor, centres: Tensor):
        return linearise(relative, centres, INTRINSICS, self.pixels(relative, centres))

    def test_by_the_target_pose(self, edges):
        relative, centres = edges
        for column, xi in enumerate(self.STEP * torch.eye(6, dtype=torch.float64)):
            ahead, back = (self.pixels(lie.retract(relative, sign * xi), centres) for sign in (1, -1))
            expected = (ahead - back) / (2 * self.STEP)
            assert torch.allclose(self.linearised(*edges).by_target[:, :, column], expected, atol=1e-6)

    def test_by_the_source_pose(self, edges):
        relative, centres = edges
        by_source = -self.linearised(*edges).by_target @ lie.adjoint(relative)
        for column, xi in enumerate(self.STEP * torch.eye(6, dtype=torch.float64)):
            ahead, back = (self.pixels(lie.compose(relative, lie.exp(-sign * xi)), centres) for sign in (1, -1))
            assert torch.allclose(by_source[:, :, column], (ahead - back) / (2 * self.STEP), atol=1e-6)

    def test_by_the_inverse_depth(self, edges):
        relative, centres = edges
        step = torch.tensor([0, 0, self.STEP], dtype=torch.float64)
        expected = (self.pixels(relative, centres + step) - self.pixels(relative, centres - step)) / (2 * self.STEP)
        assert torch.allclose(self.linearised(*edges).by_depth, expected, atol=1e-6)


def plain_step(problem: Problem, first_free: int) -> tuple[Tensor, Tensor]:
    """One damped step from whole matrices: every derivative in one dense Jacobian."""
    frames, used = len(problem.poses), problem.kk.unique()
    relative = lie.compose(problem.poses[problem.jj], lie.inverse(problem.poses[problem.ii]))
    terms = linearise(relative, problem.patches[problem.kk][:, :, 1, 1], INTRINSICS, problem.target)
    edges = torch.arange(len(problem.kk))
    by_pose = torch.zeros(len(edges), 2, frames, 6, dtype=torch.float64)
    by_pose[edges, :, problem.jj] += terms.by_target
    by_pose[edges, :, problem.ii] -= terms.by_target @ lie.adjoint(relative)
    by_pose = by_pose[:, :, first_free:].flatten(2).flatten(0, 1)
    by_depth = torch.zeros(len(edges), 2, len(used), dtype=torch.float64)
    by_depth[edges, :, torch.searchsorted(used, problem.kk)] = terms.by_depth
    by_depth = by_depth.flatten(0, 1)
    weight = (problem.weight * terms.used[:, None]).flatten()[:, None]
    residual = terms.residual.flatten()
    pose_hessian, mixed = by_pose.T @ (weight * by_pose), by_pose.T @ (weight * by_depth)
    inverse_curvature = 1 / ((weight * by_depth.square()).sum(0) + DAMPING)
    pose_side, depth_side = by_pose.T @ (weight[:, 0] * residual), by_depth.T @ (weight[:, 0] * residual)
    reduced = pose_hessian - mixed * inverse_curvature @ mixed.T
    reduced += torch.diag(1e-4 * reduced.diagonal() + 1.0)
    poses = torch.linalg.solve(reduced, pose_side - mixed @ (inverse_curvature * depth_side))
    return poses.view(-1, 6), inverse_curvature * (depth_side - mixed.T @ poses)


@pytest.mark.parametrize("first_free", [0, 1, 4])
@pytest.mark.parametrize("small_pieces", [False, True])
def test_a_step_is_that_of_a_plain_dense_solver(first_free, small_pieces, monkeypatch):
    if small_pieces:
        monkeypatch.setattr(bundle_equations, "_CHUNK_VALUES", 1)
        monkeypatch.setattr(bundle_equations, "_EDGES_AT_A_TIME", 17)
    problem = disturbed(scene(reach=2))
    report, result = problem.adjusted(first_free, iterations=1)
    poses, depths = plain_step(problem, first_free)
    assert report == BundleReport(1, len(problem.kk), len(problem.kk))
    assert torch.allclose(result.poses[first_free:], lie.retract(problem.poses[first_free:], poses), atol=1e-9)
    assert torch.equal(result.poses[:first_free], problem.poses[:first_free])
    assert torch.allclose(result.depths, problem.depths + depths, atol=1e-9)


def test_sources_with_more_and_with_fewer_patches_and_targets():
    problem = disturbed(scene())
    keep = (problem.kk % 5 != 0) & ((problem.jj > 2) | (problem.ii == 1)) & (problem.ii != 3)
    problem = problem._replace(**{name: getattr(problem, name)[keep] for name in Problem._fields[2:]})
    _, result = problem.adjusted(1, iterations=1)
    poses, depths = plain_step(problem, 1)
    used = problem.kk.unique()
    assert torch.allclose(result.poses[1:], lie.retract(problem.poses[1:], poses), atol=1e-9)
    assert torch.allclose(result.depths[used], problem.depths[used] + depths, atol=1e-9)
    untouched = sorted(set(range(len(problem.patches))) - set(used.tolist()))
    assert torch.equal(result.patches[untouched], problem.patches[untouched])


def test_an_edge_that_is_there_twice_counts_twice():
    problem = disturbed(scene())
    doubled = problem._replace(**{name: getattr(problem, name).repeat_interleave(2, 0) for name in Problem._fields[2:]})
    _, result = doubled.adjusted(1, iterations=1)
    poses, _ = plain_step(doubled, 1)
    assert torch.allclose(result.poses[1:], lie.retract(problem.poses[1:], poses), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_targets_lead_to_the_truth(dtype):
    truth = scene(frames=7, patches=20)
    problem = disturbed(truth)
    single = Problem(*(part.to(dtype) if part.is_floating_point() else part for part in problem))
    report, result = single.adjusted(1, iterations=60)
    assert report.failure is None
    poses, depths = result.poses.double(), result.depths.double()
    origin = lie.inverse(truth.poses[0])
    ours, exact = lie.compose(poses, origin), lie.compose(truth.poses, origin)
    scale = (ours[:, :3] * exact[:, :3]).sum() / ours[:, :3].square().sum()
    tolerance = 2e-4 if dtype is torch.float32 else 1e-6
    assert torch.allclose(scale * ours[:, :3], exact[:, :3], atol=tolerance)
    assert torch.allclose(ours[:, 3:], exact[:, 3:], atol=tolerance)
    assert torch.allclose(depths / scale, truth.depths, atol=3 * tolerance)


def test_without_free_poses_only_depths_move():
    truth = scene()
    patches = disturbed(truth).patches
    report, result = truth._replace(patches=patches).adjusted(6, iterations=10)
    assert report.iterations == 10
    assert torch.equal(result.poses, truth.poses)
    assert torch.allclose(result.depths, truth.depths, atol=1e-6)


def test_frames_beyond_the_last_and_before_the_first_free_one_stay():
    problem = disturbed(scene())
    among = (problem.ii < 5) & (problem.jj < 5)
    problem = problem._replace(**{name: getattr(problem, name)[among] for name in Problem._fields[2:]})
    _, result = problem.adjusted(3, num_frames=5)
    moved = (result.poses != problem.poses).any(1)
    assert moved.tolist() == [False, False, False, True, True, False]
    assert (result.depths != problem.depths)[:40].all(), "edges between fixed frames still refine depths"
    assert torch.equal(result.patches[40:], problem.patches[40:])


def two_frames(depth: float, target: tuple[float, float], z: float = 0.0, right: float = 0.5) -> Problem:
    """A patch in the middle of frame 0, seen from ``right`` of it and ``z`` behind."""
    around = torch.arange(3.0, dtype=torch.float64) - 1
    values = torch.broadcast_tensors(24 + around, 18 + around[:, None], torch.tensor(depth, dtype=torch.float64))
    poses = lie.exp(torch.tensor([[0.0] * 6, [-right, 0, z, 0, 0, 0]], dtype=torch.float64))
    index = torch.zeros(1, dtype=torch.long)
    weight = torch.ones(1, 2, dtype=torch.float64)
    return Problem(
        poses, torch.stack(values)[None], torch.tensor([target], dtype=torch.float64), weight, index, index + 1, index
    )


def test_a_depth_is_found_from_one_other_view():
    """24 - 40 * 0.5 * d = -40 is met by d = 3.2, in all nine pixels."""
    _, result = two_frames(1.0, (-40.0, 18.0)).adjusted(2)
    assert result.patches[0, 2].flatten().tolist() == pytest.approx([3.2] * 9, abs=1e-4)


def test_inverse_depth_beyond_twenty_becomes_one():
    """Seen from 1 cm aside, d = 30 is the best fit in one step; it is out of range."""
    _, result = two_frames(19.0, (24 - 0.4 * 30, 18.0), right=0.01).adjusted(2, iterations=1)
    assert result.patches[0, 2].unique().tolist() == [1.0]


def test_inverse_depth_below_zero_becomes_the_least():
    _, result = two_frames(0.1, (40.0, 18.0)).adjusted(2, iterations=1)
    assert result.depths.item() == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("z", "target", "used"),
    [
        (0.0, (10.0, 18.0), 1),
        (-0.79, (-20.0, 18.0), 1),  # 1 - 0.79 is just beyond 0.2
        (-0.81, (-20.0, 18.0), 0),
        (-1.0, (-20.0, 18.0), 0),
        (-2.0, (-20.0, 18.0), 0),
        (0.0, (143.0, 18.0), 1),  # 127 and 129 pixels from where it is seen
        (0.0, (145.0, 18.0), 0),
        (0.0, (float("nan"), 18.0), 0),
    ],
)
def test_what_is_too_near_behind_or_too_far_off_does_not_count(z, target, used):
    problem = two_frames(1.0, target, z, right=0.2)
    report, result = problem.adjusted(1, iterations=1)
    assert report == BundleReport(1, 1, used)
    assert torch.equal(result.poses[1], problem.poses[1]) == (not used)
    assert result.poses.isfinite().all()
    assert result.patches.isfinite().all()


def test_what_projects_far_outside_the_image_does_not_count():
    for right, used in ((2.1, 1), (2.3, 0)):  # x = 24 - 84 = -60 is within 64 pixels of the image, -68 is not
        report, _ = two_frames(1.0, (0.0, 18.0), right=right).adjusted(1, iterations=1)
        assert report.edges_used == used


def test_a_patch_with_nothing_but_its_own_frame_stays():
    problem = two_frames(0.7, (25.0, 19.0))
    report, result = problem._replace(jj=problem.ii).adjusted(0)
    assert report.failure is None
    assert torch.equal(result.depths, problem.depths)
    assert torch.allclose(result.poses, problem.poses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_failure_is_reported_and_changes_nothing(value):
    problem = disturbed(scene())
    problem.weight[3, 0] = value
    report, result = problem.adjusted(1)
    assert report.iterations == 0
    assert report.failure in (BundleFailure.NOT_POSITIVE_DEFINITE, BundleFailure.NOT_FINITE)
    assert torch.equal(result.poses, problem.poses)
    assert torch.equal(result.patches, problem.patches)


def test_negative_curvature_is_reported():
    problem = disturbed(scene())
    report, result = problem._replace(weight=-problem.weight).adjusted(1)
    assert report.failure is BundleFailure.NOT_POSITIVE_DEFINITE
    assert torch.equal(result.poses, problem.poses)


def test_no_edges_are_no_work():
    problem = scene()
    none = problem._replace(**{name: getattr(problem, name)[:0] for name in Problem._fields[2:]})
    assert none.adjusted(1)[0] == BundleReport(0, 0, 0)
