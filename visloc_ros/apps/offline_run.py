"""The localizer over a source of frames: the offline half of 'one engine serves online and offline'."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from visloc_ros.apps.best_estimate import best_estimate
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.progress import track
from visloc_ros.core.repeated_images import NOISELESS_MEANING
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import (
    ACCEPTED,
    PENDING,
    Anchor,
    Estimate,
    Frame,
    LoopClosure,
    OdometryPose,
    Rejection,
    TrackedPose,
    Verdict,
)
from visloc_ros.evaluation import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.evaluation.records import InnovationRecord
from visloc_ros.fusion import FusionConfig
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.smoothing.trajectory_smoothing import RecordedMeasurements
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.mapping import Progress
from visloc_ros.odometry import OdometryConfig, SensorPlayback, make_odometry
from visloc_ros.pipeline import (
    AnchorRunner,
    Backend,
    BackendConfig,
    BackendListener,
    Engine,
    InlineAnchors,
    Localizer,
    TrackingListener,
)
from visloc_ros.pipeline.backend import Mount
from visloc_ros.pipeline.localizer import PointTracker
from visloc_ros.sources import FrameSource
from visloc_ros.sources.measurements import Measurements


@dataclass(frozen=True)
class RunConfig(Config):
    """Options of an offline run."""

    causal: bool = option(
        False, "give each frame the pose that a live system would have, not the best one that is known in the end"
    )
    anchor_period_s: float = option(
        0.25, "least time between two images searched in the map, in seconds; more of them improve no pose", minimum=0.0
    )
    anchor_latency_s: float = option(
        0.4,
        "in a causal run, the time of a search in the map, after which its anchor joins, in seconds",
        minimum=0.0,
    )
    is_noiseless: bool = option(False, NOISELESS_MEANING)
    odometry: OdometryConfig = section(OdometryConfig)
    anchor: AnchorConfig = section(AnchorConfig)
    map_tracking: MapTrackingConfig = section(MapTrackingConfig)
    fusion: FusionConfig = section(FusionConfig)


class RunListener(BackendListener, TrackingListener):
    """Keeps the inputs of the estimate, for the report."""

    def __init__(self) -> None:
        self.odometry: OdometryPose | Rejection | None = None
        self._anchors: dict[int, AnchorRecord] = {}
        self.innovations: list[InnovationRecord] = []
        self.tracked: Counter[str] = Counter()
        self.measurements = RecordedMeasurements()

    @property
    def anchors(self) -> tuple[AnchorRecord, ...]:
        """All anchors, in the order in which they came."""
        return tuple(self._anchors.values())

    def on_odometry(self, frame: Frame, result: OdometryPose | Rejection) -> None:
        """Remember the newest odometry."""
        self.odometry = result
        self.measurements.add(result)

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Verdict) -> None:
        """Count frames with a pose from followed map points, and why others have none."""
        self.tracked[verdict.reason.value if isinstance(verdict, Rejection) else ACCEPTED.value] += 1
        self.measurements.add(result)

    def on_loop(self, loop: LoopClosure, verdict: Verdict) -> None:
        """Keep a loop for the smoother of the whole run, even if the fuser refused it."""
        self.measurements.add(loop)

    def on_anchor(self, anchor: Anchor, verdict: Verdict) -> None:
        """Record an anchor with the fuser's verdict; one that was PENDING gets its final one."""
        result = anchor.result
        if result.stamp_ns not in self._anchors:
            self.measurements.add(result)
        fused = None if isinstance(result, Rejection) or verdict is PENDING else verdict is ACCEPTED
        record = AnchorRecord.from_result(result, fused)
        if isinstance(verdict, Rejection):
            record = replace(record, reason=verdict.reason)
        self._anchors[result.stamp_ns] = record

    def on_innovation(self, innovation: Innovation) -> None:
        """Record an innovation."""
        self.innovations.append(InnovationRecord.from_innovation(innovation))


def words_of_tracking(outcomes: Mapping[str, int]) -> str:
    """A line on the frames with a pose from followed map points, and on the others by reason."""
    without = ", ".join(f"{count} {reason}" for reason, count in sorted(outcomes.items()) if reason != ACCEPTED.value)
    words = f"followed map points gave {outcomes.get(ACCEPTED.value, 0)} of {sum(outcomes.values())} frames a pose"
    return f"{words} ({without})" if without else words


def search_inline(engine: Engine, config: RunConfig) -> InlineAnchors:
    """Anchors as often and as late as the options say."""
    return InlineAnchors(engine, config.anchor_period_s, config.anchor_latency_s if config.causal else 0.0)


def make_backend(
    config: RunConfig, anchors: AnchorRunner, listener: BackendListener, mount: Mount = SE3.identity
) -> Backend:
    """A back end by the options, for a camera mounted so."""
    return Backend(BackendConfig(fusion=config.fusion), anchors, mount, listener)


def run_offline(
    place: Map,
    source: FrameSource,
    ground_truth: Trajectory | None,
    config: RunConfig,
    progress: Progress,
    anchors: AnchorRunner | None = None,
    measurements: Measurements | None = None,
    engine: AnchorEngine | None = None,
) -> RunRecord:
    """Take every frame of a source through the localizer; deterministic.

    A frame that cannot be read, or Ctrl-C, ends the run: the record is of the frames before it, and says so.
    ``engine`` searches the map, made from the options unless it is given; ``anchors`` are by default its own, inline;
    ``measurements`` are what other sensors recorded beside the images.
    """
    begin_s = time.monotonic()
    engine = engine or AnchorEngine(place, config.anchor, most_turns=1)
    listener = RunListener()
    backend = make_backend(config, anchors or search_inline(engine, config), listener)
    run = FrameRun(place, config, engine, backend, listener, measurements or Measurements())
    run.process(track(progress, "localize", source, len(source)))
    if not config.causal:
        run.estimate_best(track(progress, "estimate all frames", islice(source, run.seen), run.seen))
    run.close()
    return RunRecord(
        title=f"{source.name} in {place.name}" + (", not to its end" if run.ended_by else ""),
        frames=tuple(run.frames),
        anchors=run.listener.anchors,
        ground_truth=ground_truth,
        map_points=place.points,
        map_camera_positions=place.camera_positions,
        config=config.to_mapping(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        wall_s=time.monotonic() - begin_s,
        notes=(words_of_tracking(run.listener.tracked),) if run.listener.tracked else (),
        metric=place.manifest.metric,
        innovations=tuple(run.listener.innovations),
        ended_by=run.ended_by,
        processor_ms=run.processor_ms,
    )


class FrameRun:
    """A localizer over frames: a record of each, and the error that ended it before the last one, if any."""

    def __init__(
        self,
        place: Map,
        config: RunConfig,
        engine: Engine,
        backend: Backend,
        listener: RunListener,
        measurements: Measurements,
        map_tracker: PointTracker | None = None,
    ) -> None:
        self._place, self._config, self._engine = place, config, engine
        self.backend, self.listener = backend, listener
        self._odometry = SensorPlayback(make_odometry(config.odometry), measurements)
        if map_tracker is None and config.map_tracking.enabled:
            map_tracker = MapTracker(place, config.map_tracking)
        self._localizer = Localizer(
            self._odometry, self.backend, map_tracker, self.listener, is_noiseless=config.is_noiseless
        )
        self.frames: list[FrameRecord] = []
        self.seen = 0
        self.ended_by: BaseException | None = None

    def process(self, frames: Iterable[Frame]) -> None:
        """Give each frame the pose that is known in time; an error does not lose those before it."""
        try:
            for frame in frames:
                self.add(frame)
        except (VislocError, KeyboardInterrupt) as error:
            if not self.frames:
                raise
            self.ended_by = error

    def add(self, frame: Frame) -> Estimate | None:
        """Give the next frame the pose that is known in time; None for one that is out of order."""
        estimate = self._localizer.process(frame)
        self.seen += 1
        if estimate is not None:
            self.frames.append(FrameRecord.from_estimate(estimate, self.listener.odometry))
        return estimate

    def estimate_best(self, frames: Iterable[Frame]) -> None:
        """Give the same frames, read again, the best pose that is known in the end."""
        self._odometry.finish()
        measurements = self.listener.measurements
        measurements.loops.extend(self._odometry.take_loops())  # those found at the end
        best = best_estimate(self.frames, measurements, frames, self._engine, self._place, self._config.fusion)
        self.frames, self.ended_by = list(best.frames), self.ended_by or best.ended_by

    def close(self) -> None:
        """End the processes beside it."""
        self._odometry.close()
        self.backend.close()

    @property
    def processor_ms(self) -> dict[str, float]:
        """Processor time of each stage for a frame."""
        return {stage: taken / max(self.seen, 1) for stage, taken in self._localizer.processor.stage_ms.items()}
