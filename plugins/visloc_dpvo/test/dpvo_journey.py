"""Journeys that drift: by a front end with biased measurements, or a state as dpvo would leave it, without networks."""

import numpy as np
import torch
from dpvo_oracle import CPU, MAP_SIZE, Oracle, ate, to_row

from visloc_dpvo import DpvoConfig, lie
from visloc_dpvo.retrieval_loops import RetrievalLoops
from visloc_dpvo.rings import FrameFeatures
from visloc_dpvo.state import DpvoState
from visloc_ros.core.geometry import SE3

PATCHES = 2
DRIFT = 0.005  # per frame, by which the unit of length shrinks
CONFIG = DpvoConfig(preset="cpu", patches_per_frame=PATCHES, buffer_size=128, classic_loop_closure=True)


def unit_at(frame):
    """Length in odometry of a metre by a frame."""
    return float(np.exp(-DRIFT * frame))


class TurningOracle(Oracle):
    """Measures all but loops a little to the side, the more the further apart the frames: the path bends."""

    def update(self, net, inp, corr, ii, jj, kk):
        net, delta, weight = super().update(net, inp, corr, ii, jj, kk)
        ids = torch.tensor([*self.state.frame_ids, len(self.state.timeline) - 1])
        apart = ids[jj] - ids[ii]
        delta[:, 0] += 0.1 * apart * (apart.abs() < 30)
        return net, delta, weight


class Journey:
    """Frames on a known path, one after another, their images made by ``image(frame)``, BGR planes."""

    def __init__(self, path, image, quarter_intrinsics, models, *, live=False, depth=2.5):
        self.path, self.image, self.depth = path, image, depth
        self.quarter_intrinsics = quarter_intrinsics
        self.closures = []
        self.loops = RetrievalLoops(CONFIG, models, self.closures, live=live)
        self.state = DpvoState(CONFIG, MAP_SIZE, CPU)

    def run(self, frames=None, close=True):
        for frame in range(self.state.num_frames, frames or len(self.path)):
            self._add(frame)
            if close:
                self.loops.close(self.state)
        return self

    def _add(self, frame):
        """The true step from the frame before, in the unit that odometry has by now."""
        state = self.state
        state.timeline.append(frame)
        unit = unit_at(frame) / state.odom_from_world.scale  # closing a loop changed the world's unit
        if frame:
            step = self.path[frame].inverse @ self.path[frame - 1]
            step = to_row(SE3(step.rotation, step.translation * unit)).float()
            state.poses[frame] = lie.compose(step, state.poses[frame - 1])
        patches = torch.ones(PATCHES, 3, 3, 3)
        patches[:, 2] = 1.0 / (self.depth * unit)
        maps = torch.zeros(1, 1, 1).expand(128, *MAP_SIZE)
        features = FrameFeatures(maps, torch.zeros(PATCHES, 128, 3, 3), torch.zeros(PATCHES, 384))
        state.put(frame, self.quarter_intrinsics, patches, features)
        state.accept()
        state.give_out_newest()
        self.loops.add_frame(state, self.image(frame))

    @property
    def error(self):
        """Root mean square distance of the frames so far from the path, after a similarity."""
        state = self.state
        centres = lie.inverse(state.poses[: state.num_frames])[:, :3].double().numpy()
        return ate(self.path[: len(centres)], centres)
