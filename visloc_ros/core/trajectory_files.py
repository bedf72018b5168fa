"""Poses from text files: TUM lines, CSV with names of columns (EuRoC's, pandas'), and KITTI's matrices.

A line has exactly the columns of its format. Stamps without a decimal point have the unit that their digits or their
rate tell; else they are frame numbers, as those of KITTI's files without times are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, read_text
from visloc_ros.core.geometry import SE3, Array, nearest_rotation
from visloc_ros.core.integer_stamps import stamps_from_integers
from visloc_ros.core.plausibility import FARTHEST, is_plausible_position
from visloc_ros.core.trajectory import Trajectory, seconds_to_ns

TUM_COLUMNS = "t tx ty tz qx qy qz qw"
KITTI_COLUMNS = 12
KITTI_TIMES = "times.txt"
NUMBERED = (
    "has frame numbers, not times: write its stamps as seconds with a decimal point, or put KITTI's times.txt beside it"
)
_TUM_ORDER = tuple(range(8))
_LARGEST_ROTATION_ERROR = 1e-2
_WHOLE = re.compile(r"[-+]?\d{1,20}")  # longer ones are no stamps, and slow to convert
_NUMBER = re.compile(r"[-+.\d]|nan|inf", re.IGNORECASE)
_TIME = re.compile(r"t|secs?|seconds?|.*time.*|.*stamp.*", re.IGNORECASE)
_POSITION = r"(([pt][a-z]*?|.*position|.*translation)([^a-z](.*[^a-z])?)?)?{}"
_QUATERNION = r"(q[a-z]*?|.*orientation|.*quaternion|.*rotation)([^a-z](.*[^a-z])?)?{}"
_UNIT = re.compile(r"[\[(].*?[\])]")


@dataclass(frozen=True)
class _Line:
    """The words of a line, and its number for messages."""

    number: int
    words: tuple[str, ...]


def read_trajectory(path: Path) -> Trajectory:
    """Read poses of a text file; its columns determine the format.

    KITTI's poses get the times of a ``times.txt`` beside the file. Raises SourceError naming the bad line.
    """
    text = read_text(path, SourceError)
    if text.lstrip()[:1] == "{":
        raise SourceError(f"{path} is JSON, no text with poses: give the COLMAP model, or lines '{TUM_COLUMNS}'")
    order, lines = _read_lines(path, text)
    if not lines:
        raise SourceError(f"{path} holds no poses; expected lines '{TUM_COLUMNS}'")
    if order is None and all(len(line.words) == KITTI_COLUMNS for line in lines):
        return _from_kitti(path, lines)
    return _from_stamped(path, lines, order or _TUM_ORDER, exact=order is None)


def read_tum(path: Path) -> Trajectory:
    """Read poses with times, in any format of ``read_trajectory``. Raises SourceError where frames are numbered."""
    trajectory = read_trajectory(path)
    if trajectory.is_numbered:
        raise SourceError(f"{path} {NUMBERED}")
    return trajectory


def _read_lines(path: Path, text: str) -> tuple[tuple[int, ...] | None, list[_Line]]:
    """The columns of t, x, y, z, qx, qy, qz, qw where a header names them, and the lines with numbers."""
    order: tuple[int, ...] | None = None
    lines: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        content, _, comment = line.partition("#")
        words = _split(content)
        if words and (lines or _NUMBER.match(words[0])):
            lines.append(_Line(number, tuple(words)))
        elif words and (order := _named_columns(words)) is None:
            raise SourceError(f"{path}:{number}: not a number, nor names of columns with all of '{TUM_COLUMNS}'")
        elif comment and not lines:
            order = _named_columns(_from_time_on(_split(comment))) or order
    return order, lines


def _split(line: str) -> list[str]:
    separator = next((one for one in ";," if one in line), None)
    words = line.rstrip(f"{separator or ''} \t").split(separator)
    if separator == ";":  # of spreadsheets where a comma marks decimals
        words = [word.replace(",", ".") for word in words]
    return [word.strip().strip('"') for word in words]


def _from_time_on(words: list[str]) -> list[str]:
    """Names of columns in a comment, without what stands before them."""
    first = next((at for at, word in enumerate(words) if _TIME.fullmatch(_UNIT.sub("", word).strip())), len(words))
    return words[first:]


def _named_columns(words: Sequence[str]) -> tuple[int, ...] | None:
    """Columns of t, x, y, z, qx, qy, qz, qw, the first of each kind; None unless all are named."""
    names = [_UNIT.sub("", word).strip().lower() for word in words]
    if sum("sec" in name for name in names) > 1:
        return None  # whole seconds in one column and their nanoseconds in another
    patterns = [_TIME, *(re.compile(_POSITION.format(axis)) for axis in "xyz")]
    patterns += [re.compile(_QUATERNION.format(axis)) for axis in "xyzw"]
    columns = [next((at for at, name in enumerate(names) if one.fullmatch(name)), None) for one in patterns]
    found = tuple(column for column in columns if column is not None)
    return found if len(found) == len(columns) and len(set(found)) == len(found) else None


def _from_kitti(path: Path, lines: Sequence[_Line]) -> Trajectory:
    poses = tuple(_kitti_pose(path, line) for line in lines)
    times = path.with_name(KITTI_TIMES)
    stamps_ns = [seconds_to_ns(str(number)) for number in range(len(poses))]
    if not is_file(times):
        return Trajectory(np.array(stamps_ns), poses, is_numbered=True)
    words = read_text(times, SourceError).split()
    if len(words) != len(poses):
        raise SourceError(f"{times} has {len(words)} times for {len(poses)} poses of {path}")
    try:
        return Trajectory(np.array([seconds_to_ns(f"{float(word):.9f}") for word in words]), poses)
    except ValueError as error:
        raise SourceError(f"{times} does not hold increasing times: {error}") from error


def _kitti_pose(path: Path, line: _Line) -> SE3:
    matrix = _numbers(path, line, line.words).reshape(3, 4)
    rotation = nearest_rotation(matrix[:, :3])
    if np.abs(rotation - matrix[:, :3]).max() > _LARGEST_ROTATION_ERROR:
        raise SourceError(f"{path}:{line.number}: 12 columns, but no rotation and translation (3, 4) as KITTI has")
    return SE3(rotation, _checked_position(path, line, matrix[:, 3]))


def _from_stamped(path: Path, lines: Sequence[_Line], order: tuple[int, ...], *, exact: bool) -> Trajectory:
    for line in lines:
        _check_columns(path, line, len(order) if exact else max(order) + 1, exact)
    stamps_ns, is_numbered = _stamps(path, lines, order[0])
    poses = [_pose(path, line, order[1:]) for line in lines]
    rows = sorted(range(len(lines)), key=stamps_ns.__getitem__)
    for one, other in pairwise(rows):
        if stamps_ns[one] == stamps_ns[other]:
            raise SourceError(f"{path}:{lines[other].number}: the same stamp as in line {lines[one].number}")
    return Trajectory(np.array([stamps_ns[row] for row in rows]), tuple(poses[row] for row in rows), is_numbered)


def _check_columns(path: Path, line: _Line, count: int, exact: bool) -> None:
    if len(line.words) < count or (exact and len(line.words) > count):
        raise SourceError(
            f"{path}:{line.number}: {len(line.words)} columns, expected {count} as '{TUM_COLUMNS}', KITTI's "
            f"{KITTI_COLUMNS}, or a first line with names of columns"
        )


def _stamps(path: Path, lines: Sequence[_Line], column: int) -> tuple[list[int], bool]:
    """Stamps in nanoseconds, and whether they are only frame numbers."""
    words = [line.words[column] for line in lines]
    is_whole = all(_WHOLE.fullmatch(word) for word in words)
    known = stamps_from_integers(words) if is_whole else None
    if known is not None:
        return known, False
    try:
        return [seconds_to_ns(word) for word in words], is_whole
    except ValueError:
        for line, word in zip(lines, words, strict=True):
            _stamp(path, line, word)
        raise


def _stamp(path: Path, line: _Line, word: str) -> int:
    try:
        return seconds_to_ns(word)
    except ValueError as error:
        raise SourceError(f"{path}:{line.number}: not a number: {error}") from error


def _pose(path: Path, line: _Line, columns: Sequence[int]) -> SE3:
    values = _numbers(path, line, [line.words[column] for column in columns])
    x, y, z, w = values[3:]
    if not abs(np.linalg.norm(values[3:]) - 1.0) <= 1e-2:
        raise SourceError(f"{path}:{line.number}: the quaternion {values[3:].tolist()} is not of unit length")
    return SE3.from_quaternion([w, x, y, z], _checked_position(path, line, values[:3]))


def _numbers(path: Path, line: _Line, words: Sequence[str]) -> Array:
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise SourceError(f"{path}:{line.number}: not a number: {error}") from error
    if not np.all(np.isfinite(values)):
        raise SourceError(f"{path}:{line.number}: expected '{TUM_COLUMNS}', all finite")
    return values


def _checked_position(path: Path, line: _Line, position: Array) -> Array:
    if not is_plausible_position(position):
        raise SourceError(f"{path}:{line.number}: the position is farther from the origin than {FARTHEST:g}")
    return position
