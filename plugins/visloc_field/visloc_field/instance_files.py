"""What LBR (Xue et al., CVPR 2022) adds to a data set: instance masks of its images, and their copies in other styles.

Masks are in ``global_seg_instance``, or ``gloabl_seg_instance``, as it is called for RobotCar, by the names of the
images as PNG; styles in folders of ``stylized``, beside a copy of the images themselves. A folder's name is that of the
copy and a tag, such as ``images_aug1``. Both are of images of the database: those of queries teach nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from visloc_field.scene import DatabaseImage
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.sources.layouts import IMAGE_SUFFIXES

_MASK_FOLDERS = ("global_seg_instance", "gloabl_seg_instance")
_STYLE_FOLDER = "stylized"

logger = logging.getLogger(__name__)


def find_masks(root: Path, images: Sequence[DatabaseImage]) -> Path | None:
    """The folder of masks of images of the database, None where the data set has none. Raises SourceError."""
    folders = [root / name for name in _MASK_FOLDERS if is_folder(root / name)]
    if not folders or not images:
        return None
    if len(folders) > 1:
        raise SourceError(f"there are masks in {folders[0]} and in {folders[1]}: remove one of the folders")
    paths = [folders[0] / PurePosixPath(image.name).with_suffix(".png") for image in images]
    missing = sum(not is_file(path) for path in paths)
    if missing == len(paths):
        raise SourceError(
            f"{folders[0]} holds no mask of the database, such as {paths[0]}: unpack the masks again, or remove the "
            "folder"
        )
    if missing:
        logger.warning("%d of %d images of the database have no mask in %s", missing, len(paths), folders[0])
    return folders[0]


def with_styles(root: Path, images: Sequence[DatabaseImage], unstyled: str) -> tuple[DatabaseImage, ...]:
    """Images of the database with their copies in other styles, where the data set has them.

    ``unstyled`` is the folder of ``stylized`` that is a copy of the images. Raises SourceError.
    """
    styles = _styles(root / _STYLE_FOLDER, images, unstyled)
    return tuple(
        replace(image, styles={tag: paths[image.name] for tag, paths in styles.items() if image.name in paths})
        for image in images
    )


def _styles(folder: Path, images: Sequence[DatabaseImage], unstyled: str) -> dict[str, dict[str, Path]]:
    """Files by image name, by the tag of the style."""
    if not is_folder(folder) or not images:
        return {}
    styles: dict[str, dict[str, Path]] = {}
    for style in sorted(path for path in folder.iterdir() if is_folder(path) and path.name != unstyled):
        tag = style.name.removeprefix(unstyled).strip("_")
        if tag in styles:
            raise SourceError(f"{style} is a second folder of the style '{tag}': remove one of the two")
        files = {path.relative_to(style).with_suffix("").as_posix(): path for path in _pictures(style)}
        keys = {image.name: _key(image.name, unstyled) for image in images}
        styles[tag] = {name: files[key] for name, key in keys.items() if key in files}
        if not styles[tag]:
            raise SourceError(
                f"{style} holds no image of the database, such as {style / _key(images[0].name, unstyled)}"
                f"{PurePosixPath(images[0].name).suffix}: unpack the styled images again, or remove the folder"
            )
    return styles


def _pictures(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES and is_file(path)]


def _key(name: str, unstyled: str) -> str:
    """Where an image is in a style's folder, without its suffix, since styled images may have another."""
    return PurePosixPath(name.removeprefix(f"{unstyled}/")).with_suffix("").as_posix()
