"""The localizer over a source of frames: the offline half of 'one engine serves online and offline'."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice

from visloc_ros.apps.best_estimate import best_estimate
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import VislocError
from visloc_ros.core.map import Map
from visloc_ros.core.progress import track
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import (
    ACCEPTED,
    PENDING,
    Anchor,
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
    listener, begin_s = RunListener(), time.monotonic()
    odometry = SensorPlayback(make_odometry(config.odometry), measurements or Measurements())
    engine = engine or AnchorEngine(place, config.anchor)
    anchors = anchors or search_inline(engine, config)
    backend = Backend(BackendConfig(fusion=config.fusion), anchors, listener=listener)
    map_tracker = MapTracker(place, config.map_tracking) if config.map_tracking.enabled else None
    localizer = Localizer(odometry, backend, map_tracker, listener)
    frames: list[FrameRecord] = []
    seen = 0
    ended_by: BaseException | None = None
    try:
        for frame in track(progress, "localize", source, len(source)):
            estimate = localizer.process(frame)
            seen += 1
            if estimate is not None:
                frames.append(FrameRecord.from_estimate(estimate, listener.odometry))
    except (VislocError, KeyboardInterrupt) as error:  # does not lose earlier results
        if not frames:
            raise
        ended_by = error
    if not config.causal:
        odometry.finish()
        listener.measurements.loops.extend(odometry.take_loops())  # those found at the end
        again = track(progress, "estimate all frames", islice(source, seen), seen)
        best = best_estimate(frames, listener.measurements, again, engine, place, config.fusion)
        frames, ended_by = list(best.frames), ended_by or best.ended_by
    odometry.close()
    backend.close()
    return RunRecord(
        title=f"{source.name} in {place.name}" + (", not to its end" if ended_by else ""),
        frames=tuple(frames),
        anchors=listener.anchors,
        ground_truth=ground_truth,
        map_points=place.points,
        map_camera_positions=place.camera_positions,
        config=config.to_mapping(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        wall_s=time.monotonic() - begin_s,
        notes=(words_of_tracking(listener.tracked),) if listener.tracked else (),
        metric=place.manifest.metric,
        innovations=tuple(listener.innovations),
        ended_by=ended_by,
        processor_ms={stage: taken / max(seen, 1) for stage, taken in localizer.processor.stage_ms.items()},
    )
