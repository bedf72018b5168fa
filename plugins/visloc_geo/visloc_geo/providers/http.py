"""Requests to services over one client: repeated where that may help, counted, bounded; keys are never shown."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from visloc_geo.providers.cost import Budget, StopError
from visloc_geo.providers.credentials import Secret, redact
from visloc_ros.core.errors import GeoError
from visloc_ros.sources.bounded_answers import (
    MOST_JSON_BYTES,
    Answer,
    AnswerError,
    BoundedClient,
    TooLongError,
    read_json,
)

WORKERS = 8
MAX_IMAGE_BYTES = 64 << 20
_ATTEMPTS = 5
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 60.0
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_TIMEOUT, _PATIENCE_S = httpx.Timeout(30.0, connect=10.0), 60.0
_log = logging.getLogger(__name__)


class HttpError(GeoError):
    """A request that failed for good; ``status`` is that of the answer, 0 without one, ``body`` its beginning."""

    def __init__(self, words: str, status: int = 0, body: str = "") -> None:
        super().__init__(words)
        self.status, self.body = status, body


class HttpClient:
    """Sends GET requests; can be used by several threads.

    Answers that say "busy" (408, 429, 5xx) and broken connections are tried again, up to five times in all, after
    delays that double, vary at random, and are at least as long as ``Retry-After`` asks.
    """

    def __init__(
        self,
        budget: Budget,
        secrets: Collection[Secret] = (),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        for name in ("httpx", "httpcore"):  # their lines hold whole addresses, and so keys
            logging.getLogger(name).setLevel(logging.WARNING)
        self.budget = budget
        self._secrets, self._sleep = tuple(secrets), sleep
        self._transport, self._of_thread = transport, threading.local()

    def get_json(self, url: str, final: Collection[int] = (), **content: Any) -> Any:
        """The JSON of an answer; arguments as of ``get``. Raises HttpError; StopError where the key is refused."""
        try:
            data = self.get(url, MOST_JSON_BYTES, final, **content)
        except HttpError as error:
            if error.status in (401, 403) or ("OAuthException" in error.body and '"code":190' in error.body):
                raise StopError(f"the service refuses the key: {error}") from error
            raise
        try:
            return read_json(data, allow_nan=True)  # leaves out one view, not all of an answer
        except AnswerError as error:
            raise HttpError(f"{_name(url)} gives no JSON, but {data[:40]!r}", 200) from error

    def get(
        self,
        url: str,
        at_most: int = MAX_IMAGE_BYTES,
        final: Collection[int] = (),
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        usd: float = 0.0,
    ) -> bytes:
        """The body of an answer, which may have ``at_most`` bytes; ``usd`` is the price of one attempt.

        Statuses in ``final`` are not tried again. Raises HttpError, StopError.
        """
        for attempt in range(_ATTEMPTS):
            self.budget.spend(usd)
            try:
                return self._attempt(url, at_most, params, headers)
            except _BusyError as busy:
                if attempt == _ATTEMPTS - 1 or busy.error.status in final:
                    raise busy.error from busy
                delay = _delay(attempt, busy.wait_s)
                _log.info("%s: trying again in %.1f s", busy.error, delay)
                self._sleep(delay)
        raise AssertionError("the last attempt returns or raises")

    def redact(self, text: object) -> str:
        """A text of a service without the keys, which it may repeat."""
        return redact(str(text), self._secrets)

    def _attempt(
        self, url: str, at_most: int, params: Mapping[str, Any] | None, headers: Mapping[str, str] | None
    ) -> bytes:
        try:
            httpx.URL(url)
        except httpx.InvalidURL:
            raise HttpError("the service names an address that is none") from None
        try:
            with self._client().ask("GET", url, params=params, headers=dict(headers or {})) as answer:
                answer.check_plain()
                body = answer.body(at_most)
        # Without their causes, whose words may hold the address.
        except TooLongError:
            raise HttpError(f"what {_name(url)} gives has more than {at_most / 1e6:.0f} MB: nothing was kept") from None
        except AnswerError as error:
            raise _BusyError(HttpError(f"{_name(url)} {error}")) from None
        if httpx.codes.is_success(answer.status):
            return body
        beginning = self.redact(body[:300].decode(errors="replace"))
        failed = HttpError(f"{_name(url)} answers {answer.status}: {beginning}", answer.status, beginning)
        if answer.status in _BUSY:
            raise _BusyError(failed, _retry_after_s(answer))
        raise failed

    def _client(self) -> BoundedClient:
        """The client of this thread."""
        if not hasattr(self._of_thread, "client"):
            client = httpx.Client(timeout=_TIMEOUT, transport=self._transport)
            self._of_thread.client = BoundedClient(client, _PATIENCE_S)
        found: BoundedClient = self._of_thread.client
        return found


class _BusyError(Exception):
    """An attempt that failed for now; the error that it becomes in the end, and the delay that was asked for."""

    def __init__(self, error: HttpError, wait_s: float = 0.0) -> None:
        super().__init__()
        self.error, self.wait_s = error, wait_s


def _delay(attempt: int, wanted_s: float) -> float:
    delay: float = _FIRST_DELAY_S * 2**attempt * random.uniform(0.5, 1.5)
    return min(max(delay, wanted_s), _LONGEST_DELAY_S)


def _retry_after_s(answer: Answer) -> float:
    """Seconds that an answer asks to wait, as a number or until a date; 0 if it does not."""
    value = answer.headers.get("Retry-After", "")
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0


def _name(url: str) -> str:
    """Host and path of an address: its query may hold a key or a signature."""
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return "the service"
    return f"{address.host}{address.path}"
