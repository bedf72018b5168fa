"""Instance masks in files: PNG files by the names of images, and a list of the classes of their colours.

The layout is that of LBR (Xue et al., CVPR 2022): a colour is the number R * 65536 + G * 256 + B, and each line of the
list has such a number and its class, the first one ``0 0``. Colours that are not listed show no instance.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, LARGEST_SETTINGS_BYTES, is_file, is_folder, read_bytes, read_text
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.map_layout import thumbnail_name
from visloc_ros.core.types import Image
from visloc_ros.sources.image_header import has_16_bits, read_image_header
from visloc_ros.sources.ros_images import decode_compressed
from visloc_search.instances.config import MOST_INSTANCES, NO_INSTANCE
from visloc_search.instances.recognition import at_pixels

CLASSES_NAME = "classes.txt"
MASK_SUFFIX = "_mask.png"
"""Of the masks that ``visloc instances`` writes; ``NAME.png`` is read, too."""

Mask = NDArray[np.uint16]

_log = logging.getLogger(__name__)

_NUM_COLOURS = 1 << 24
_MOST_CLASSES = MOST_INSTANCES + 1


def labels_of_files(map_: Map, folder: Path) -> tuple[NDArray[np.int32], dict[str, Mask]]:
    """Instance (P,) of each point of a map by the masks in a folder, and the masks (H, W) of images by their names.

    A mask covers the whole of its image, whatever its size; it gets that of the map's own small picture. A point has
    the instance that most of its observations show; masks keep only instances of points. Raises SourceError.
    """
    if not is_folder(folder):
        raise SourceError(f"there is no folder of masks at {folder}")
    classes = read_classes(folder / CLASSES_NAME)
    paths = _find_masks(map_, folder)
    masks, votes = {}, [np.empty(0, np.int64)]
    for image in (one for one in map_.images if one.name in paths):
        mask = read_mask(paths[image.name], classes)
        _check_upright(paths[image.name], mask, image)
        seen = np.flatnonzero(image.point_rows != NO_POINT)
        shown = at_pixels(mask, image.features.keypoints[seen], image.features.image_size)
        votes.append(image.point_rows[seen].astype(np.int64) * _MOST_CLASSES + shown)
        masks[image.name] = _as_large_as_picture(mask, map_.thumbnails.get(image.name))
    labels = _majority(np.concatenate(votes), len(map_.points))
    has_points = np.zeros(_MOST_CLASSES, bool)
    has_points[labels] = True
    if not has_points[NO_INSTANCE + 1 :].any():
        raise SourceError(
            f"the masks in {folder} show no point of the map '{map_.name}' with a colour of {CLASSES_NAME}: give masks "
            "of its images, and the list that belongs to them"
        )
    return labels, {name: np.where(has_points[mask], mask, np.uint16(NO_INSTANCE)) for name, mask in masks.items()}


def read_classes(path: Path) -> Mask:
    """Class of each of the 2**24 colours. Raises SourceError where a line is not ``COLOUR CLASS``."""
    advice = ": write a line 'COLOUR CLASS' for each class into it, the first one '0 0'"
    lines = read_text(path, SourceError, LARGEST_SETTINGS_BYTES, advice).splitlines()
    pairs = [_read_pair(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs or pairs[0] != (0, NO_INSTANCE):
        raise SourceError(f"{path} must begin with the line '0 0': black shows no instance")
    classes = dict(pairs)
    if len(classes) < len(pairs):
        raise SourceError(f"{path} lists a colour twice: leave one of the lines out")
    largest = max(classes.values())
    if largest >= len(classes):
        raise SourceError(
            f"{path} has the class {largest}, but only {len(classes)} lines: number its classes from 0 on, a line each"
        )
    table = np.full(_NUM_COLOURS, NO_INSTANCE, np.uint16)
    table[list(classes)] = list(classes.values())
    return table


def classes_text(num_classes: int) -> str:
    """The list of masks whose colours are the classes themselves."""
    return "".join(f"{one} {one}\n" for one in range(num_classes))


def read_mask(path: Path, classes: Mask) -> Mask:
    """Classes (H, W) of a mask's pixels, by those of colours.

    Raises SourceError where it is no PNG of three 8-bit colours.
    """
    data = read_bytes(path, SourceError, LARGEST_IMAGE_BYTES)
    try:
        kind, pixels = read_image_header(data).format, decode_compressed("png", data)
    except SourceError as error:
        raise SourceError(f"cannot read {path}: {error}") from error
    if kind != "png":
        raise SourceError(f"{path} is a {kind.upper()}, which changes colours: write masks as PNG")
    if pixels.ndim == 2 or has_16_bits(data):
        found = "16 bits for each colour" if has_16_bits(data) else "shades of grey"
        raise SourceError(f"{path} has {found}: a mask has three colours of 8 bits, R * 65536 + G * 256 + B")
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return np.asarray(classes[red << 16 | green << 8 | blue])


def mask_colours(mask: Mask) -> Image:
    """A mask (H, W) as colours (H, W, 3), RGB."""
    numbers = mask.astype(np.uint32)
    return np.stack([numbers >> shift & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def _read_pair(path: Path, number: int, line: str) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() for word in words):
        raise SourceError(f"{path}, line {number}: '{line[:40]}' is not 'COLOUR CLASS', two whole numbers")
    colour, one = (int(word[:20]) for word in words)
    if colour >= _NUM_COLOURS or one > MOST_INSTANCES:
        limits = f"colours end at {_NUM_COLOURS - 1}, classes at {MOST_INSTANCES}"
        raise SourceError(f"{path}, line {number}: '{line[:40]}' is too large: {limits}")
    return colour, one


def _find_masks(map_: Map, folder: Path) -> dict[str, Path]:
    """The masks of a map's images, by name of image."""
    found = {image.name: next(filter(is_file, _candidates(folder, image)), None) for image in map_.images}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(found):
        raise SourceError(
            f"no image of the map '{map_.name}' has a mask in {folder}, such as {missing[0]}: name each mask as its "
            "image, with .png at its end"
        )
    if missing:
        _log.warning("%d of %d map images have no mask in %s, such as %s", len(missing), len(found), folder, missing[0])
    return {name: path for name, path in found.items() if path is not None}


def _candidates(folder: Path, image: MapImage) -> Iterator[Path]:
    """Files that may be the mask of an image: in its own folder, or in one for all."""
    flat = Path(thumbnail_name(image.name)).stem
    own = Path(image.name)
    if not own.is_absolute() and ".." not in own.parts:
        yield folder / own.with_suffix(".png")
    yield folder / f"{flat}.png"
    yield folder / f"{flat}{MASK_SUFFIX}"


def _check_upright(path: Path, mask: Mask, image: MapImage) -> None:
    """Refuse the mask of an image that was turned, by its EXIF data or by hand."""
    (height, width), camera = mask.shape, image.camera
    if (width - height) * (camera.width - camera.height) < 0:
        raise SourceError(
            f"{path} has {width}x{height} pixels, its image {camera.width}x{camera.height}: turn the mask as the image"
        )


def _as_large_as_picture(mask: Mask, thumbnail: bytes | None) -> Mask:
    if thumbnail is None:
        return mask
    header = read_image_header(thumbnail)
    size = header.width, header.height
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))


def _majority(votes: NDArray[np.int64], num_points: int) -> NDArray[np.int32]:
    """The most frequent class (P,) of each point, an instance rather than none, then the first one.

    ``votes`` (N,) are the points by row times ``_MOST_CLASSES``, plus the class: far quicker to count than pairs.
    """
    codes, counts = np.unique(votes, return_counts=True)
    points, classes = np.divmod(codes, _MOST_CLASSES)
    order = np.lexsort((-classes, classes != NO_INSTANCE, counts, points))
    labels = np.full(num_points, NO_INSTANCE, np.int32)
    labels[points[order]] = classes[order]  # of each point the last one counts
    return labels
