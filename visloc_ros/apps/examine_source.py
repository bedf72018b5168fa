"""Checks of a recording before a map is made of it: its size, rate, camera, blur and shutter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from visloc_ros.core.calibration import CalibrationSource
from visloc_ros.core.errors import VislocError
from visloc_ros.core.finding import Finding, Level
from visloc_ros.core.geometry import Array
from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.side_by_side import ADVICE, is_of_two_cameras, shows_two_pictures
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Image
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.layouts import IMAGE_SUFFIXES
from visloc_ros.sources.phones import phone_advice, phone_of
from visloc_ros.sources.video import VideoSource
from visloc_ros.tracking.readout import Readout, ReadoutMeter

MOST_FRAMES = 300  # that are examined: ten seconds of most videos
FEWEST_HZ = 10.0  # 15 to 30 are usual; odometry follows a hand that turns only so far
MOST_HZ = 300.0  # slow motion of phones has 240
EVEN = 0.2  # share of the usual interval by which the others may differ
GAP = 3.5  # usual intervals: several frames in a row are missing
NEIGHBOURS = 15  # frames to both sides, which show the same scene
SOFT = 0.5  # of the sharpness of the sharpest tenth of them
MUCH_BLUR = 0.3  # of the images: 7scenes_redkitchen has 0.15, tum_fr1_rpy 0.5
SURE = 4.0  # standard deviations from which on rows are read one after the other
SHORTEST_READOUT_S = 0.008
MUCH_BENT = 0.015  # of the longer side, from the first row to the last, at quick moments

_TURNS = {1: "a quarter turn", 2: "half a turn", 3: "a quarter turn"}


def examine_source(path: Path, camera: str = "") -> Iterator[Finding]:
    """Look at a video, a folder of images, a bag or a single photo; ``camera`` is a calibration file, if there is."""
    try:
        with _opened(path, SourceConfig(camera=camera)) as source:
            yield from _examine(source)
    except VislocError as error:
        yield Finding(Level.ERROR, "recording", str(error))


@contextmanager
def _opened(path: Path, config: SourceConfig) -> Iterator[FrameSource]:
    """A source; a single photo is one of a folder."""
    if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
        yield open_source(path, config)
        return
    with tempfile.TemporaryDirectory(prefix="visloc_photo_") as folder:
        (Path(folder) / path.name).symlink_to(path.resolve())
        yield open_source(Path(folder), config)


@dataclass(eq=False)
class _Look:
    """The results of examining the frames."""

    stamps_ns: list[int] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    shape: tuple[int, ...] = ()
    num_of_two_pictures: int = 0
    readout: Readout | None = None


def _examine(source: FrameSource) -> Iterator[Finding]:
    turns = source.clockwise_turns if isinstance(source, VideoSource) else 0
    look = _look_at(source, turns)
    height, width = look.shape[:2]
    turned = f", stored {_TURNS[turns]} off and shown upright" if turns else ""
    several = f"{len(source)} images of " if len(source) > 1 else "an image of "
    yield Finding(Level.OK, "recording", f"{several}{width}x{height} pixels{turned}")
    if is_of_two_cameras(look.num_of_two_pictures, len(look.stamps_ns)):
        yield Finding(Level.ERROR, "recording", ADVICE)
    is_film = len(look.stamps_ns) > NEIGHBOURS and not _is_of_photos(source)
    if is_film:
        yield from _examine_times(np.diff(look.stamps_ns) / NANOSECONDS)
    yield _examine_camera(source)
    if is_film:
        yield _examine_blur(look.sharpness)
    yield from _examine_shutter(look.readout, phone_of(source), turns)


def _look_at(source: FrameSource, turns: int) -> _Look:
    look, meter = _Look(), ReadoutMeter()
    for frame in islice(source, MOST_FRAMES):
        look.stamps_ns.append(frame.stamp_ns)
        small = shrink(frame.grey)
        look.sharpness.append(sharpness(small))
        look.num_of_two_pictures += shows_two_pictures(small)
        look.shape = frame.image.shape
        meter.add(frame.stamp_ns, _as_stored(frame.grey, turns))
    look.readout = meter.readout
    return look


def _as_stored(image: Image, clockwise_turns: int) -> Image:
    """An upright image as its sensor wrote it, row by row."""
    return np.ascontiguousarray(np.rot90(image, clockwise_turns))


def _is_of_photos(source: FrameSource) -> bool:
    """Whether images are photos, taken at irregular times."""
    if not isinstance(source, FolderSource):
        return False
    return bool(source.camera_maker) or source.calibration.source is CalibrationSource.EXIF


def _examine_times(intervals_s: Array) -> Iterator[Finding]:
    usual = float(np.median(intervals_s))
    rate = f"{1.0 / float(np.mean(intervals_s)):.4g} images a second"
    if np.all(np.abs(intervals_s - usual) <= EVEN * usual):
        text = f"{rate}, at a constant rate"
    else:
        least, most = 1e3 * float(intervals_s.min()), 1e3 * float(intervals_s.max())
        text = f"{rate} on average, {least:.0f} to {most:.0f} ms apart: each keeps its own time"
    yield Finding(Level.OK, "recording", text)
    if usual * MOST_HZ < 1.0:
        words = "no camera takes so many: their stamps have another unit, name images by nanoseconds since 1970"
        yield Finding(Level.ERROR, "recording", words)
    if 1.0 / usual < FEWEST_HZ:
        words = "so few images a second lose a camera that turns: record 20 to 30, or move very slowly"
        yield Finding(Level.WARNING, "recording", words)
    gaps = int((intervals_s > GAP * usual).sum())
    if gaps:
        words = f"{gaps} gap{'s' * (gaps > 1)} where images are missing, up to {float(intervals_s.max()):.2g} s"
        yield Finding(Level.WARNING, "recording", f"{words}: record to a faster disk, with nothing else running")


def _examine_camera(source: FrameSource) -> Finding:
    calibration = source.calibration
    if not calibration.is_provisional:
        return Finding(Level.OK, "camera", str(calibration))
    words = "maps and poses estimate it; to be more accurate, give the calibration: --camera FILE"
    return Finding(Level.WARNING, "camera", f"{calibration}: {words}")


def _examine_blur(values: Sequence[float]) -> Finding:
    near = [values[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1] for at in range(len(values))]
    share = float(np.mean([value < SOFT * np.percentile(some, 90) for value, some in zip(values, near, strict=True)]))
    text = f"{100 * share:.0f} % of the images are much less sharp than those just before and after"
    if share <= MUCH_BLUR:
        return Finding(Level.OK, "blur", text)
    return Finding(Level.WARNING, "blur", f"{text}: move more slowly, or give more light or a shorter exposure")


def _examine_shutter(readout: Readout | None, phone: str, turns: int) -> Iterator[Finding]:
    """Whether rows are read one after the other: by measurement, else as usual for phones."""
    is_known = readout is not None and readout.sigma_s < SHORTEST_READOUT_S / 2.0
    if readout is None or not is_known:
        if phone:
            yield Finding(Level.WARNING, "shutter", phone_advice(phone))
        return
    is_rolling = readout.seconds > max(SHORTEST_READOUT_S, SURE * readout.sigma_s)
    if not is_rolling:
        yield Finding(Level.OK, "shutter", "all rows are exposed together, as far as the motion shows")
        return
    bent = readout.seconds * readout.motion
    text = f"rows are read one after the other, about {1e3 * readout.seconds:.0f} ms from the first to the last"
    if bent <= MUCH_BENT:
        yield Finding(Level.OK, "shutter", f"{text}; the camera moves slowly enough")
        return
    remedy = "turn more slowly" + ("" if turns else ", or give odometry.klt.readout_ms (choosing settings, the camera)")
    yield Finding(Level.WARNING, "shutter", f"{text}, and quick motion bends images by {100 * bent:.1f} %: {remedy}")
