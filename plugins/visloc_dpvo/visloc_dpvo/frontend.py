"""Adds one image after the other to the state: the front end of Deep Patch Visual Odometry (Teed et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from visloc_dpvo import lie, projection
from visloc_dpvo.bundle import BundleReport
from visloc_dpvo.config import START_FRAMES, DpvoConfig
from visloc_dpvo.correlation import correlate
from visloc_dpvo.edges import Edges
from visloc_dpvo.loops import GlobalAdjustment, ProximityLoops, adjust_along
from visloc_dpvo.patch_places import gradient_centres, random_centres
from visloc_dpvo.rings import FrameFeatures
from visloc_dpvo.state import DpvoState
from visloc_dpvo.support import MeasurementSupport, support_of_newest
from visloc_ros.core.timing import Stopwatch

START_UPDATES = END_UPDATES = 12
MIN_START_MOTION_PX = 2.0  # median flow on the quarter grid between the first frames
DEPTH_FRAMES = 3  # newest frames whose median depth the next one starts with

UpdateOperator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class Network(Protocol):
    """The network that describes images and patches (``network.PatchNetwork``)."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (128, h, w) to match and (384, h, w) of context, of a BGR image (3, H, W), uint8."""

    def extract(self, fmap: Tensor, imap: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut patches at cells (M, 2): features (M, 128, 3, 3), context (M, 384), patches (M, 3, 3, 3)."""


class AppearanceLoops(Protocol):
    """Loops closed by a pose graph that changes the state (``retrieval_loops.RetrievalLoops``)."""

    def add_frame(self, state: DpvoState, image: Tensor) -> None:
        """Take note of the newest kept frame and its BGR image (3, H, W), uint8."""

    def close(self, state: DpvoState) -> bool:
        """Close the loops that were found; whether the state was changed."""

    def finish(self, state: DpvoState) -> bool:
        """As ``close``, after the last frame."""


@dataclass(frozen=True)
class FrameOutcome:
    """The outcome of an input: whether it was kept, the median flow of the start's probe, and the last adjustment."""

    kept: bool
    start_motion_px: float | None = None
    adjustment: BundleReport | None = None
    dropped_keyframe: bool = False


class FrontEnd:
    """Owns a ``DpvoState`` and takes frames of one size and one camera into it.

    ``network`` describes images, ``update`` is the update operator. Random places and depths are drawn on the CPU from
    the configured seed, so they are the same on every device.
    """

    def __init__(
        self,
        config: DpvoConfig,
        network: Network,
        update: UpdateOperator,
        map_size: tuple[int, int],
        device: torch.device,
        appearance_loops: AppearanceLoops | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Begin with an empty state for maps of (height, width) cells; features are kept in ``dtype``."""
        self._config = config.resolved()
        self._network, self._operator = network, update
        self._map_size, self._device = map_size, device
        self._loops = ProximityLoops(config) if config.loop_closure else None
        self._global_adjustment = GlobalAdjustment(config)
        self._appearance_loops = appearance_loops
        self._generator = torch.Generator().manual_seed(config.seed)
        self.state = DpvoState(config, map_size, device, dtype)
        self.started = False

    @torch.no_grad()
    def process(self, image: Tensor, intrinsics: Tensor, stamp_ns: int, watch: Stopwatch) -> FrameOutcome:
        """Take one input: BGR image (3, H, W), uint8, and its intrinsics (4,) on the quarter grid."""
        state = self.state
        self._make_room()
        with watch("encode"):
            self._put(image, intrinsics, stamp_ns)
        if not self.started and state.num_frames:
            start_motion_px = self._probe_motion()
            if start_motion_px < MIN_START_MOTION_PX:
                return FrameOutcome(kept=False, start_motion_px=start_motion_px)
        state.accept()
        if self._appearance_loops is not None:
            self._appearance_loops.add_frame(state, image)
        if self._loops is not None:
            self._loops.add(state)
        self._connect()
        return self._settle(watch)

    @torch.no_grad()
    def finish(self) -> BundleReport | None:
        """Update everything to convergence, after the last frame; gives the last adjustment."""
        report = None
        if self._appearance_loops is not None:
            self._appearance_loops.finish(self.state)
        if self._loops is not None:
            self._loops.add(self.state, at_the_end=True)
        for _ in range(END_UPDATES if self._measures else 0):
            report = self._update(Stopwatch(), at_the_end=True)
        return report

    def support(self) -> MeasurementSupport:
        """What supports the pose of the newest frame, once the front end has started."""
        return support_of_newest(self.state, self._map_size)

    @property
    def _measures(self) -> bool:
        """Whether anything is measured."""
        return len(self.state.edges) > 0

    def _connect(self) -> None:
        """Begin the measurements of the newest frame."""
        connect_newest(self.state, self._config.patch_lifetime)

    def _retire(self) -> None:
        """End the measurements of old patches."""
        retire_old(self.state, self._config.removal_window, self._config.optimization_window)

    def _update(self, watch: Stopwatch, *, at_the_end: bool = False) -> BundleReport:
        """Ask the network where all measured patches are, and adjust poses and depths to that."""
        state, edges = self.state, self.state.edges
        with watch("correlate"):
            coordinates = self._project(edges)
            correlation = self._correlate(edges, coordinates)
        with watch("update"):
            net, delta, weight = self._ask(edges, correlation)
            state.edges = edges.updated(net, coordinates[:, :, 1, 1] + delta, weight)
        with watch("adjust"):
            if self._global_adjustment.is_due(state, at_the_end=at_the_end):
                return self._global_adjustment.run(state)
            return self._adjust()

    def _settle(self, watch: Stopwatch) -> FrameOutcome:
        """Updates, keyframe test and the end of old measurements, after a frame was kept."""
        if not self.started:
            self.started = self.state.num_frames == START_FRAMES
            reports = [self._update(watch) for _ in range(START_UPDATES if self.started else 0)]
            return FrameOutcome(kept=True, adjustment=reports[-1] if reports else None)
        report = self._update(watch)
        dropped = self._drop_keyframe()
        self._retire()
        if self._appearance_loops is not None:
            with watch("close"):
                self._appearance_loops.close(self.state)
        return FrameOutcome(kept=True, adjustment=report, dropped_keyframe=dropped)

    def _make_room(self) -> None:
        if self.state.num_frames + 1 >= self.state.capacity:
            self.state.forget_oldest(self.state.capacity // 2)

    def _put(self, image: Tensor, intrinsics: Tensor, stamp_ns: int) -> None:
        """Write a new frame into the state's next row, at the predicted pose."""
        state, (centres, drawn) = self.state, self._draw(image)
        frame_id = state.timeline.append(stamp_ns)
        features, patches = describe(self._network, image, centres.to(self._device))
        state.poses[state.num_frames] = self._predicted_pose(stamp_ns)
        patches[:, 2] = self._first_depths(drawn.to(self._device))
        state.put(frame_id, intrinsics, patches, features)

    def _first_depths(self, drawn: Tensor) -> Tensor:
        """Inverse depths that broadcast to (M, 3, 3): the drawn ones at first, then the newest frames' median."""
        return self.state.inverse_depths[-DEPTH_FRAMES:].median() if self.started else drawn

    def _draw(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Patch centres (M, 2) by the configured strategy, and inverse depths (M, 1, 1) that count before the start."""
        count, generator = self._config.patches_per_frame, self._generator
        draw = random_centres
        if self._config.centroid_sel_strat == "GRADIENT_BIAS":
            draw = partial(gradient_centres, image)
        centres = draw(count, self._map_size, generator)
        return centres, torch.rand(count, 1, 1, generator=generator)

    def _predicted_pose(self, stamp_ns: int) -> Tensor:
        """Pose (7,) predicted from the motion so far; that of the first two frames is the origin."""
        state, count = self.state, self.state.num_frames
        if count < 2:
            return state.poses.new_tensor([0, 0, 0, 0, 0, 0, 1])
        last, before = state.poses[count - 1], state.poses[count - 2]
        if self._config.motion_model != "DAMPED_LINEAR":
            return last
        return extrapolate(last, before, self._steps_ahead(stamp_ns), self._config.motion_damping)

    def _steps_ahead(self, stamp_ns: int) -> float:
        """Time since the last frame over the time between the last two; there must be two."""
        timeline = self.state.timeline
        last_ns, before_ns = (timeline.stamp_ns(frame_id) for frame_id in self.state.frame_ids[:-3:-1])
        return steps_ahead(stamp_ns, last_ns, before_ns)

    def _probe_motion(self) -> float:
        """Median flow in pixels of the quarter grid from the last kept frame to the one that was put."""
        state = self.state
        kk = state.patches_of(state.num_frames - 1, state.num_frames)
        edges = state.new_edges(kk, torch.full_like(kk, state.num_frames))
        _, delta, _ = self._ask(edges, self._correlate(edges, self._project(edges)))
        return median(delta.norm(dim=1))

    def _project(self, edges: Edges) -> Tensor:
        state = self.state
        return projection.reproject(state.poses, state.flat_patches, state.intrinsics, edges.ii, edges.jj, edges.kk)

    def _correlate(self, edges: Edges, coordinates: Tensor) -> Tensor:
        rings = self.state.features
        patch_rows, frame_rows = rings.patch_rows(edges.kk), rings.frame_rows(edges.jj)
        return correlate(rings.flat_gmap, rings.pyramid, coordinates, patch_rows, frame_rows)

    def _ask(self, edges: Edges, correlation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden state, flow (E, 2) and weights (E, 2) of the update operator."""
        rings = self.state.features
        context = rings.flat_context[rings.patch_rows(edges.kk)]
        return self._operator(edges.net, context, correlation, edges.ii, edges.jj, edges.kk)

    def _adjust(self) -> BundleReport:
        return adjust_along(self.state, self.state.edges, self._first_free)

    @property
    def _first_free(self) -> int:
        """The first frame whose pose is adjusted."""
        return max(self.state.num_frames - self._config.optimization_window, 1) if self.started else 1

    def _drop_keyframe(self) -> bool:
        """Drop the frame between two that hardly differ."""
        frame = self.state.num_frames - self._config.keyframe_index
        flow = self._mean_flow(frame - 1, frame + 1)
        if flow is None or flow >= self._config.keyframe_thresh:
            return False
        self.state.drop_frame(frame)
        return True

    def _mean_flow(self, one: int, other: int) -> float | None:
        return mean_flow(self.state, one, other)


def describe(network: Network, image: Tensor, centres: Tensor) -> tuple[FrameFeatures, Tensor]:
    """Features of an image and of its patches at cells (M, 2), and the patches (M, 3, 3, 3)."""
    fmap, imap = network.encode(image)
    gmap, context, patches = network.extract(fmap, imap, centres)
    return FrameFeatures(fmap, gmap, context), patches


LOOP_FRAMES_APART = 30  # measurements over more frames than these close a loop


def connect_newest(state: DpvoState, lifetime: int) -> None:
    """Look for the patches of the last frames in the newest one, and for its own in the last frames and in itself."""
    newest, oldest = state.num_frames - 1, max(state.num_frames - lifetime, 0)
    earlier = state.patches_of(oldest, newest)
    state.add_edges(earlier, torch.full_like(earlier, newest))
    targets = torch.arange(oldest, newest + 1, device=state.device)
    own = state.patches_of(newest, newest + 1)
    state.add_edges(own.repeat_interleave(len(targets)), targets.repeat(len(own)))


def retire_old(state: DpvoState, removal_window: int, optimization_window: int) -> None:
    """End the measurements of patches older than the removal window; recent loops stay."""
    edges, count = state.edges, state.num_frames
    old = edges.ii < count - removal_window
    if state.archived is not None:
        old &= ~((edges.jj - edges.ii > LOOP_FRAMES_APART) & (edges.jj > count - optimization_window))
    state.retire(old)


def mean_flow(state: DpvoState, one: int, other: int) -> float | None:
    """Mean flow between two frames, there and back, in pixels of the quarter grid; None where nothing measures it."""
    edges = state.edges
    forth, back = (edges.ii == one) & (edges.jj == other), (edges.ii == other) & (edges.jj == one)
    if not (forth.any() and back.any()):
        return None
    return 0.5 * sum(_mean_flow(state, edges[chosen]) for chosen in (forth, back))


def _mean_flow(state: DpvoState, edges: Edges) -> float:
    flow, _ = projection.flow_magnitude(state.poses, state.flat_patches, state.intrinsics, edges.ii, edges.jj, edges.kk)
    return float(flow.mean())


_MAX_STEPS = 4.0  # a guess over a longer gap in the images is worse than none of it


def extrapolate(last: Tensor, before: Tensor, steps: float, damping: float) -> Tensor:
    """Pose (7,) after ``last``, if the motion since ``before`` went on for ``steps`` times its time, damped."""
    return lie.retract(last, damping * steps * lie.log(lie.compose(last, lie.inverse(before))))


def steps_ahead(stamp_ns: int, last_ns: int, before_ns: int) -> float:
    """Time since the last frame over the time between the last two, at most a few; 1 where stamps do not increase."""
    gap_ns = last_ns - before_ns
    if gap_ns <= 0 or stamp_ns <= last_ns:
        return 1.0
    return min((stamp_ns - last_ns) / gap_ns, _MAX_STEPS)


def median(values: Tensor) -> float:
    """Interpolated median of all values."""
    return float(torch.quantile(values.float().flatten(), 0.5))
