"""A client of ``visloc serve``: the same answers, as typed values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import pycolmap
from pydantic import TypeAdapter, ValidationError

from visloc_ros.core.errors import ConfigError, SourceError, VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.sources.bounded_answers import MOST_JSON_BYTES, Answer, AnswerError, BoundedClient, read_json
from visloc_server.answers import FileList, Health, JobStatus, LocalizeAnswer, MapStatus, VersionStatus
from visloc_server.map_files import MapFiles

CONNECT_S, ANSWER_S = 2.0, 10.0  # an answer that comes later is of no use to a robot that moves
SUCCESS, PARTIAL, REDIRECTION = 200, 206, 300
_LONGEST_REFUSAL, _LONGEST_WORDS = 64 << 10, 300  # bytes that are read, characters that are shown
_LONGEST_PAUSE_S = 60.0


AnswerT = TypeVar("AnswerT")


class ServerError(VislocError):
    """The server cannot be reached, or refuses; ``retry_after_s`` is the delay before another try, if it gives one."""

    def __init__(self, words: str, retry_after_s: float | None = None) -> None:
        super().__init__(words)
        self.retry_after_s = retry_after_s


class LocalizationClient:
    """Client of one server, which keeps the connection between requests. Raises ConfigError for an invalid address."""

    def __init__(self, url: str, token: str = "", answer_s: float = ANSWER_S) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = httpx.Timeout(answer_s, connect=CONNECT_S)
        self._url = url
        self.received = 0
        """Bytes of all answers so far, without heads."""
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"'{url}' is no address: {error}") from error
        if address.scheme not in ("http", "https") or not address.host:
            raise ConfigError(f"'{url}' is no address: give one like http://gpu-box:8090")
        client = httpx.Client(base_url=address, headers=headers, timeout=timeout)
        self._client = BoundedClient(client, 2.0 * answer_s)

    def localize(
        self,
        image: bytes,
        *,
        map_name: str = "",
        camera: pycolmap.Camera | None = None,
        prior: SE3 | None = None,
        with_inliers: bool = False,
        known: RoughPose | None = None,
        frame_uuid: str = "",
    ) -> LocalizeAnswer:
        """Find a JPEG, PNG or HEIC in a map of the server; ``prior`` is a predicted ``map_from_camera``.

        ``known`` is what else is known of the camera: a pose that contradicts it is rejected. Both are in the frame of
        an earlier answer, ``frame_uuid``; empty where they are in that of the map. Without ``camera`` the
        focal length is that of the image's EXIF data, or estimated. Raises ServerError.
        """
        fields = {"map": map_name, "inliers": json.dumps(with_inliers), "frame_uuid": frame_uuid}
        if camera is not None:
            fields["camera"] = " ".join(map(str, (camera.model.name, camera.width, camera.height, *camera.params)))
        if prior is not None:
            fields["prior"] = " ".join(map(str, [*prior.quaternion.tolist(), *prior.translation.tolist()]))
        if known is not None:
            fields |= known.to_words()
        files = {"image": ("image", image)}
        return self._ask(TypeAdapter(LocalizeAnswer), "POST", "/localize", data=fields, files=files)

    def maps(self) -> list[MapStatus]:
        """The maps of the server, broken ones, too. Raises ServerError."""
        return self._ask(TypeAdapter(list[MapStatus]), "GET", "/reference/status")

    def update(self, name: str, recording: Path) -> JobStatus:
        """Begin to update a map by a video or bag (one file) made in it. Raises ServerError, SourceError."""
        try:
            with recording.open("rb") as file:
                params = {"name": name, "file": recording.name}
                return self._ask(TypeAdapter(JobStatus), "POST", "/reference/update", params=params, content=file)
        except OSError as error:
            raise SourceError(f"cannot read {recording}: {error.strerror}") from error

    def job(self, job_id: str) -> JobStatus:
        """The state of a build or an update. Raises ServerError."""
        return self._ask(TypeAdapter(JobStatus), "GET", f"/reference/jobs/{job_id}")

    def versions(self, name: str) -> list[VersionStatus]:
        """The versions of a map. Raises ServerError."""
        return self._ask(TypeAdapter(list[VersionStatus]), "GET", f"{_map_path(name)}/versions")

    def roll_back(self, name: str, version: int = 0) -> VersionStatus:
        """Put a version of a map in the present one's place, by default its parent. Raises ServerError."""
        params = {"version": version}
        return self._ask(TypeAdapter(VersionStatus), "POST", f"{_map_path(name)}/rollback", params=params)

    def map_files(self, name: str) -> MapFiles:
        """The files of a map's present version. Raises ServerError."""
        return self._ask(TypeAdapter(FileList), "GET", f"{_map_path(name)}/files").map_files

    def file_part(self, name: str, file: str, version: int, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of a file of a map from ``begin`` to before ``end``, in pieces. Raises ServerError."""
        headers, params = {"Range": f"bytes={begin}-{end - 1}"}, {"version": version}
        with self._answer(
            "GET", f"{_map_path(name)}/files/{quote(file)}", PARTIAL, params=params, headers=headers
        ) as answer:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-{end - 1}/"):
                raise ServerError(f"{self._url} gives another part of '{file}' than was asked for: pull again")
            yield from answer.pieces(end - begin)

    def health(self) -> Health:
        """Whether the server works. Raises ServerError."""
        return self._ask(TypeAdapter(Health), "GET", "/health")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> LocalizationClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _answer(self, method: str, path: str, wanted: int = 0, **content: Any) -> Iterator[Answer]:
        """An answer of status ``wanted``, by default of any that means success. Raises ServerError."""
        try:
            with self._client.ask(method, path, **content) as answer:
                if answer.status != wanted if wanted else not SUCCESS <= answer.status < REDIRECTION:
                    raise ServerError(f"{self._url} refuses: {_reason(answer)}", _retry_after_s(answer))
                answer.check_plain()
                try:
                    yield answer
                finally:
                    self.received += answer.received
        except AnswerError as error:
            raise ServerError(f"{self._url} {error}: see that 'visloc serve' runs there, and try again") from error

    def _ask(self, kind: TypeAdapter[AnswerT], method: str, path: str, **content: Any) -> AnswerT:
        with self._answer(method, path, **content) as answer:
            data = answer.body(MOST_JSON_BYTES)
            read_json(data)
        try:
            return kind.validate_json(data)
        except ValidationError:  # without its words, which repeat the answer
            words = "gives an answer that this version does not understand: use the same version here and there"
            raise ServerError(f"{self._url} {words}") from None


def _map_path(name: str) -> str:
    return f"/reference/maps/{quote(name, safe='')}"


def _reason(answer: Answer) -> str:
    """Why a request is refused, in the server's words if they are some."""
    if REDIRECTION <= answer.status < REDIRECTION + 100:
        return f"status {answer.status}, a redirection, which is not followed: give the address of the server itself"
    with suppress(AnswerError, LookupError, TypeError):
        words = read_json(answer.body(_LONGEST_REFUSAL))["detail"]
        if isinstance(words, str) and words.strip():
            return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]} ..."
    return f"status {answer.status}: see that it is 'visloc serve', and what its log says"


def _retry_after_s(answer: Answer) -> float | None:
    try:
        wanted_s = float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    return min(max(wanted_s, 0.0), _LONGEST_PAUSE_S) if math.isfinite(wanted_s) else None
