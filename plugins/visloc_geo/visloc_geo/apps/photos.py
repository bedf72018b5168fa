"""The photos that ``visloc geo locate`` is given: single ones, or walks of consecutive ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timezone
from pathlib import Path

from visloc_geo.photo_tags import read_photo_tags, read_time
from visloc_geo.view import Orientation, View
from visloc_geo.walk import MOST_PHOTOS
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.types import Frame
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.exif import read_exif
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.layouts import natural_key

_FILM_FPS = 1.0
"""Of a video or a bag by default: who walks takes a step or two meanwhile, and consecutive frames show the same."""


@dataclass(frozen=True, eq=False)
class Photos:
    """Frames of sources, and the name of the walk that they were taken on; single photos have none."""

    sources: Sequence[FrameSource]
    walk: str = ""

    @property
    def is_film(self) -> bool:
        """Whether these are the frames of a video or bag, which one camera took."""
        return not isinstance(self.sources[0], FolderSource)

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __iter__(self) -> Iterator[tuple[Frame, View | None]]:
        """Frames, and where their own EXIF data place them."""
        for source in self.sources:
            files = {image.name: image.path for image in source.images} if isinstance(source, FolderSource) else {}
            for frame in source:
                yield frame, _tags_of(files[frame.name]) if frame.name in files else None


def open_photos(paths: Sequence[Path], config: SourceConfig, are_together: bool) -> list[Photos]:
    """Open photos, folders, videos and bags; each film is a walk, and with ``are_together`` all photos are one.

    Raises ConfigError for a walk of too many photos, and as ``open_source`` does.
    """
    sources = [_open(path, config) for path in paths]
    folders = [source for source in sources if are_together and isinstance(source, FolderSource)]
    groups = [
        Photos([source], "" if isinstance(source, FolderSource) else source.name)
        for source in sources
        if source not in folders
    ]
    if folders:
        groups.insert(0, Photos(_in_order(folders), "photos"))
    for one in groups:
        if one.walk and len(one) > MOST_PHOTOS:
            raise ConfigError(
                f"{one.walk}: {len(one)} photos are too many to be located together, {MOST_PHOTOS} at most: "
                "read fewer, with --every, --fps or --max-frames"
            )
    return groups


def _open(path: Path, config: SourceConfig) -> FrameSource:
    source = open_source(path, config)
    if isinstance(source, FolderSource) or config.fps or config.every > 1:
        return source
    return open_source(path, replace(config, fps=_FILM_FPS))


def _in_order(folders: Sequence[FolderSource]) -> list[FolderSource]:
    """The sources and their images in order of time: by all photos' EXIF data, otherwise by their names."""
    times = {image.path: read_time(read_exif(image.path)) for one in folders for image in one.images}
    kinds = {None if time is None else time.tzinfo is None for time in times.values()}
    is_timed = len(kinds) == 1 and None not in kinds  # a local time says nothing beside one in UTC

    def order(path: Path) -> tuple[float, list[tuple[int, str]]]:
        time = times[path] if is_timed else None
        seconds = 0.0 if time is None else time.replace(tzinfo=time.tzinfo or timezone.utc).timestamp()
        return seconds, natural_key(str(path))

    for one in folders:
        one.images = tuple(sorted(one.images, key=lambda image: order(image.path)))
    return sorted(folders, key=lambda one: order(one.images[0].path))


def _tags_of(path: Path) -> View:
    tags = read_photo_tags(path)
    looks = None
    if tags.direction is not None:
        looks = Orientation(tags.direction.heading_deg, sigma_deg=tags.direction.sigma_deg)
    return View(path.name, tags.position, looks)
