"""One queue before the models: searches wait for their turn, and where it is faster are extracted in batches."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock
from typing import Generic, TypeVar

from visloc_ros.core.errors import DeadlineError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame
from visloc_ros.core.watchdog import WorkWatch
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.evidence import Query
from visloc_ros.localization.rough_pose import RoughPose
from visloc_server.uploads import MOST_PIXELS, CameraOfSize, read_upload

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")


class QueueFullError(Exception):
    """Too many requests wait for one more to be done in time."""


class ClientBusyError(Exception):
    """Too many requests of one client wait, and would leave no room for other clients."""


HUNG_FACTOR = 5.0  # times the longest wait of a client: what still runs then will hardly end


class Turn(Generic[ResultT]):
    """A piece of work that is done once, by the thread that takes it first; ``future`` has its result."""

    def __init__(self, work: Callable[[], ResultT]) -> None:
        self.future: Future[ResultT] = Future()
        self._work, self._begun, self._lock = work, Event(), Lock()

    def take(self) -> bool:
        """Whether the work is left to the caller."""
        with self._lock:
            if self._begun.is_set():
                return False
            self._begun.set()
        return self.future.set_running_or_notify_cancel()

    def has_begun(self, within_s: float) -> bool:
        """Whether it is taken within this time."""
        return self._begun.wait(within_s)

    def do(self) -> None:
        """Do the work, unless it is taken."""
        if self.take():
            self.finish(self._work)

    def finish(self, work: Callable[[], ResultT]) -> None:
        """Do other work, by which who has taken the turn gets the same result."""
        try:
            result = work()
        except BaseException as error:  # who waits for the result gets it
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class DeviceQueue:
    """Does work in one thread, in order of arrival."""

    def __init__(self, most_waiting: int, within_s: float) -> None:
        self.most_waiting, self._within_s = most_waiting, within_s
        self._of_client: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="visloc search")
        self.waiting = 0
        """Requests that are not answered yet."""
        self._watch = WorkWatch("a request", HUNG_FACTOR * within_s)

    @property
    def is_stuck(self) -> bool:
        """Whether one piece of work hangs, so that no other one will be done."""
        problem = self._watch.problem()
        return problem is not None and problem[0] == "error"

    def check_room(self, client: str = "") -> None:
        """Raise QueueFullError where no more work is accepted, ClientBusyError where one client has half the room."""
        if self.waiting >= self.most_waiting:
            raise QueueFullError
        if client and self._of_client[client] >= (self.most_waiting + 1) // 2:
            raise ClientBusyError

    async def do(
        self,
        work: Callable[[], ResultT],
        client: str = "",
        on_wait: Callable[[Turn[ResultT]], None] | None = None,
    ) -> ResultT:
        """Await ``work()``. Raises as ``check_room`` does at once, DeadlineError where it has not been done in time.

        ``on_wait`` gets the turn of work that has to wait for other work, and may take it.
        """
        self.check_room(client)
        self._count(client, 1)
        loop, turn = asyncio.get_running_loop(), Turn(partial(self._timed, work))
        turn.future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._count, client, -1))
        self._thread.submit(turn.do).add_done_callback(lambda done: done.cancelled() and turn.future.cancel())
        if on_wait is not None and self.waiting > 1:
            on_wait(turn)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(turn.future)), self._within_s)
        except asyncio.TimeoutError:
            turn.future.cancel()  # if it has not begun; otherwise it runs to its end, and counts until then
            raise DeadlineError(f"it was not done within {self._within_s:g} s: try again later") from None

    def wait_for(self, work: Callable[[], ResultT]) -> ResultT:
        """The same for a thread that may wait as long as it takes, one piece of work at a time."""
        return self._thread.submit(self._timed, work).result()

    def close(self) -> None:
        """Let the current work end, and drop waiting work."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _timed(self, work: Callable[[], ResultT]) -> ResultT:
        with self._watch.running():
            return work()

    def _count(self, client: str, change: int) -> None:
        self.waiting += change
        self._of_client[client] += change
        if not self._of_client[client]:
            del self._of_client[client]


@dataclass(frozen=True)
class SearchRequest:
    """The map to search an image in, empty where there is only one, and what is known of the image.

    ``frame_uuid`` is of the frame that ``prior`` and ``known`` are in; empty for that of the map.
    """

    map_name: str = ""
    camera_of: CameraOfSize | None = None
    prior: SE3 | None = None
    with_inliers: bool = False
    known: RoughPose = field(default_factory=RoughPose)
    frame_uuid: str = ""


class Search:
    """An uploaded image, and its request."""

    def __init__(self, data: bytes, request: SearchRequest) -> None:
        self.request = request
        self.query: Query | None = None
        """The frame with its features, where a batch extracted them before its turn."""
        self.is_taken = False
        """Whether it has had its turn elsewhere than in the thread of the queue."""
        self._data = data
        self._frame: Frame | None = None

    def read(self) -> Frame:
        """The image, decoded when first needed. Raises as ``read_upload`` does, each time."""
        if self._frame is None:
            self._frame = read_upload(self._data, self.request.camera_of)
        return self._frame

    def again(self) -> Search:
        """The same search, of which nothing is done yet."""
        return Search(self._data, self.request)

    def forget(self) -> None:
        """Hold no image any longer: it has been answered."""
        self._data, self._frame, self.query = b"", None, None


class SearchBatches:
    """Searches that wait for the thread of a queue.

    Each has its turn there, in order of arrival. Where the extractor takes several images at once, a turn also extracts
    features for searches of its map that wait behind it: a search then waits for one batch at most in place of one
    image, and a failure is reported in the turn of its own search.
    """

    def __init__(self) -> None:
        self._waiting: list[Search] = []
        self._lock = Lock()  # added on the event loop, taken in the thread of the queue

    @contextmanager
    def waiting(self, search: Search) -> Iterator[None]:
        """While its client waits, a search may join a batch."""
        with self._lock:
            self._waiting.append(search)
        try:
            yield
        finally:
            self._forget(search)

    def extract(self, search: Search, engine: AnchorEngine) -> Query:
        """The frame of a search whose turn has come, with its features. Raises as ``AnchorEngine.extract`` does.

        Features that were extracted before serve any engine with the same models, as those of one server have them.
        """
        self._forget(search)
        if search.query is None:
            self._look_at_with_others(search, engine)
        return engine.extract(search.read()) if search.query is None else search.query

    def _look_at_with_others(self, search: Search, engine: AnchorEngine) -> None:
        others = self._take_others(search, engine.extractor.batch_size - 1)
        if not others:
            return
        batch = [search, *others]
        try:
            for one, query in zip(batch, engine.extract_many([one.read() for one in batch]), strict=True):
                one.query = query
        except Exception:  # out of memory, most likely; none of them joins a batch again
            logger.exception("%d images cannot be processed in one batch: each is processed alone", len(batch))

    def _take_others(self, search: Search, most: int) -> list[Search]:
        """The first readable searches of the same map, until their pixels exceed the limit of one image."""
        others, num_pixels = [], _num_pixels(search.read())
        for other in self._of_same_map(search)[:most]:
            if num_pixels > MOST_PIXELS:
                break
            self._forget(other)
            with suppress(Exception):  # which is reported in its own turn
                num_pixels += _num_pixels(other.read())
                others.append(other)
        return others

    def _of_same_map(self, search: Search) -> list[Search]:
        with self._lock:
            name = search.request.map_name
            return [one for one in self._waiting if one.request.map_name == name and not one.is_taken]

    def _forget(self, search: Search) -> None:
        with self._lock, suppress(ValueError):
            self._waiting.remove(search)


def _num_pixels(frame: Frame) -> int:
    height, width = frame.image.shape[:2]
    return int(height * width)
