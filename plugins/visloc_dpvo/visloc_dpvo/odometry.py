"""dpvo as an odometry of the package: from frames of any camera, ``odom_from_camera`` or the reason for having none."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import pycolmap
import torch
from torch import Tensor

from visloc_dpvo.config import CELL_PX, START_FRAMES, DpvoConfig
from visloc_dpvo.frontend import FrameOutcome, FrontEnd
from visloc_dpvo.images import PinholeImages
from visloc_dpvo.network import PatchNetwork
from visloc_dpvo.retrieval_loops import LoopModels, RetrievalLoops
from visloc_dpvo.window_frontend import WindowFrontEnd, one_kernel
from visloc_ros.core.errors import ModelError
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, LoopClosure, OdometryPose, Reason, Rejection
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.odometry.backend import Odometry
from visloc_ros.odometry.frame_check import FrameCheck

log = logging.getLogger(__name__)


class DpvoOdometry(Odometry):
    """Tracks one camera. The origin of every segment is the camera of its first frame, its unit of no meaning.

    The first pose comes with the eighth frame that moved. Every pose is the estimate of the newest frame at that time;
    the decision whether a frame stays comes three frames later, and ``is_keyframe`` is the decision on that frame.
    """

    def __init__(self, config: DpvoConfig, network: PatchNetwork | None = None, *, live: bool = False) -> None:
        """Load the configured weights, unless a network is given; ``live`` looks for loops beside the frames.

        Raises ModelError when the weights are missing or damaged, or there is no such device.
        """
        self._config = config.resolved()
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self._device = pick_device(config.device)
        self._network = network or load_network(config.weights, self._device)
        self._dtype = pick_dtype("auto" if config.mixed_precision else "float32", self._device)
        self._network.set_precision(self._dtype)
        # Loops by proximity measure patches over more frames than a window has.
        self._correlate = None if config.loop_closure else one_kernel(self._device, self._dtype)
        self._loop_models = LoopModels.load(config) if config.classic_loop_closure else None
        self._live = live
        self._num_segments = 0
        self._frames = FrameCheck()
        self._session: _Session | None = None
        self._closures: list[LoopClosure] = []

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        self._watch = watch = Stopwatch()
        unusable = self._frames.refuse(frame)
        if unusable is not None:
            return unusable
        if self._frames.is_new_camera(frame):
            self._session = None
        session = self._session = self._session or self._begin(frame.camera)
        contrast = float(cv2.meanStdDev(frame.grey)[1][0, 0])
        if contrast < self._config.min_contrast or not session.images.large_enough:
            width, height = session.images.size
            counts = {"contrast": contrast, "width": width, "height": height}
            return self._miss(session, frame.stamp_ns, Reason.FEW_FEATURES, counts)
        with watch("prepare"):
            image = torch.from_numpy(session.images(frame.image)).to(self._device)
        step = session.front_end.process(image, session.intrinsics, frame.stamp_ns, watch)
        with watch("judge"):
            return self._judge(session, frame.stamp_ns, step)

    def take_loops(self) -> Sequence[LoopClosure]:
        """Loops closed by retrieval since the last call, those of ``finish`` included.

        Loops by proximity measure patches in many frames, not the pose of one camera in another. Their adjustment
        changes the scale of frames without recording it, so with ``loop_closure`` none can be given.
        """
        taken = () if self._config.loop_closure else tuple(self._closures)
        self._closures.clear()
        return taken

    def finish(self) -> Trajectory | None:
        """End the segment: adjust to convergence, and give ``odom_from_camera`` of all its frames.

        Frames that were not kept move along with the one kept before them. None where no segment had started. The
        next frame begins another segment.
        """
        session, self._session = self._session, None
        if session is None or session.segment is None:
            return None
        session.front_end.finish()
        return session.front_end.state.trajectory()

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment, and stamps may start again."""
        self._frames.reset()
        self._session = None
        self._closures.clear()

    def close(self) -> None:
        """Release images and features; a search for loops in the background ends with them."""
        self._session = None

    def _begin(self, camera: pycolmap.Camera) -> _Session:
        images = PinholeImages(camera, self._config.max_width)
        intrinsics = torch.from_numpy(images.quarter_intrinsics).float().to(self._device)
        models = self._loop_models
        loops = None
        if models is not None:
            loops = RetrievalLoops(self._config, models, self._closures, live=self._live)
        return _Session(images, intrinsics, self._front_end(images.map_size, loops))

    def _front_end(self, map_size: tuple[int, int], loops: RetrievalLoops | None) -> FrontEnd:
        network, common = self._network, (map_size, self._device, loops, self._dtype)
        if self._correlate is None:
            return FrontEnd(self._config, network, network.update, *common)
        return WindowFrontEnd(self._config, network, network.update, self._correlate, *common)

    def _judge(self, session: _Session, stamp_ns: int, step: FrameOutcome) -> OdometryPose | Rejection:
        """Decide whether there is a pose for the frame that was taken last."""
        front_end = session.front_end
        if not front_end.started:
            return Rejection(stamp_ns, Reason.DEGENERATE_MOTION, _start_counts(front_end, step), self._watch.stage_ms)
        if session.last_good_ns is None:
            session.last_good_ns = stamp_ns
        support = front_end.support()
        counts = {"measured": support.measured, "fitting": support.fitting, "mean_weight": support.mean_weight}
        failed = step.adjustment is not None and step.adjustment.failure is not None
        if failed or support.share < self._config.min_support:
            return self._miss(session, stamp_ns, Reason.FEW_INLIERS, counts | {"adjustment_failed": float(failed)})
        return self._pose(session, stamp_ns, support.fitting, is_keyframe=not step.dropped_keyframe)

    def _pose(self, session: _Session, stamp_ns: int, num_tracked: int, is_keyframe: bool) -> OdometryPose:
        if session.segment is None:
            session.segment, self._num_segments = self._num_segments, self._num_segments + 1
            log.info("odometry segment %d started", session.segment)
        session.last_good_ns = stamp_ns
        pose = session.front_end.state.give_out_newest()
        return OdometryPose(stamp_ns, pose, session.segment, num_tracked, is_keyframe, self._watch.stage_ms)

    def _miss(self, session: _Session, stamp_ns: int, reason: Reason, counts: Mapping[str, float]) -> Rejection:
        """No pose for this frame; after ``recovery_s`` without any, start again."""
        rejection = Rejection(stamp_ns, reason, counts, self._watch.stage_ms)
        last_ns = session.last_good_ns
        if last_ns is not None and stamp_ns - last_ns > self._config.recovery_s * NANOSECONDS:
            log.warning("odometry lost since %d ns, starts again: %s", last_ns, rejection)
            self._session = None
        return rejection


@dataclass
class _Session:
    """One camera's images and front end; it has a ``segment`` number once there was a pose."""

    images: PinholeImages
    intrinsics: Tensor
    front_end: FrontEnd
    segment: int | None = None
    last_good_ns: int | None = None


def _start_counts(front_end: FrontEnd, step: FrameOutcome) -> dict[str, float]:
    counts: dict[str, float] = {"frames": front_end.state.num_frames, "frames_needed": START_FRAMES}
    if step.start_motion_px is not None:
        counts["motion_px"] = CELL_PX * step.start_motion_px
    return counts


_NAMES = ("dpvo",)
_TRAINING_ONLY = "update.lmbda"


def load_network(path: str | Path, device: torch.device) -> PatchNetwork:
    """The network with the weights of ``path``, or of dpvo.pth in torch's cache where the path is empty; for inference.

    The file is a state dictionary as published: names may begin with ``module.``, and what only training needs is
    left out. Raises ModelError when the file is missing, damaged, or of another network.
    """
    if str(path) and not Path(path).expanduser().is_file():
        raise ModelError(f"the weights file {path} does not exist: 'visloc fetch-weights dpvo' gets the official one")
    network = PatchNetwork()
    load_weights(network, find_weights(str(path), _NAMES), _published_name)
    return network.eval().requires_grad_(False).to(device)


def _published_name(name: str) -> str:
    return "" if _TRAINING_ONLY in name else name.replace("module.", "")
