"""The slow search in the map beside the fast odometry: inline, in a thread, or in another process."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, Frame, MapIdentity, Rejection


class Engine(Protocol):
    """Finds one image in a map."""

    @property
    def map_identity(self) -> MapIdentity:
        """The map that it searches."""

    def localize(self, frame: Frame, prior: SE3 | None = None) -> AnchorPose | Rejection:
        """Give ``map_from_camera`` of a frame, searched near the prior if there is one, or why there is none."""


class AnchorRunner(Protocol):
    """Runs an engine, or receives from one in another process; ``finished`` is called once for every frame."""

    def is_idle(self, now_ns: int) -> bool:
        """Whether the frame stamped ``now_ns`` would be searched at once."""

    def submit(self, frame: Frame, prior: SE3 | None) -> None:
        """Ask for a frame; it replaces one that still waits."""

    def finished(self, now_ns: int) -> list[Anchor]:
        """Results available at the time of the frame stamped ``now_ns``, each given once."""

    def close(self) -> None:
        """Stop; a running search is dropped."""


MOST_WAITING = 64  # anchors since the last frame; of more, the newest


class RemoteAnchors:
    """Anchors of an engine in another process, which chooses its images itself: they wait for the next frame.

    ``add`` may be called from any thread.
    """

    def __init__(self) -> None:
        self._arrived: deque[Anchor] = deque(maxlen=MOST_WAITING)

    def add(self, anchor: Anchor) -> None:
        """Keep an anchor that has arrived."""
        self._arrived.append(anchor)

    def is_idle(self, now_ns: int) -> bool:
        """Never: the engine chooses its images."""
        return False

    def submit(self, frame: Frame, prior: SE3 | None) -> None:
        """Raises RuntimeError: ``is_idle`` is always false."""
        raise RuntimeError("nothing is searched here: ask is_idle first, an engine elsewhere chooses its images itself")

    def finished(self, now_ns: int) -> list[Anchor]:
        """Anchors that have arrived since the last call; the frame's time does not matter here."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def close(self) -> None:
        """Drop the anchors that wait."""
        self._arrived.clear()


@dataclass(frozen=True)
class _Job:
    frame: Frame
    prior: SE3 | None


class InlineAnchors:
    """Searches in the caller's thread, so that a run is reproducible.

    Searched images lie at least ``period_s`` of frame time apart. A result appears no sooner than ``latency_s`` of it
    after its image, and the engine counts as busy until then: set it to what the engine needs, or the run claims
    anchors that a live system would not have yet.
    """

    def __init__(self, engine: Engine, period_s: float = 0.5, latency_s: float = 0.0) -> None:
        if not (period_s >= 0 and latency_s >= 0):
            raise ValueError(f"period_s {period_s} and latency_s {latency_s} must be >= 0")
        self._engine = engine
        self._period_ns = round(period_s * NANOSECONDS)
        self._latency_ns = round(latency_s * NANOSECONDS)
        self._searched_ns: int | None = None
        self._due: tuple[int, Anchor] | None = None

    def is_idle(self, now_ns: int) -> bool:
        """Whether the last result is out and its image long enough ago; stamps that run back start again."""
        if self._due is not None:
            return False
        waited_ns = None if self._searched_ns is None else now_ns - self._searched_ns
        return waited_ns is None or waited_ns >= self._period_ns or waited_ns < 0

    def submit(self, frame: Frame, prior: SE3 | None) -> None:
        """Search the frame now; the result is held back until it is due."""
        self._due = frame.stamp_ns + self._latency_ns, _search(self._engine, frame, prior)
        self._searched_ns = frame.stamp_ns

    def finished(self, now_ns: int) -> list[Anchor]:
        """The result, once it is due; where stamps run back, it is dropped."""
        if self._searched_ns is not None and now_ns < self._searched_ns:
            self._due = None
        if self._due is None or now_ns < self._due[0]:
            return []
        result, self._due = self._due[1], None
        return [result]

    def close(self) -> None:
        """Drop a result that is not due yet."""
        self._due = None


class ThreadedAnchors:
    """Searches in one worker thread; one frame waits at most, and the latest wins.

    An error in the engine ends the worker and is raised by the next ``finished`` or ``close``.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: _Job | None = None
        self._busy = False
        self._closed = False
        self._results: list[Anchor] = []
        self._error: Exception | None = None
        self._dropped = 0
        self._worker = threading.Thread(target=self._work, name="anchors", daemon=True)
        self._worker.start()

    def use(self, engine: Engine) -> None:
        """Search with another engine from the next frame on; a search that runs ends with the one it began with."""
        self._engine = engine

    def is_idle(self, now_ns: int) -> bool:
        """Whether nothing runs and nothing waits; the frame's time does not matter here."""
        with self._changed:
            return not self._busy and self._waiting is None and not self._closed

    @property
    def dropped(self) -> int:
        """How many waiting frames were replaced by later ones."""
        with self._changed:
            return self._dropped

    def submit(self, frame: Frame, prior: SE3 | None) -> None:
        """Let the worker search this frame next."""
        with self._changed:
            self._dropped += self._waiting is not None
            self._waiting = _Job(frame, prior)
            self._changed.notify_all()

    def finished(self, now_ns: int) -> list[Anchor]:
        """Results since the last call; the frame's time does not matter here. Raises what the engine raised."""
        with self._changed:
            self._raise_error()
            results, self._results = self._results, []
            return results

    def close(self) -> None:
        """Stop the worker after its current search. Raises what the engine raised, unless it was raised before."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify_all()
        self._worker.join()
        with self._changed:
            self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            try:
                result = _search(self._engine, job.frame, job.prior)
            except Exception as error:  # raised again in the calling thread
                self._fail(error)
                return
            with self._changed:
                self._results.append(result)
                self._busy = False

    def _next_job(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            job, self._waiting = self._waiting, None
            self._busy = job is not None
            return None if self._closed else job

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error = error
            self._closed = True
            self._busy = False


def _search(engine: Engine, frame: Frame, prior: SE3 | None) -> Anchor:
    return Anchor(engine.localize(frame, prior), engine.map_identity)
