"""The state of dpvo between frames, and the bookkeeping that keeps all numbers consistent (Teed et al. 2023).

Frames are the kept ones, numbered from the oldest; patch ``k`` is number ``k % M`` of frame ``k // M``. Poses are
camera_from_world. Images, intrinsics and patch coordinates are on the quarter grid.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from visloc_dpvo import lie
from visloc_dpvo.config import PATCH_SIDE, DpvoConfig
from visloc_dpvo.edges import Edges
from visloc_dpvo.pairs import MeasuredPairs
from visloc_dpvo.rings import FeatureRings, FrameFeatures
from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.trajectory import Trajectory


class DpvoState:
    """Poses, patches, features and edges of up to ``buffer_size`` frames.

    ``num_frames`` n counts the kept frames. ``poses`` (N, 7), ``intrinsics`` (N, 4) fx fy cx cy and ``patches``
    (N, M, 3, 3, 3) have room for N; rows from n on mean nothing. ``frame_ids`` are the input numbers of the kept
    frames. ``edges`` are updated, ``archived`` ones only take part in global adjustment (None where there is none);
    where a window updates all patches of a frame at once, its ``pairs`` take the place of edges.
    ``odom_from_world`` undoes what ``move_world`` did, so that poses given out go on without a jump. ``units`` (N,)
    are lengths in the world of one of odometry as it was by a frame when its pose was given out, 0 before that.
    """

    def __init__(
        self, config: DpvoConfig, map_size: tuple[int, int], device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        """Make an empty state for maps of (height, width) cells; features are kept in ``dtype``."""
        config = config.resolved()
        capacity, per_frame = config.buffer_size, config.patches_per_frame
        self.patches_per_frame, self.capacity, self.device = per_frame, capacity, device
        self.num_frames = 0
        self.poses = lie.identity(capacity, device=device)
        self.intrinsics = torch.zeros(capacity, 4, device=device)
        self.patches = torch.zeros(capacity, per_frame, 3, PATCH_SIDE, PATCH_SIDE, device=device)
        self.frame_ids: list[int] = []
        patch_frames = max(config.ring_frames, min(config.max_edge_age, capacity)) if config.loop_closure else 0
        self.features = FeatureRings(
            config.ring_frames, patch_frames or config.ring_frames, per_frame, map_size, device, dtype
        )
        self.edges = Edges.none(device)
        self.pairs = MeasuredPairs.none()
        self.archived = Edges.none(device).without_state() if config.loop_closure else None
        self.timeline = Timeline(device)
        self.odom_from_world = Sim3.identity()
        self.units = torch.zeros(capacity, device=device)
        self.num_forgotten = 0
        self._forgotten_stamps: list[NDArray[np.int64]] = []
        self._forgotten_poses: list[Array] = []  # as they are given out, in rows, since there may be very many

    @property
    def flat_patches(self) -> Tensor:
        """Patches (N * M, 3, 3, 3) by their number."""
        return self.patches.flatten(0, 1)

    @property
    def frame_id_rows(self) -> Tensor:
        """Input numbers of the kept frames (n,)."""
        return torch.tensor(self.frame_ids, device=self.device)

    @property
    def inverse_depths(self) -> Tensor:
        """Inverse depth of every pixel of every patch (n, M, 3, 3); a view."""
        return self.patches[: self.num_frames, :, 2]

    def put(self, frame_id: int, intrinsics: Tensor, patches: Tensor, features: FrameFeatures) -> None:
        """Write input ``frame_id`` into the next row; it counts only after ``accept``."""
        row = self.num_frames
        self.intrinsics[row], self.patches[row], self.units[row] = intrinsics, patches, 0.0
        self.features.store(row, features)
        self.expect(frame_id)

    def expect(self, frame_id: int) -> None:
        """Take note of the input that is in the next row."""
        self._next_id = frame_id

    def accept(self) -> None:
        """Keep the frame that was put last."""
        self.frame_ids.append(self._next_id)
        self.num_frames += 1

    def patches_of(self, begin: int, end: int) -> Tensor:
        """Numbers of all patches of frames ``begin`` to ``end`` - 1."""
        count = self.patches_per_frame
        return torch.arange(max(begin, 0) * count, max(begin, end, 0) * count, device=self.device)

    def new_edges(self, kk: Tensor, jj: Tensor) -> Edges:
        """Edges, not yet part of the state, from patches ``kk`` (E,) to frames ``jj`` (E,)."""
        return Edges.new(kk // self.patches_per_frame, jj, kk)

    def add_edges(self, kk: Tensor, jj: Tensor) -> None:
        """Append edges from patches ``kk`` (E,) to frames ``jj`` (E,)."""
        self.edges = self.edges + self.new_edges(kk, jj)

    def retire(self, old: Tensor) -> None:
        """Stop updating the edges of a mask (E,); they are archived where a global adjustment can use them."""
        if self.archived is not None:
            self.archived = self.archived + self.edges[old].without_state()
        self.edges = self.edges[~old]

    def drop_frame(self, frame: int) -> None:
        """Remove a kept frame and its edges: inputs tied to it are tied to the frame before, later frames move up.

        The frame must be younger than whatever archived edges touch, and not the oldest.
        """
        relative = lie.compose(self.poses[frame], lie.inverse(self.poses[frame - 1]))
        end = self.frame_ids[frame + 1] if frame + 1 < self.num_frames else len(self.timeline)
        self.timeline.tie(self.frame_ids[frame], end, relative)
        self.edges = self.edges.without_frame(frame, self.patches_per_frame)
        self.pairs = self.pairs.without_frame(frame)
        for values in (self.poses, self.intrinsics, self.patches, self.units):
            values[frame : self.num_frames - 1] = values[frame + 1 : self.num_frames].clone()
        for later in range(frame, self.num_frames - 1):
            self.features.copy(later + 1, later)
        del self.frame_ids[frame]
        self.num_frames -= 1

    def rescale(self, factors: Tensor) -> None:
        """Multiply the depths of every kept frame, and the lengths of inputs tied to it, by ``factors`` (n,)."""
        self.inverse_depths.div_(factors[:, None, None, None])
        self.units[: self.num_frames] *= factors
        self.timeline.scale(self.frame_id_rows, factors)

    def move_world(self, factor: float, origin: int = 0) -> None:
        """Multiply all lengths by ``factor`` and put the world's origin into the camera of frame ``origin``."""
        count = self.num_frames
        self.poses[:count, :3] *= factor
        self.rescale(torch.full((count,), factor, device=self.device))
        origin_from_world = self.poses[origin].clone()
        self.poses[:count] = lie.compose(self.poses[:count], lie.inverse(origin_from_world))
        (origin_se3,) = to_se3(origin_from_world[None])
        new_from_old = Sim3.from_se3(origin_se3) @ Sim3(factor, np.eye(3), np.zeros(3))
        self.odom_from_world = self.odom_from_world @ new_from_old.inverse

    def give_out_newest(self) -> SE3:
        """``odom_from_camera`` of the newest frame, and take note of its unit of length."""
        newest = self.num_frames - 1
        self.units[newest] = 1.0 / self.odom_from_world.scale
        (pose,) = self.odom_from_camera(self.poses[newest : newest + 1])
        return pose

    def odom_from_camera(self, camera_from_world: Tensor) -> list[SE3]:
        """Poses as they are given out, of rows (T, 7)."""
        return _from_rows(self._given_out(camera_from_world))

    def forget_oldest(self, frames: int) -> None:
        """Make room: drop the first ``frames`` with their edges, but keep their poses."""
        ids = self.frame_id_rows
        first_kept = self.frame_ids[frames]
        track = self.timeline.poses(ids, self.poses)[: first_kept - self.timeline.first]
        self._forgotten_poses.append(self._given_out(track))
        self._forgotten_stamps.append(np.array(self.timeline.take_before(first_kept), dtype=np.int64))
        for values in (self.poses, self.intrinsics, self.patches, self.units):
            values[: self.num_frames - frames] = values[frames : self.num_frames].clone()
        self.edges = self.edges.without_oldest(frames, self.patches_per_frame)
        self.pairs = self.pairs.without_oldest(frames)
        if self.archived is not None:
            self.archived = self.archived.without_oldest(frames, self.patches_per_frame)
        self.features.forget(frames)
        self.frame_ids = self.frame_ids[frames:]
        self.num_frames -= frames
        self.num_forgotten += frames

    def trajectory(self) -> Trajectory:
        """``odom_from_camera`` of every input, kept or not, as known now."""
        stamps = [*self._forgotten_stamps, np.array(self.timeline.stamps_ns, dtype=np.int64)]
        rows = list(self._forgotten_poses)
        if self.num_frames:
            rows.append(self._given_out(self.timeline.poses(self.frame_id_rows, self.poses)))
        return Trajectory(np.concatenate(stamps), tuple(_from_rows(np.concatenate([np.empty((0, 7)), *rows]))))

    def _given_out(self, camera_from_world: Tensor) -> Array:
        """Rows (T, 7) of ``odom_from_camera`` in double precision."""
        world_from_camera = lie.inverse(camera_from_world.cpu().double()).numpy()
        turns = Rotation.from_matrix(self.odom_from_world.rotation) * Rotation.from_quat(world_from_camera[:, 3:])
        return np.column_stack((self.odom_from_world @ world_from_camera[:, :3], turns.as_quat()))


def to_se3(poses: Tensor) -> list[SE3]:
    """Rows (T, 7) tx ty tz qx qy qz qw as transforms in double precision."""
    return _from_rows(poses.detach().double().cpu().numpy())


def _from_rows(rows: Array) -> list[SE3]:
    matrices = Rotation.from_quat(rows[:, 3:]).as_matrix() if len(rows) else np.empty((0, 3, 3))
    return [SE3(rotation, row[:3]) for rotation, row in zip(matrices, rows, strict=True)]


# Where every input frame was, kept or not: each is tied to the newest kept frame that is not younger than itself. When
# a kept frame is dropped, all inputs tied to it are tied to the one before it, so there are never chains to walk.

_FIRST_CAPACITY = 256


class Timeline:
    """Inputs numbered from 0: ``stamps_ns`` of each, and its pose relative to the kept frame that it is tied to.

    Only inputs from ``first`` on are here; ``take_before`` gave earlier ones away.
    """

    def __init__(self, device: torch.device) -> None:
        self.first = 0
        self.stamps_ns: list[int] = []
        self._relative = lie.identity(_FIRST_CAPACITY, device=device)

    def __len__(self) -> int:
        """Number of the next input."""
        return self.first + len(self.stamps_ns)

    def append(self, stamp_ns: int) -> int:
        """Count an input in; gives its number."""
        if len(self.stamps_ns) == len(self._relative):
            room = lie.identity(len(self._relative), device=self._relative.device)
            self._relative = torch.cat((self._relative, room))
        self.stamps_ns.append(stamp_ns)
        return len(self) - 1

    def stamp_ns(self, frame_id: int) -> int:
        """Stamp of an input."""
        return self.stamps_ns[frame_id - self.first]

    def tie(self, begin: int, end: int, dropped_from_kept: Tensor) -> None:
        """Tie inputs ``begin`` to ``end`` - 1, so far tied to a dropped frame, to the frame kept before it.

        ``dropped_from_kept`` (7,) is the dropped frame's pose times the inverse of the kept frame's.
        """
        rows = slice(begin - self.first, end - self.first)
        self._relative[rows] = lie.compose(self._relative[rows], dropped_from_kept)

    def scale(self, frame_ids: Tensor, factors: Tensor) -> None:
        """Multiply the lengths of inputs tied to the kept frames ``frame_ids`` (n,) by ``factors`` (n,)."""
        rows = self._anchors(frame_ids)
        self._relative[: len(rows), :3] *= factors[rows, None]

    def poses(self, frame_ids: Tensor, camera_from_world: Tensor) -> Tensor:
        """Poses (T, 7) camera_from_world of all inputs, given those of the kept frames ``frame_ids`` (n,)."""
        rows = self._anchors(frame_ids)
        return lie.compose(self._relative[: len(rows)], camera_from_world[rows])

    def take_before(self, frame_id: int) -> list[int]:
        """Release the inputs before ``frame_id`` and give their stamps."""
        count = frame_id - self.first
        taken, self.stamps_ns = self.stamps_ns[:count], self.stamps_ns[count:]
        fresh = lie.identity(len(self._relative), device=self._relative.device)
        fresh[: len(self.stamps_ns)] = self._relative[count : count + len(self.stamps_ns)]
        self._relative, self.first = fresh, frame_id
        return taken

    def _anchors(self, frame_ids: Tensor) -> Tensor:
        """Row of the kept frame that each input is tied to (T,); inputs before the first one are tied to it, too."""
        ids = torch.arange(self.first, len(self), device=frame_ids.device)
        return (torch.searchsorted(frame_ids, ids, right=True) - 1).clamp(min=0)
