"""The localizer over a source of frames: the offline half of 'one engine serves online and offline'."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, replace

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import AnchorPose, OdometryPose, Rejection
from visloc_ros.evaluation import AnchorRecord, FrameRecord, RunRecord
from visloc_ros.fusion import Fuser, FusionConfig, InlineAnchors, Listener, Localizer
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.mapping import Progress
from visloc_ros.mapping.progress import track
from visloc_ros.odometry import OdometryConfig, make_odometry
from visloc_ros.sources import FrameSource


@dataclass(frozen=True)
class RunConfig(Config):
    """Options of an offline run."""

    anchor_every: int = option(15, "frames between two searches in the map", minimum=1)
    anchor_latency_s: float = option(1.0, "how late an anchor joins after its image, in seconds", minimum=0.0)
    odometry: OdometryConfig = section(OdometryConfig)
    anchor: AnchorConfig = section(AnchorConfig)
    fusion: FusionConfig = section(FusionConfig)


class RunListener(Listener):
    """Keeps what goes into the fuser for the report."""

    def __init__(self) -> None:
        self.odometry: OdometryPose | Rejection | None = None
        self.anchors: list[AnchorRecord] = []

    def on_odometry(self, result: OdometryPose | Rejection) -> None:
        """Remember the newest odometry."""
        self.odometry = result

    def on_anchor(self, result: AnchorPose | Rejection, verdict: Rejection | None) -> None:
        """Record an anchor with the fuser's verdict."""
        latency_ms = sum(result.stage_ms.values())
        fused = None if isinstance(result, Rejection) else verdict is None
        record = AnchorRecord.from_result(result, latency_ms, fused)
        self.anchors.append(record if verdict is None else replace(record, reason=verdict.reason))


def run_offline(
    place: Map, source: FrameSource, ground_truth: Trajectory | None, config: RunConfig, progress: Progress
) -> RunRecord:
    """Take every frame of a source through the localizer; deterministic."""
    listener, begin_s = RunListener(), time.monotonic()
    odometry = make_odometry(config.odometry)
    anchors = InlineAnchors(AnchorEngine(place, config.anchor), config.anchor_every, config.anchor_latency_s)
    fuser = Fuser(config.fusion, metric=place.manifest.metric)
    localizer = Localizer(odometry, anchors, fuser, listener)
    frames = []
    for frame in track(progress, "localize", source, len(source)):
        estimate = localizer.process(frame)
        tracked = listener.odometry
        tracking_ms = sum(tracked.stage_ms.values()) if tracked is not None else None
        frames.append(FrameRecord.from_estimate(estimate, tracked, tracking_ms))
    odometry.close()
    anchors.close()
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
        metric=place.manifest.metric,
    )
