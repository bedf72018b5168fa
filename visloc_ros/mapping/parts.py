"""Maps of the images that structure from motion could not join with the others: each is a map of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map_writer import has_versions, staged_folder
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.mapping.summary import MapPart

_log = logging.getLogger(__name__)

NewPart = Callable[[], Path]


@contextmanager
def part_folders(output: Path, *, overwrite: bool) -> Iterator[NewPart]:
    """Give a function that makes a folder for each further map beside ``output``; they appear when the block ends well.

    They are called NAME_part2 and so on. Those of an earlier build of ``output`` are replaced with ``overwrite``,
    unless they have versions of their own; any other folder is left alone. Raises OutputError where one cannot be
    written.
    """
    output, number = output.absolute(), 1
    with ExitStack() as staged:

        def new_part() -> Path:
            nonlocal number
            number += 1
            while not _is_free(path := output.with_name(f"{output.name}_part{number}"), output.name, overwrite):
                number += 1
            return staged.enter_context(staged_folder(path, overwrite=overwrite))

        yield new_part


def created_from(sources: str, part_of: str) -> str:
    """What a part's manifest says that it was made from."""
    return f"{sources}, part of '{part_of}'"


def describe_part(name: str, images: Sequence[str], in_map: Collection[str], reason: str) -> MapPart:
    """The part of this name, of these images, of which some may be in the map as well, and why it is not merged."""
    return MapPart(name, len(images), images[0], images[-1], len(set(images) & set(in_map)), reason)


def frame_of_one(config: FrameConfig, images: Collection[str], every: Sequence[str]) -> FrameConfig:
    """The options of the frame for one of several maps, without a known distance that is not between its images.

    ``every`` image of all maps is in the order of the recordings: the distance is between the first and the last of
    them, unless images are named.
    """
    ends = {config.scale_from or every[0], config.scale_to or every[-1]}
    if not config.scale_distance or ends <= set(images):
        return config
    _log.warning("frame.scale_distance is not between images of one map: it does not set the scale")
    scale = "none" if config.scale == "distance" else config.scale
    return replace(config, scale_distance=0.0, scale=scale)


def _is_free(path: Path, part_of: str, overwrite: bool) -> bool:
    if not path.exists():
        return True
    if not overwrite or has_versions(path):
        return False
    try:
        return read_manifest(path).created_from.endswith(created_from("", part_of))
    except MapError:  # no map
        return False
