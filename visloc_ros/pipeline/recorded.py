"""Measurements of an earlier run, given to a new back end in the order in which the first one joined them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Anchor, LoopClosure, OdometryPose, Rejection, TrackedPose
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.backend import Backend, BasePrior
from visloc_ros.pipeline.inputs import Input


@dataclass(frozen=True)
class RecordedInputs:
    """All measurements of each kind, in the order in which they arrived."""

    odometry: Iterable[OdometryPose | Rejection]
    anchors: Iterable[Anchor]
    tracked: Iterable[TrackedPose | Rejection]
    loops: Iterable[LoopClosure]
    priors: Iterable[BasePrior]


def play(inputs: RecordedInputs, order: Iterable[tuple[Input, int]], backend: Backend, anchors: RemoteAnchors) -> None:
    """Give a new back end, whose anchors come through ``anchors``, the inputs in their order.

    ``order`` tells of each input its kind and the stamp (ns) of the status that told it. Raises SourceError where the
    recording lacks one.
    """
    streams = {
        Input.ODOMETRY: iter(inputs.odometry),
        Input.ANCHOR: iter(inputs.anchors),
        Input.TRACKED_POSE: iter(inputs.tracked),
        Input.LOOP: iter(inputs.loops),
        Input.POSE_PRIOR: iter(inputs.priors),
    }
    for kind, stamp_ns in order:
        if kind is Input.RELOCALIZE:
            backend.relocalize()
        elif kind is Input.SILENCE:
            backend.tell_silence(stamp_ns)
        else:
            _give(kind, streams[kind], backend, anchors)


def _give(kind: Input, stream: Iterator[object], backend: Backend, anchors: RemoteAnchors) -> None:
    taken = next(stream, None)
    if taken is None:
        raise SourceError(f"the recording lacks an input of the kind {kind.name}: was it begun before the nodes were?")
    if kind is Input.ANCHOR and isinstance(taken, Anchor):
        anchors.add(taken)
        backend.join_anchors()
    elif isinstance(taken, BasePrior):
        backend.add_prior(taken)
    elif isinstance(taken, LoopClosure):
        backend.add_loop(taken)
    elif kind is Input.TRACKED_POSE and isinstance(taken, (TrackedPose, Rejection)):
        backend.add_tracked(taken)
    elif isinstance(taken, (OdometryPose, Rejection)):
        backend.add_odometry(taken)
