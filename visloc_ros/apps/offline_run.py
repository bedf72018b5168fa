"""The localizer over a source of frames: the offline half of 'one engine serves online and offline'."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from visloc_ros.apps.smoothing import smooth_frames
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Anchor, Frame, LoopClosure, OdometryPose, Rejection, TrackedPose
from visloc_ros.evaluation import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.evaluation.records import InnovationRecord
from visloc_ros.fusion import FusionConfig
from visloc_ros.fusion.batch import Recording
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.mapping import Progress
from visloc_ros.mapping.progress import track
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

FUSED = "fused"


@dataclass(frozen=True)
class RunConfig(Config):
    """Options of an offline run."""

    anchor_period_s: float = option(0.5, "least time between two images searched in the map, in seconds", minimum=0.0)
    anchor_latency_s: float = option(1.0, "how late an anchor joins after its image, in seconds", minimum=0.0)
    smooth: bool = option(False, "estimate the whole trajectory once more afterwards, from all that came")
    odometry: OdometryConfig = section(OdometryConfig)
    anchor: AnchorConfig = section(AnchorConfig)
    map_tracking: MapTrackingConfig = section(MapTrackingConfig)
    fusion: FusionConfig = section(FusionConfig)


class RunListener(BackendListener, TrackingListener):
    """Keeps what goes into the estimate, for the report."""

    def __init__(self) -> None:
        self.odometry: OdometryPose | Rejection | None = None
        self.anchors: list[AnchorRecord] = []
        self.innovations: list[InnovationRecord] = []
        self.tracked: Counter[str] = Counter()
        self.recording = Recording()

    def on_odometry(self, frame: Frame, result: OdometryPose | Rejection) -> None:
        """Remember the newest odometry."""
        self.odometry = result
        self.recording.add(result)

    def on_tracked(self, result: TrackedPose | Rejection, verdict: Rejection | None) -> None:
        """Count frames with a pose from followed map points, and why others have none."""
        self.tracked[FUSED if verdict is None else verdict.reason.value] += 1
        self.recording.add(result)

    def on_loop(self, loop: LoopClosure, verdict: Rejection | None) -> None:
        """Keep a loop for the smoother of the whole run, whatever the fuser made of it."""
        self.recording.add(loop)

    def on_anchor(self, anchor: Anchor, verdict: Rejection | None) -> None:
        """Record an anchor with the fuser's verdict."""
        result = anchor.result
        self.recording.add(result)
        latency_ms = sum(result.stage_ms.values())
        fused = None if isinstance(result, Rejection) else verdict is None
        record = AnchorRecord.from_result(result, latency_ms, fused)
        self.anchors.append(record if verdict is None else replace(record, reason=verdict.reason))

    def on_innovation(self, innovation: Innovation) -> None:
        """Record how a measurement met its prediction."""
        self.innovations.append(InnovationRecord.from_innovation(innovation))


def words_of_tracking(outcomes: Mapping[str, int]) -> str:
    """How many frames got a pose from followed map points, and how often there was none for which reason."""
    without = ", ".join(f"{count} {reason}" for reason, count in sorted(outcomes.items()) if reason != FUSED)
    words = f"followed map points gave {outcomes.get(FUSED, 0)} of {sum(outcomes.values())} frames a pose"
    return f"{words} ({without})" if without else words


def search_inline(engine: Engine, config: RunConfig) -> InlineAnchors:
    """Anchors as often and as late as the options say."""
    return InlineAnchors(engine, config.anchor_period_s, config.anchor_latency_s)


def run_offline(
    place: Map,
    source: FrameSource,
    ground_truth: Trajectory | None,
    config: RunConfig,
    progress: Progress,
    anchors: AnchorRunner | None = None,
    measurements: Measurements | None = None,
) -> RunRecord:
    """Take every frame of a source through the localizer; deterministic.

    ``anchors`` are by default searched inline; ``measurements`` are what other sensors recorded beside the images.
    """
    listener, begin_s = RunListener(), time.monotonic()
    odometry = SensorPlayback(make_odometry(config.odometry), measurements or Measurements())
    anchors = anchors or search_inline(AnchorEngine(place, config.anchor), config)
    backend = Backend(BackendConfig(fusion=config.fusion), anchors, listener=listener)
    map_tracker = MapTracker(place, config.map_tracking) if config.map_tracking.enabled else None
    localizer = Localizer(odometry, backend, map_tracker, listener)
    frames = []
    for frame in track(progress, "localize", source, len(source)):
        estimate = localizer.process(frame)
        if estimate is not None:
            tracked = listener.odometry
            tracking_ms = sum(tracked.stage_ms.values()) if tracked is not None else None
            frames.append(FrameRecord.from_estimate(estimate, tracked, tracking_ms))
    if config.smooth:
        odometry.finish()
        listener.recording.loops.extend(odometry.take_loops())  # those that are found in the end
    odometry.close()
    backend.close()
    return RunRecord(
        title=f"{source.name} in {place.name}",
        frames=tuple(frames),
        anchors=tuple(listener.anchors),
        ground_truth=ground_truth,
        map_points=place.points,
        map_camera_positions=[image.map_from_camera.translation for image in place.images],
        config=config.to_mapping(),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        wall_s=time.monotonic() - begin_s,
        notes=(words_of_tracking(listener.tracked),) if listener.tracked else (),
        metric=place.manifest.metric,
        innovations=tuple(listener.innovations),
        smoothed=smooth_frames(listener.recording, config.fusion, place.manifest) if config.smooth else (),
    )
