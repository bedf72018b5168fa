"""Measurements of an earlier run, given to a new back end in the order in which the first one joined them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Anchor, LoopClosure, MapIdentity, OdometryPose, Rejection, TrackedPose
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.backend import Backend, BasePrior
from visloc_ros.pipeline.inputs import Input, InputKind


@dataclass(frozen=True)
class RecordedInputs:
    """All measurements of each kind, in the order in which they arrived."""

    odometry: Iterable[OdometryPose | Rejection]
    anchors: Iterable[Anchor]
    tracked: Iterable[TrackedPose | Rejection]
    loops: Iterable[LoopClosure]
    priors: Iterable[BasePrior]
    maps: Iterable[LoadedMap] = ()


@dataclass(frozen=True)
class LoadedMap:
    """A map that an anchor node has loaded, and when; at its start, or because that ``is_requested``."""

    identity: MapIdentity
    stamp_ns: int
    is_requested: bool


def play(
    inputs: RecordedInputs,
    order: Iterable[Input],
    backend: Backend,
    anchors: RemoteAnchors,
    before: Callable[[Input], None] = lambda _: None,
) -> None:
    """Give a new back end, whose anchors come through ``anchors``, the inputs in the order in which they were joined.

    ``before`` is called before each of them. Raises SourceError where the recording lacks one.
    """
    steps = _steps(inputs, backend, anchors)
    for one in order:
        before(one)
        if one.kind is InputKind.RELOCALIZE:
            backend.relocalize()
        elif one.kind is InputKind.SILENCE:
            backend.report_silence(one.stamp_ns)
        elif steps[one]:
            steps[one].popleft()()
        else:
            raise SourceError(
                f"the recording lacks an input ({one.kind.name}, stamp {one.stamp_ns} ns): "
                "was it begun before the nodes were?"
            )


def _steps(
    inputs: RecordedInputs, backend: Backend, anchors: RemoteAnchors
) -> Mapping[Input, deque[Callable[[], object]]]:
    """The call that joins each input; several where one came again."""
    steps: dict[Input, deque[Callable[[], object]]] = defaultdict(deque)

    def join_anchor(anchor: Anchor) -> None:
        anchors.add(anchor)
        backend.join_anchors()

    for result in inputs.odometry:
        steps[Input(InputKind.ODOMETRY, result.stamp_ns)].append(partial(backend.add_odometry, result))
    for anchor in inputs.anchors:
        steps[Input(InputKind.ANCHOR, anchor.result.stamp_ns)].append(partial(join_anchor, anchor))
    for tracked in inputs.tracked:
        steps[Input(InputKind.TRACKED_POSE, tracked.stamp_ns)].append(partial(backend.add_tracked, tracked))
    for loop in inputs.loops:
        steps[Input(InputKind.LOOP, loop.later_ns)].append(partial(backend.add_loop, loop))
    for prior in inputs.priors:
        steps[Input(InputKind.POSE_PRIOR, prior.stamp_ns)].append(partial(backend.add_prior, prior))
    for one in inputs.maps:
        use = partial(backend.use_map, one.identity, one.stamp_ns, is_requested=one.is_requested)
        steps[Input(InputKind.MAP, one.stamp_ns)].append(use)
    return steps
