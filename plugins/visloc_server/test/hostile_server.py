"""A server of a map that answers otherwise than it should: one that is honest, and what each kind does in its place.

A kind is a function of a request that gives the bytes of the answer, or None where it answers honestly.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import socketserver
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from visloc_server.map_files import list_files

BLOCK = b" " * (1 << 16)
DRIP_S = 0.05
FILE = "features.h5"


@dataclass
class Request:
    """What is asked of a map: ``list``, or a ``part`` of the file ``name``."""

    map: Path
    what: str
    name: str
    span: tuple[int, int]
    port: int

    def listing(self) -> dict[str, Any]:
        """The list of files, as it is."""
        there = list_files(self.map)
        files = {name: {"sha256": info.sha256, "size": info.size} for name, info in there.files.items()}
        return {"version": there.version, "model": there.model, "known": sorted(there.known), "files": files}

    def honest(self) -> Iterable[bytes]:
        """The right answer."""
        if self.what == "list":
            return answer(json.dumps(self.listing()))
        return self.part((self.map / self.name).read_bytes())

    def part_head(self, **heads: object) -> bytes:
        """The right head of a part."""
        begin, end = self.span
        return head(206, Content_Range=f"bytes {begin}-{end - 1}/{end}", **heads)

    def part(self, content: bytes) -> Iterable[bytes]:
        """The part of a content that is asked for."""
        begin, end = self.span
        return answer(content[begin:end], 206, Content_Range=f"bytes {begin}-{end - 1}/{len(content)}")


Kind = Callable[[Request], Iterable[bytes] | None]


def answer(body: bytes | str, status: int = 200, **heads: object) -> list[bytes]:
    """An answer of one piece."""
    content = body if isinstance(body, bytes) else body.encode()
    return [head(status, **{"Content_Length": len(content), **heads}), content]


def packed(content: bytes, status: int = 200) -> list[bytes]:
    """An answer that is packed, though that was not asked for."""
    return answer(gzip.compress(content), status, Content_Encoding="gzip")


def head(status: int = 200, **heads: object) -> bytes:
    """The head of an answer."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in heads.items()]
    return "\r\n".join([f"HTTP/1.1 {status} Words", "Content-Type: application/json", *lines, "", ""]).encode()


def then(*parts: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """Pieces one after the other."""
    for part in parts:
        yield from ([part] if isinstance(part, bytes) else part)


def dripping(data: bytes) -> Iterator[bytes]:
    """Bytes that come one by one, and then blanks for ever."""
    for byte in then(iter([bytes([one]) for one in data]), repeat(b" ")):
        time.sleep(DRIP_S)
        yield byte


def bomb(megabytes: int) -> bytes:
    """So many megabytes of blanks, as gzip packs them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + once * megabytes


BOMB = bomb(3000)


def on(what: str, give: Callable[[Request], Iterable[bytes]]) -> Kind:
    """Answers one request of each pull otherwise."""
    return lambda request: give(request) if request.what == what and request.name in ("", FILE) else None


def always(what: str, *pieces: bytes | Iterable[bytes]) -> Kind:
    """The same, whatever the request."""
    return on(what, lambda _: then(*pieces))


def lists(**changes: Any) -> Kind:
    """Gives a list with other values."""
    return on("list", lambda request: answer(json.dumps({**request.listing(), **changes})))


def lists_file(name: str, **info: Any) -> Kind:
    """Gives a list with another file."""
    entry = {"sha256": "0" * 64, "size": 10, **info}

    def give(request: Request) -> Iterable[bytes]:
        listing = request.listing()
        return answer(json.dumps({**listing, "files": {**listing["files"], name: entry}}))

    return on("list", give)


def writes_manifest(change: Callable[[dict[str, Any]], Any]) -> Kind:
    """Gives another manifest than the map has, with its right checksum."""

    def give(request: Request) -> Iterable[bytes] | None:
        values = json.loads((request.map / "manifest.json").read_text())
        text = json.dumps(change(values)).encode()
        if request.what == "list":
            listing = request.listing()
            entry = {"sha256": hashlib.sha256(text).hexdigest(), "size": len(text)}
            return answer(json.dumps({**listing, "files": {**listing["files"], "manifest.json": entry}}))
        return request.part(text) if request.name == "manifest.json" else None

    return give


def huge_list() -> str:
    """A million files."""
    entry = '{"sha256":"' + "0" * 64 + '","size":1}'
    files = ",".join(f'"thumbnails/{number}.jpg":{entry}' for number in range(1_000_000))
    return f'{{"version":2,"model":"m","known":[],"files":{{{files}}}}}'


def reset(request: Request) -> Iterator[bytes]:
    """The first half of what was asked for, and an error on the connection."""
    whole, content = request.honest()
    yield whole
    yield content[: len(content) // 2]
    raise ConnectionResetError


def more(request: Request) -> Iterable[bytes]:
    """A byte more than was asked for."""
    begin, end = request.span
    return answer(b"x" * (end - begin + 1), 206, Content_Range=f"bytes {begin}-{end - 1}/{end}")


def to(place: str) -> Kind:
    """Sends elsewhere."""
    return lambda request: answer("", 302, Location=place.replace("PORT", str(request.port)))


NONSENSE = b"\x1b[31m\x00<html>" + b"x" * 5000
HUNGRY: dict[str, Kind] = {
    "endless list": always("list", head(), b'{"known":["', repeat(BLOCK)),
    "endless list of values": always("list", head(), b'{"version":2,"known":[', repeat(b"0," * (1 << 15))),
    "endless chunked list": always("list", head(Transfer_Encoding="chunked"), repeat(b"10000\r\n%s\r\n" % BLOCK)),
    "gzip bomb as list": always("list", head(Content_Encoding="gzip"), BOMB),
    "gzip bomb as file": on("part", lambda one: then(one.part_head(Content_Encoding="gzip"), BOMB)),
    "gzip bomb as refusal": always("list", head(500, Content_Encoding="gzip"), BOMB),
    "endless refusal": always("list", head(500), repeat(BLOCK)),
    "endless refusal of a file": always("part", head(500), repeat(BLOCK)),
    "refusal of 20 MB": always("list", answer(json.dumps({"detail": "no " * 7_000_000}), 409)),
    "endless file": on("part", lambda one: then(one.part_head(), repeat(BLOCK))),
    "a million files": always("list", answer(huge_list())),
    "a million wrong values": always("list", answer('{"version":2,"known":[' + "0," * 8_000_000 + "0]}")),
    "a million empty lists": always("list", answer('{"version":2,"known":[' + "[]," * 5_000_000 + "0]}")),
}
SLOW: dict[str, Kind] = {
    "dripping head": always("list", dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ")),
    "dripping list": always("list", head(), dripping(b"{")),
    "dripping file": on("part", lambda one: then(one.part_head(), dripping(b"x"))),
    "endless interim answers": always("list", (b"HTTP/1.1 103 Early Hints\r\n\r\n" for _ in count())),
    "silence": always("list", (b"" for _ in iter(lambda: time.sleep(DRIP_S), 0))),
}
KINDS: dict[str, Kind] = {
    "packed list": on("list", lambda one: packed(json.dumps(one.listing()).encode())),
    "list packed by deflate": always("list", answer(zlib.compress(b"{}"), Content_Encoding="deflate")),
    "list packed by br": always("list", answer(b"\x0b\x02\x80", Content_Encoding="br")),
    "length too short": on("list", lambda one: answer(json.dumps(one.listing()), Content_Length=10)),
    "length too long": on("list", lambda one: answer(json.dumps(one.listing()), Content_Length=10_000_000)),
    "negative length": always("list", answer("{}", Content_Length=-5)),
    "length of exabytes": always("list", answer("{}", Content_Length=10**19)),
    "two lengths": always("list", answer("{}", Content_Length="2\r\nContent-Length: 3")),
    "head of megabytes": always("list", head(X="y" * (4 << 20)), b"{}"),
    "no HTTP": always("list", NONSENSE),
    "redirection to itself": to("http://127.0.0.1:PORT/reference/maps/room/files"),
    "redirection to a file": to("file:///etc/passwd"),
    "redirection to another host": to("http://127.0.0.2:PORT/x"),
    **{f"status {status}": always("list", answer(NONSENSE, status)) for status in (400, 401, 403, 404, 409, 429, 503)},
    "status 204": always("list", head(204)),
    "refusal of control characters": always("list", answer(json.dumps({"detail": "\x1b]0;x\n\u202etxt" * 99}), 409)),
    "refusal in depth": always("list", answer('{"detail":' + "[" * 30_000 + "]" * 30_000 + "}", 409)),
    "delay without end": always("list", answer('{"detail":"busy"}', 503, Retry_After="1e999")),
    "no JSON": always("list", answer(NONSENSE)),
    "JSON of another kind": always("list", answer('[{"version": "\\u001b[31m"}]')),
    "values of other kinds": lists(version=[], known={"a": 1}, files=["x"] * 1000),
    "JSON in depth": always("list", answer('{"version":' + "[" * 100_000 + "]" * 100_000 + "}")),
    "not a number": lists(version=float("nan")),
    "more than any number": always("list", answer('{"version":1e999,"model":"","known":[],"files":{}}')),
    "number of 5000 digits": always("list", answer('{"version":' + "9" * 5000 + ',"model":"","known":[],"files":{}}')),
    "version of 400 digits": lists(version=10**400),
    "version below 1": lists(version=-3),
    "negative size": lists_file("sfm/x.bin", size=-1),
    "size of exabytes": lists_file("sfm/x.bin", size=1 << 62),
    "size of 300 digits": lists_file("sfm/x.bin", size=10**300),
    "more than the disk": lists_file("sfm/x.bin", size=1 << 43),
    "no manifest": lists(files={}),
    "name twice": on("list", lambda one: answer(json.dumps(one.listing()).replace('{"sha256', '{"size": 1, "sha256'))),
    **{
        f"file called {name!a:.30}": lists_file(name)
        for name in (
            "../evil",
            "/etc/evil",
            "a/../../evil",
            "a\\..\\evil",
            "C:\\evil",
            "nul\0",
            "line\nbreak",
            "\x1b[31mred",
            "\u202egpj.exe",
            "\ud800",
            "x" * 300,
            "a/" * 400 + "x",
            "versions/../evil",
            "versions/1/manifest.json",
            "./x",
            "a//b",
            "",
            ".",
            "Features.h5",
            "sfm",
            "features.h5/x",
            ".room.partial/new/x",
        )
    },
    "checksum in capitals": lists_file("x", sha256="A" * 64),
    "checksum that is a path": lists_file("x", sha256="../../../evil"),
    "checksum that is short": lists_file("x", sha256="00"),
    "other content": on("part", lambda one: one.part(bytes((one.map / one.name).stat().st_size))),
    "packed file": on("part", lambda one: packed((one.map / one.name).read_bytes(), 206)),
    "fewer bytes": on("part", lambda one: answer(b"x", 206, Content_Range=f"bytes {one.span[0]}-{one.span[1] - 1}/9")),
    "more bytes": on("part", more),
    "another part": on("part", lambda one: answer(b"x", 206, Content_Range="bytes 1-1/99")),
    "no part": on("part", lambda one: answer((one.map / one.name).read_bytes())),
    "reset": on("part", reset),
    "reset of the list": on("list", reset),
    "version gone": always("part", answer('{"detail": "no version 2 any more: list its files again"}', 404)),
    "manifest of other files": writes_manifest(lambda values: {**values, "files": {"map.html": values["files"][FILE]}}),
    "manifest of files elsewhere": writes_manifest(lambda values: {**values, "files": {"../x": values["files"][FILE]}}),
    "manifest of another version": writes_manifest(lambda values: {**values, "version": 7}),
    "manifest of another format": writes_manifest(lambda values: {**values, "format_version": 99}),
    "manifest of another kind": writes_manifest(lambda _: ["\x1b[31m"] * 1000),
    "manifest of wrong types": writes_manifest(lambda values: {**values, "models": {"\x1b[31m" * 999: 3}}),
}
ALL = {**HUNGRY, **SLOW, **KINDS}


class HostileServer(socketserver.ThreadingTCPServer):
    """Answers as the kind that is the number at the begin of a path; ``map`` is what an honest server has."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, map_: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.map = map_


class _Handler(socketserver.StreamRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        """Answer requests until the client has gone."""
        with suppress(ConnectionError, TimeoutError):
            while line := self.rfile.readline().split():
                heads = {}
                while pair := self.rfile.readline().strip():
                    name, _, value = pair.decode("latin-1").partition(":")
                    heads[name.lower()] = value.strip()
                self._answer(line[1].decode(), heads)

    def _answer(self, target: str, heads: dict[str, str]) -> None:
        _, number, *parts = urlsplit(target).path.split("/")
        what = "part" if len(parts) > 4 else "list"
        begin, _, end = heads.get("range", "bytes=0-0").removeprefix("bytes=").partition("-")
        request = Request(
            self.server.map,
            what,
            unquote("/".join(parts[4:])),
            (int(begin), int(end) + 1),
            self.server.server_address[1],
        )
        given = list(ALL.values())[int(number)](request)
        for piece in request.honest() if given is None else given:
            self.connection.sendall(piece)
        if given is not None:
            raise ConnectionResetError  # of several answers the first one is the kind's
