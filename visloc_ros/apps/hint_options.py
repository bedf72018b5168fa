"""Options with what is known of a camera beside its images, and the hints for searches that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.options import takes_outcome
from visloc_ros.core.geometry import Array
from visloc_ros.core.types import MapIdentity
from visloc_ros.localization.rough_pose import RoughPose, rough_pose_in_words
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.text_files import read_texts

_PANEL = "What is known of the camera"
Position = Annotated[
    str, typer.Option(help="Rough position in the map, 'x y' or 'x y z'; needs the sigma.", rich_help_panel=_PANEL)
]
Gps = Annotated[
    str,
    typer.Option(
        help="The same on the earth, 'latitude longitude', for a map aligned with 'visloc align-map --gps'.",
        rich_help_panel=_PANEL,
    ),
]
PositionSigma = Annotated[
    float | None, typer.Option(help="Standard deviation of the position, metres.", rich_help_panel=_PANEL)
]
Heading = Annotated[
    float | None,
    typer.Option(
        help="Rough heading, degrees clockwise from the map's y axis: on the earth from north; needs its sigma.",
        rich_help_panel=_PANEL,
    ),
]
HeadingSigma = Annotated[
    float | None, typer.Option(help="Standard deviation of the heading, degrees.", rich_help_panel=_PANEL)
]
Texts = Annotated[
    Path | None,
    typer.Option(
        help="Embeddings of the texts that images show, by image name, as of 'visloc prepare --texts'.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class Hints:
    """What is known of all images, and the texts (E,) of single ones by name."""

    rough: RoughPose
    texts: Mapping[str, Array] = field(default_factory=dict)

    def of(self, name: str, identity: MapIdentity) -> SearchHint | None:
        """The hint for an image in a map. Raises as ``RoughPose.in_map`` does."""
        return replace(self.rough, text=self.texts.get(name)).in_map(identity)


def make_hints(
    position: Position = "",
    gps: Gps = "",
    position_sigma: PositionSigma = None,
    heading: Heading = None,
    heading_sigma: HeadingSigma = None,
    texts: Texts = None,
) -> Hints:
    """The hints by the options on the command line. Raises ConfigError."""
    rough = rough_pose_in_words(position, gps, position_sigma, heading, heading_sigma)
    return Hints(rough) if texts is None else Hints(rough, read_texts(texts))


takes_hints = takes_outcome("hints", make_hints)
"""Gives a command the options of ``make_hints``; it receives their outcome as ``hints``."""
