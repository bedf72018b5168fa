"""A client of ``visloc serve``: the same answers, as typed values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import pycolmap
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from visloc_ros.core.errors import ConfigError, SourceError, VislocError
from visloc_ros.core.file_chunks import CHUNK
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map_files import MapFiles
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.server.answers import FileList, Health, JobStatus, LocalizeAnswer, MapStatus, VersionStatus

CONNECT_S, ANSWER_S = 2.0, 10.0  # an answer that comes later is of no use to a robot that moves


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
        self._client = httpx.Client(base_url=address, headers=headers, timeout=timeout)

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
        """Put a version of a map in the present one's place, by default the one before it. Raises ServerError."""
        params = {"version": version}
        return self._ask(TypeAdapter(VersionStatus), "POST", f"{_map_path(name)}/rollback", params=params)

    def map_files(self, name: str) -> MapFiles:
        """The files of a map's present version. Raises ServerError."""
        return self._ask(TypeAdapter(FileList), "GET", f"{_map_path(name)}/files").map_files

    def file_chunks(self, name: str, file: str, version: int) -> NDArray[np.void]:
        """The chunks (C,) of a file of a map, of type ``CHUNK``. Raises ServerError."""
        path = f"{_map_path(name)}/chunks/{quote(file)}"
        data = b"".join(self._stream(path, {"version": version}))
        if len(data) % CHUNK.itemsize:
            raise ServerError(f"{self._url} gives an answer that is not whole: try again")
        return np.frombuffer(data, CHUNK)

    def file_part(self, name: str, file: str, version: int, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of a file of a map from ``begin`` to before ``end``, in pieces. Raises ServerError."""
        left = end - begin
        headers = {"Range": f"bytes={begin}-{end - 1}"}
        for piece in self._stream(f"{_map_path(name)}/files/{quote(file)}", {"version": version}, headers):
            left -= len(piece)
            if left < 0:
                raise ServerError(f"{self._url} gives more of '{file}' than was asked for")
            yield piece

    def _stream(self, path: str, params: dict[str, int], headers: dict[str, str] | None = None) -> Iterator[bytes]:
        """The body of an answer in pieces, as it is. Raises ServerError, also where it breaks off."""
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        expected = 206 if "Range" in headers else 200
        try:
            with self._client.stream("GET", path, params=params, headers=headers) as answer:
                if answer.status_code != expected:
                    answer.read()
                    raise ServerError(f"{self._url} refuses: {_detail(answer)}", _retry_after_s(answer))
                for piece in answer.iter_raw():
                    self.received += len(piece)
                    yield piece
        except httpx.HTTPError as error:
            raise self._silent(error) from error

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

    def _silent(self, error: Exception) -> ServerError:
        words = f"{self._url} does not answer ({type(error).__name__}): see that 'visloc serve' runs there"
        return ServerError(words)

    def _ask(self, kind: TypeAdapter[AnswerT], method: str, path: str, **content: Any) -> AnswerT:
        try:
            answer = self._client.request(method, path, **content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._silent(error) from error
        self.received += answer.num_bytes_downloaded
        if not answer.is_success:
            raise ServerError(f"{self._url} refuses: {_detail(answer)}", _retry_after_s(answer))
        try:
            return kind.validate_json(answer.content)
        except ValidationError as error:
            raise ServerError(f"{self._url} gives an answer that this version does not understand: {error}") from error


def _map_path(name: str) -> str:
    return f"/reference/maps/{quote(name, safe='')}"


def _detail(answer: httpx.Response) -> str:
    """Why a request is refused, in the server's words."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _retry_after_s(answer: httpx.Response) -> float | None:
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
