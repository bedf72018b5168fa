"""The sources of a map: one or several sources of frames, each with its own reference poses or none."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.mapping.cameras import CameraGroups
from visloc_ros.mapping.reference_poses import ReferencePoses
from visloc_ros.sources import FrameSource
from visloc_ros.sources.measurements import Measurements, measurements_of


@dataclass(frozen=True, eq=False)
class MapSource:
    """A source of frames, its unique label, its cameras, and its reference poses ``map_from_camera``."""

    label: str
    frames: FrameSource
    references: ReferencePoses | None
    cameras: CameraGroups

    @cached_property
    def measurements(self) -> Measurements:
        """The measurements of other sensors, read when first needed. Raises as the source does."""
        return measurements_of(self.frames)


@dataclass(eq=False)
class TimeSpan:
    """The first and last stamp [ns] of a source's frames, noted while these are read."""

    begin_ns: int = field(default=np.iinfo(np.int64).max)
    end_ns: int = field(default=np.iinfo(np.int64).min)

    def watch(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Hand on frames and note their stamps."""
        for frame in frames:
            self.begin_ns, self.end_ns = min(self.begin_ns, frame.stamp_ns), max(self.end_ns, frame.stamp_ns)
            yield frame

    def overlaps(self, other: TimeSpan) -> bool:
        """Whether the two overlap."""
        return self.begin_ns <= other.end_ns and other.begin_ns <= self.end_ns


def label_sources(
    sources: FrameSource | Sequence[FrameSource],
    references: ReferencePoses | Sequence[ReferencePoses | None] | None = None,
    taken: Collection[str] = (),
) -> list[MapSource]:
    """Give every source a label, unique also among those ``taken``, and its reference poses.

    ``references`` are those of all sources, or one for each, None where a source has none. Raises ConfigError where
    their numbers do not agree.
    """
    every = list(sources) if isinstance(sources, Sequence) else [sources]
    if not every:
        raise ConfigError("no source of frames is given: name a video, an image folder or a bag")
    each = list(references) if isinstance(references, Sequence) else [references] * len(every)
    if len(each) != len(every):
        raise ConfigError(
            f"{len(each)} files of reference poses for {len(every)} sources: give one for each, or one for all"
        )
    labels = unique_labels([source.name for source in every], taken)
    return [
        MapSource(label, source, poses, CameraGroups(source.calibrated))
        for label, source, poses in zip(labels, every, each, strict=True)
    ]


def check_shared_references(sources: Sequence[MapSource], spans: Sequence[TimeSpan]) -> None:
    """Refuse one trajectory for several sources whose stamps overlap: it would be wrong for all but one of them.

    Raises ConfigError.
    """
    for (one, span), (other, other_span) in combinations(zip(sources, spans, strict=True), 2):
        shared = isinstance(one.references, Trajectory) and one.references is other.references
        if shared and span.overlaps(other_span):
            raise ConfigError(
                f"the stamps of '{one.label}' and '{other.label}' overlap, so they cannot share their reference poses: "
                "give one file of reference poses for each source"
            )


def unique_labels(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Names, numbered where they have been there before or are ``taken``."""
    labels: list[str] = []
    for name in names:
        label, number = name, 1
        while label in taken or label in labels:
            number += 1
            label = f"{name}-{number}"
        labels.append(label)
    return labels
