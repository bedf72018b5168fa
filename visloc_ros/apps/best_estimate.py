"""The best pose of every frame of a recording, from all measurements before and after it.

The trajectory is smoothed over all measurements of a first pass. Frames that odometry could not track, such as those
before its start, keep the pose that the map alone gave them, as to a camera that stands still; all others are then
searched in the map one by one, near the poses known from that.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from visloc_ros.core.errors import VislocError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Frame, Reason, Rejection, State, Support
from visloc_ros.evaluation import FrameRecord
from visloc_ros.fusion import FusionConfig, RecordedMeasurements, smooth
from visloc_ros.fusion.health import PoseSupport, judge_pose
from visloc_ros.pipeline import Engine

_log = logging.getLogger(__name__)

NEAR_NS = NANOSECONDS // 2  # a pose so near in time is a prior
MOST_FAILURES = 5  # in a row, after which the map counts as out of view: failing searches take longest
RETRY_NS = NANOSECONDS  # then a frame a second is searched, as on a lost robot


@dataclass(frozen=True, eq=False)
class BestEstimate:
    """Records of all frames of a run, and the error that ended the search for those without a pose, if any."""

    frames: Sequence[FrameRecord]
    ended_by: BaseException | None


def best_estimate(
    causal: Sequence[FrameRecord],
    measurements: RecordedMeasurements,
    frames: Iterable[Frame],
    engine: Engine,
    map_: Map,
    config: FusionConfig,
) -> BestEstimate:
    """Give all frames of a run their best poses instead of those known in time.

    ``frames`` are the same frames again, in their order, to search where smoothing gives no pose. A frame that cannot
    be read, or Ctrl-C, ends that search: later frames only have the poses by smoothing.
    """
    poses = smoothed_poses(measurements, map_, config)
    held = {record.stamp_ns: pose for record in causal if (pose := _held_by_map(record)) is not None}
    poses = {**held, **poses}
    live = {record.stamp_ns for record in causal if record.reason is not Reason.FROZEN}
    missing = live - poses.keys()
    found: dict[int, AnchorPose | Rejection] = {}
    ended_by: BaseException | None = None
    try:
        for result in search_missing(_of_stamps(frames, missing), engine, poses):
            found[result.stamp_ns] = result
    except (VislocError, KeyboardInterrupt) as error:
        ended_by = error
    return BestEstimate([_record(record, poses, found, config) for record in causal], ended_by)


def _held_by_map(record: FrameRecord) -> tuple[SE3, Array] | None:
    """The pose that agreeing anchors and map points gave a frame, which another search would only give again."""
    if record.state is not State.LOCALIZED or record.support not in (Support.ANCHOR, Support.MAP_TRACKING):
        return None
    if record.map_from_camera is None or record.covariance is None:
        return None
    return record.map_from_camera, record.covariance


def _of_stamps(frames: Iterable[Frame], stamps_ns: Set[int]) -> Iterator[Frame]:
    """Frames of some stamps; nothing is read after the last of them."""
    left = set(stamps_ns)
    if not left:
        return
    for frame in frames:
        if frame.stamp_ns in left:
            left.remove(frame.stamp_ns)
            yield frame
        if not left:
            return


def smoothed_poses(
    measurements: RecordedMeasurements, map_: Map, config: FusionConfig
) -> Mapping[int, tuple[SE3, Array]]:
    """``map_from_camera`` with its covariance (6, 6) by stamp, smoothed; none where no anchors agree."""
    smoothed = smooth(measurements, config, map_.manifest.metric, map_.manifest.gravity_aligned)
    if isinstance(smoothed, Rejection):
        _log.warning("no trajectory could be estimated (%s): the map alone gives the frames their poses", smoothed)
        return {}
    return {pose.stamp_ns: (pose.map_from_camera, pose.covariance) for pose in smoothed.poses}


def search_missing(
    frames: Iterable[Frame], engine: Engine, poses: Mapping[int, tuple[SE3, Array]]
) -> Iterator[AnchorPose | Rejection]:
    """Search frames (in the order of their stamps) that have no pose, near those that are known or found before."""
    known = {stamp_ns: pose for stamp_ns, (pose, _) in poses.items()}
    stamps = sorted(known)
    failures = 0
    last: AnchorPose | Rejection | None = None
    for frame in frames:
        prior = _nearest(frame.stamp_ns, stamps, known)
        was_refused = prior is None and failures >= MOST_FAILURES and isinstance(last, Rejection)
        if was_refused and last is not None and frame.stamp_ns - last.stamp_ns < RETRY_NS:
            yield replace(last, stamp_ns=frame.stamp_ns)  # as it was less than a second before
            continue
        result = last = engine.localize(frame, prior)
        failures = failures + 1 if isinstance(result, Rejection) else 0
        if isinstance(result, AnchorPose):
            known[frame.stamp_ns] = result.map_from_camera
            stamps.insert(bisect_left(stamps, frame.stamp_ns), frame.stamp_ns)
        yield result


def _nearest(stamp_ns: int, stamps: Sequence[int], known: Mapping[int, SE3]) -> SE3 | None:
    """The pose nearest in time, unless all are too far."""
    index = bisect_left(stamps, stamp_ns)
    around = stamps[max(index - 1, 0) : index + 1]
    nearest = min(around, key=lambda one: abs(one - stamp_ns), default=None)
    return None if nearest is None or abs(nearest - stamp_ns) > NEAR_NS else known[nearest]


def _record(
    record: FrameRecord,
    poses: Mapping[int, tuple[SE3, Array]],
    found: Mapping[int, AnchorPose | Rejection],
    config: FusionConfig,
) -> FrameRecord:
    result = found.get(record.stamp_ns)
    if record.stamp_ns in poses:
        map_from_camera, covariance = poses[record.stamp_ns]
    elif isinstance(result, AnchorPose):
        map_from_camera, covariance = result.map_from_camera, result.covariance
    else:
        reason = record.reason if result is None else result.reason
        return replace(record, state=State.LOST, reason=reason, map_from_camera=None, covariance=None)
    state = judge_pose(PoseSupport(0.0, 0, covariance, False), config.state)
    reason = None if state is State.LOCALIZED else Reason.UNCERTAIN
    support = record.support if record.support is not Support.NONE else Support.ANCHOR
    return replace(
        record, state=state, reason=reason, map_from_camera=map_from_camera, covariance=covariance, support=support
    )
