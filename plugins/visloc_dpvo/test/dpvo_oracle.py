"""A camera on a known path, and an update operator that knows the truth: what is left is geometry and bookkeeping."""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from visloc_dpvo import DpvoConfig, frontend, lie, projection
from visloc_dpvo.frontend import FrontEnd
from visloc_ros.core.geometry import SE3, rotation_matrix, umeyama
from visloc_ros.core.timing import Stopwatch

MAP_SIZE = (24, 32)
INTRINSICS = torch.tensor([26.0, 27.0, 15.5, 11.5])
STEP_NS = 50_000_000
WEIGHT = 0.9
_HIDDEN, _MATCHING = 384, 128
CPU = torch.device("cpu")


class FlatNetwork:
    """Stands in for the encoders: maps of zeros, patches with the right coordinates."""

    def encode(self, image):
        height, width = MAP_SIZE
        return torch.zeros(_MATCHING, height, width), torch.zeros(_HIDDEN, height, width)

    def extract(self, fmap, imap, centres):
        count = len(centres)
        x, y = centres[:, 0].float(), centres[:, 1].float()
        around = torch.arange(3.0) - 1.0
        columns = x[:, None, None] + around[None, None, :]
        rows = y[:, None, None] + around[None, :, None]
        patches = torch.stack((columns.expand(-1, 3, 3), rows.expand(-1, 3, 3), torch.ones(count, 3, 3)), dim=1)
        return torch.zeros(count, _MATCHING, 3, 3), torch.zeros(count, _HIDDEN), patches


@contextmanager
def nothing_to_correlate():
    """Spare the correlation of maps of zeros, which would take most of the time."""
    with patch.object(frontend, "correlate", zeros_of_correlation):
        yield


def zeros_of_correlation(gmap, pyramid, coords, patch_rows, frame_rows):
    assert len(patch_rows) == len(frame_rows) == len(coords)
    assert (patch_rows < len(gmap)).all()
    assert (frame_rows < len(pyramid[0])).all()
    return gmap.new_zeros(len(coords), 7 * 7 * 9 * 2)


class Oracle:
    """Runs a front end on a known path; every measurement is the true one."""

    def __init__(self, path, stamps_ns=None, **options):
        self.path = path
        self.truth = torch.stack([to_row(pose.inverse) for pose in path])
        self.stamps_ns = [STEP_NS * index for index in range(len(path))] if stamps_ns is None else stamps_ns
        self.front_end = FrontEnd(DpvoConfig(**options), FlatNetwork(), self.update, MAP_SIZE, CPU)
        self.steps = []

    @property
    def state(self):
        return self.front_end.state

    def run(self, frames=None):
        """Take the next frames (all) in."""
        first = len(self.steps)
        last = len(self.path) if frames is None else first + frames
        image = torch.zeros(3, 4 * MAP_SIZE[0], 4 * MAP_SIZE[1], dtype=torch.uint8)
        with nothing_to_correlate():
            for index in range(first, last):
                self.steps.append(self.front_end.process(image, INTRINSICS, self.stamps_ns[index], Stopwatch()))
        return self

    def finish(self):
        """Take the run to its end."""
        with nothing_to_correlate():
            self.front_end.finish()

    def update(self, net, inp, corr, ii, jj, kk):
        """Flow from where the state puts the patches to where they truly are."""
        state = self.state
        seen = projection.reproject(state.poses, state.flat_patches, state.intrinsics, ii, jj, kk)[:, :, 1, 1]
        delta = (self.true_pixels(ii, jj, kk) - seen).float()
        return net, delta, torch.full_like(delta, WEIGHT)

    def true_pixels(self, ii, jj, kk):
        state = self.state
        ids = torch.tensor([*state.frame_ids, len(state.timeline) - 1])  # the last one is being probed
        i_from_world, j_from_world = self.truth[ids[ii]], self.truth[ids[jj]]
        fx, fy, cx, cy = INTRINSICS.tolist()
        x, y = state.flat_patches[kk, :2, 1, 1].double().unbind(dim=1)
        inverse_depth = 0.4 + 0.2 * torch.sin(1.7 * x + 2.9 * y + 0.7 * ids[ii])  # every patch is a point of its own
        points = torch.stack(((x - cx) / fx, (y - cy) / fy, torch.ones_like(x), inverse_depth), dim=1)
        in_j = lie.transform(lie.compose(j_from_world, lie.inverse(i_from_world)), points)
        return torch.stack((fx * in_j[:, 0] / in_j[:, 2] + cx, fy * in_j[:, 1] / in_j[:, 2] + cy), dim=1)

    def kept_error(self):
        """Root mean square distance of the kept frames from the truth, after a similarity."""
        state = self.state
        found = lie.inverse(state.poses[: state.num_frames])[:, :3].double().numpy()
        return ate([self.path[index] for index in state.frame_ids], found)


def to_row(pose):
    """A transform as seven numbers in double precision."""
    return torch.from_numpy(np.concatenate((pose.translation, Rotation.from_matrix(pose.rotation).as_quat())))


def ate(truth, positions):
    target = np.array([pose.translation for pose in truth])
    return float(np.sqrt(np.mean(np.square(umeyama(target, positions) @ positions - target).sum(axis=1))))


def sideways_path(frames=50, length=10.0, wiggle=1.0):
    """World_from_camera along x by ``length`` units, with some turning and bobbing."""
    times = np.linspace(0.0, 1.0, frames)
    return [
        SE3(
            rotation_matrix([0.05 * wiggle * np.sin(9 * t), 0.1 * wiggle * np.sin(6 * t), 0.04 * wiggle * t]),
            np.array([length * t, 0.3 * wiggle * np.sin(7 * t), 0.2 * wiggle * np.sin(5 * t)]),
        )
        for t in times
    ]
