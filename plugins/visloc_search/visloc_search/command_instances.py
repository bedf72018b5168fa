"""``visloc instances``: the instances of a map that images show, as masks, pictures and arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import MapArgument
from visloc_ros.apps.outputs import check_outputs, writing
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.files import exists, is_folder
from visloc_ros.core.map_layout import thumbnail_name
from visloc_ros.core.types import Image
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources import open_source
from visloc_ros.sources.layouts import IMAGE_SUFFIXES
from visloc_ros.sources.photos import read_photo
from visloc_ros.sources.ros_images import encode_png

if TYPE_CHECKING:
    from visloc_search.instances.recognition import Recognition

logger = logging.getLogger(__name__)

_SHOWN = 5  # instances in the line of an image


def instances(
    map_path: MapArgument,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images, videos or bags.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks, pictures and arrays.")],
    as_json: AsJson = False,
) -> None:
    """Recognise the instances of a map in images: a mask, a picture, confidences, and arrays of each image.

    Of NAME.jpg it writes NAME_mask.png, NAME_confidence.png, NAME_overlay.png and NAME.npz. The map must be prepared
    for the search by instances.

    Example: visloc instances maps/office query.jpg photos/ --output out/recognised
    """
    from visloc_search.instances.mask_files import CLASSES_NAME, classes_text
    from visloc_search.instances.opening import open_instances
    from visloc_search.instances.pictures import shown_instances

    check_outputs(folder=output)
    _check_given(images, output)
    known, recogniser = open_instances(open_searchable_map(map_path))
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        (output / CLASSES_NAME).write_text(classes_text(known.num_classes), encoding="utf-8")
    report: dict[str, Any] = {}
    for name, image in _read_all(images):
        stem = Path(thumbnail_name(name)).stem
        if stem in report:
            raise ConfigError(f"two of the images are called '{stem}': give each its own folder by --output")
        recognition = recogniser.recognise(image)
        write_recognition(output / stem, image, recognition)
        shown = shown_instances(recognition)
        report[stem] = [asdict(one) for one in shown]
        largest = ", ".join(f"{one.instance} ({one.share:.0%})" for one in shown[:_SHOWN]) or "no instance"
        console.print(f"{name}: {largest}", highlight=False, soft_wrap=True)
    if as_json:
        print_json(report)


def write_recognition(path: Path, image: Image, recognition: Recognition) -> None:
    """Write the files of an image, whose names begin with that of ``path``. Raises OutputError."""
    from visloc_search.instances.mask_files import MASK_SUFFIX, mask_colours
    from visloc_search.instances.pictures import confidence_picture, enlarged, overlay

    size = image.shape[1], image.shape[0]
    pictures = {
        MASK_SUFFIX: mask_colours(enlarged(recognition.mask, size)),
        "_confidence.png": confidence_picture(enlarged(recognition.confidence, size)),
        "_overlay.png": overlay(image, recognition),
    }
    with writing(path):
        for suffix, picture in pictures.items():
            path.with_name(f"{path.name}{suffix}").write_bytes(encode_png(picture))
        np.savez_compressed(
            path.with_name(f"{path.name}.npz"),
            ids=recognition.ids,
            probabilities=recognition.probabilities,
            confidence=recognition.confidence,
            descriptor=recognition.descriptor,
        )


def _check_given(images: Sequence[Path], output: Path) -> None:
    """Refuse what is not there, and a folder of images that results would be mixed with."""
    missing = next((path for path in images if not exists(path)), None)
    if missing is not None:
        raise SourceError(f"there is no image, and no folder of images, at {missing}")
    if any(is_folder(path) and path.resolve() == output.resolve() for path in images):
        raise ConfigError(f"{output} holds the images: choose another folder for --output")


def _read_all(images: Sequence[Path]) -> Iterator[tuple[str, Image]]:
    """Names and pixels of all images, upright; those that cannot be read are named and left out.

    Raises SourceError where none can.
    """
    count = 0
    for path in images:
        try:
            for one in _read(path):
                count += 1
                yield one
        except SourceError as error:
            if len(images) == 1:
                raise
            logger.warning("left out: %s", error)
    if not count:
        raise SourceError("none of the images can be read: --verbose says why")


def _read(path: Path) -> Iterator[tuple[str, Image]]:
    if is_folder(path) or path.suffix.lower() not in IMAGE_SUFFIXES:
        yield from ((frame.name, frame.image) for frame in open_source(path))
        return
    yield path.name, read_photo(path)
