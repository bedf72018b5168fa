"""Command lines and files that nobody should give: one line that says what is wrong, and exit code 1 or 2."""

import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import visloc

DEMO_MAP = str(Path("maps/demo_room.tar.gz").resolve())
OVER_LONG = "x" * 5000


def write(folder, name, text):
    (folder / name).write_text(text)
    return name


def images(folder):
    (folder / "frames").mkdir(exist_ok=True)
    for index in range(3):
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    return "frames"


def huge_png(folder):
    """A PNG of 20000 x 20000 white pixels in a megabyte."""
    frames = folder / images(folder)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows, checksum = 200 * (b"\0" + b"\xff" * 60_000), 1
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)  # after which the same may follow again
    for _ in range(100):
        checksum = zlib.adler32(rows, checksum)
    packed = b"\x78\xda" + 100 * packed + packer.flush() + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (frames / "1.png").write_bytes(content)
    return "frames"


def deep_archive(folder):
    with tarfile.open(folder / "deep.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("d/" * 3000 + "x")
        tar.addfile(member, io.BytesIO())
    return "deep.tar.gz"


def pipe_among_images(folder):
    frames = folder / images(folder)
    os.mkfifo(frames / "3.png")
    return "frames"


def endless_image(folder):
    frames = folder / images(folder)
    (frames / "3.png").symlink_to("/dev/zero")
    return "frames"


CASES = {
    "markup as a map": lambda folder: ("localize", "[red]x", images(folder)),
    "markup as a source": lambda folder: ("localize", DEMO_MAP, "/tmp/[/x]"),
    "markup as an option": lambda folder: ("localize", DEMO_MAP, images(folder), "--camera", "[/bold]"),
    "over-long map": lambda folder: ("localize", OVER_LONG, images(folder)),
    "over-long source": lambda folder: ("build-map", OVER_LONG),
    "over-long output": lambda folder: ("build-map", images(folder), "-o", OVER_LONG),
    "over-long output of an export": lambda folder: ("export-hloc", DEMO_MAP, "-o", OVER_LONG),
    "over-long output of poses": lambda folder: ("localize", DEMO_MAP, images(folder), "-o", OVER_LONG),
    "over-long config": lambda folder: ("build-map", images(folder), "--config", OVER_LONG),
    "line breaks": lambda folder: ("localize", "a\nb\n\nc", images(folder)),
    "deep archive": lambda folder: ("localize", deep_archive(folder), images(folder)),
    "nested yaml": lambda folder: ("build-map", images(folder), "--config", write(folder, "c", "[" * 50_000)),
    "giant number": lambda folder: ("build-map", images(folder), "--config", write(folder, "c", "a: " + "9" * 10_000)),
    "number as key": lambda folder: ("build-map", images(folder), "--config", write(folder, "c", "1: 2")),
    "list as key": lambda folder: ("build-map", images(folder), "--config", write(folder, "c", "? [a]\n: 2")),
    "itself": lambda folder: ("build-map", images(folder), "--config", write(folder, "c", "&a a: *a\nb: &b {c: *b}")),
    "many threads": lambda folder: (
        "build-map",
        images(folder),
        "--config",
        write(folder, "c", "features: {torch_threads: 100000}"),
    ),
    "infinite width": lambda folder: (
        "localize",
        DEMO_MAP,
        images(folder),
        "--camera",
        write(folder, "c", "model: PINHOLE\nwidth: .inf\nheight: 48\nparams: [50, 50, 32, 24]"),
    ),
    "endless focal length": lambda folder: (
        "localize",
        DEMO_MAP,
        images(folder),
        "--camera",
        write(folder, "c", "model: PINHOLE\nwidth: 64\nheight: 48\nparams: [1.0e+308, 1.0e+308, 32, 24]"),
    ),
    "no rate": lambda folder: ("localize", DEMO_MAP, images(folder), "--fps", "nan"),
    "infinite tolerance": lambda folder: (
        "evaluate",
        write(folder, "a", "1 0 0 0 0 0 0 1\n2 1 0 0 0 0 0 1\n3 1 1 0 0 0 0 1"),
        write(folder, "b", "1 0 0 0 0 0 0 1\n2 1 0 0 0 0 0 1\n3 1 1 0 0 0 0 1"),
        "--tolerance-s",
        "inf",
    ),
    "far stamp": lambda folder: ("evaluate", *[write(folder, "a", "1e300 0 0 0 0 0 0 1\n")] * 2),
    "far pose": lambda folder: ("evaluate", *[write(folder, "a", "1 1e308 0 0 0 0 0 1\n2 -1e308 0 0 0 0 0 1\n")] * 2),
    "pipe as a trajectory": lambda folder: ("evaluate", *[os.mkfifo(folder / "p") or "p"] * 2),
    "huge image": lambda folder: ("build-map", huge_png(folder), "-o", "map"),
    "only a pipe": lambda folder: ("track", os.mkfifo(folder / "p.mp4") or "p.mp4"),
}


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES.keys())
def test_it_says_in_one_line_what_is_wrong(tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = visloc(*arguments(tmp_path))
    assert answer.code
    answer.assert_in_words()
    assert not (tmp_path / "map").exists()


def test_a_tiny_rate_is_a_rate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = visloc("localize", DEMO_MAP, images(tmp_path), "--fps", "1e-320")
    assert (answer.code, answer.error) == (0, "")
    assert "of 1 frames" in answer.said


@pytest.mark.parametrize("make", [pipe_among_images, endless_image], ids=lambda make: make.__name__)
def test_what_is_no_image_among_images_is_left_out_and_said(tmp_path, make, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    answer = visloc("localize", DEMO_MAP, make(tmp_path), "-o", "out")
    answer.assert_in_words()
    assert "3.png" in caplog.text
