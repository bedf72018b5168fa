"""A database of geotagged views: a folder with one folder for each view.

A view's folder holds ``metadata.json``, ``image.jpg``, and what was computed from the image: ``keypoints.npz`` and
``<model>_descriptor.npy``. ``database.json`` holds the origin of the local frame and the settings that all views
share. Views can be added at any time; nothing is trained.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visloc_geo.metadata import METADATA_NAME, metadata_text, read_view, write_view
from visloc_geo.view import REGISTRATION, View
from visloc_ros.core.atomic_write import atomic_folder, atomic_write
from visloc_ros.core.errors import GeoError, OutputError
from visloc_ros.core.files import check_name, exists, is_file, is_folder, read_text
from visloc_ros.core.wgs84 import EnuFrame

DATABASE_NAME, IMAGE_NAME, KEYPOINTS_NAME = "database.json", "image.jpg", "keypoints.npz"
_DESCRIPTOR = "_descriptor.npy"
_MAX_BYTES = 1 << 20


class GeoDatabase:
    """The views below a folder, by their names, in alphabetical order.

    Opening reads the names alone; views are read when they are asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder. Raises GeoError where it is missing."""
        if not is_folder(folder):
            raise GeoError(f"there is no database {folder}: make it with 'visloc geo add {folder} PHOTOS'")
        self.folder = folder

    @staticmethod
    def create(folder: Path, origin: EnuFrame | None = None) -> GeoDatabase:
        """Open the folder, made if it is missing; a given origin is stored unless there is one. Raises OutputError."""
        folder.mkdir(parents=True, exist_ok=True)
        database = GeoDatabase(folder)
        if origin is not None and "origin" not in database.settings():
            database.write_settings(origin=[origin.latitude, origin.longitude, origin.altitude])
        return database

    @property
    def names(self) -> list[str]:
        """Names of all views."""
        return sorted(one.name for one in self.folder.iterdir() if is_file(one / METADATA_NAME))

    def __iter__(self) -> Iterator[View]:
        return (self.view(name) for name in self.names)

    def view(self, name: str) -> View:
        """The view of a name; one of an earlier registration, of which a later one was killed, as it was tagged.

        Raises GeoError.
        """
        view = read_view(self.entry(name))
        if view.is_registered and view.others.get(REGISTRATION) != self.settings().get(REGISTRATION):
            return view.retagged(view.tagged_position, None)
        return view

    def entry(self, name: str) -> Path:
        """The folder of a view. Raises GeoError where the name is none of a file."""
        path = self.folder / name
        if path.parent != self.folder or name in ("", ".", ".."):
            raise GeoError(f"'{name}' cannot be the name of a view: it leads out of the database")
        check_name(path, GeoError)
        return path

    def image_path(self, name: str) -> Path:
        """The image of a view, which may not be there yet."""
        return self.entry(name) / IMAGE_NAME

    def keypoints_path(self, name: str) -> Path:
        """The local features of a view."""
        return self.entry(name) / KEYPOINTS_NAME

    def descriptor_path(self, name: str, model: str) -> Path:
        """The global descriptor of a view by a model."""
        return self.entry(name) / f"{model}{_DESCRIPTOR}"

    def add(self, view: View, image: bytes | None = None) -> None:
        """Add a view, with the bytes of its image if there is one; a view of this name is replaced as a whole.

        Raises OutputError.
        """
        with atomic_folder(self.entry(view.name)) as folder:
            (folder / METADATA_NAME).write_text(metadata_text(view, self.origin_for(view)), encoding="utf-8")
            if image is not None:
                (folder / IMAGE_NAME).write_bytes(image)

    def update(self, view: View) -> None:
        """Write the metadata of a view that is there; its image and features stay. Raises OutputError."""
        write_view(self.entry(view.name), view, self.origin_for(view))

    def remove(self, name: str) -> None:
        """Remove a view with its image and features. Raises GeoError where there is none of this name, OutputError."""
        folder = self.entry(name)
        if not is_file(folder / METADATA_NAME):
            raise GeoError(f"there is no view '{name}' in {self.folder}")
        try:
            (folder / METADATA_NAME).unlink()  # first: without it the folder is no view
            shutil.rmtree(folder)
        except OSError as error:
            raise OutputError(f"cannot remove {folder}: {error.strerror or error}") from error

    @cached_property
    def origin(self) -> EnuFrame:
        """The local frame: as stored, otherwise at the mean position of all views. Raises GeoError without any."""
        stored = self.settings().get("origin")
        return EnuFrame(*(float(value) for value in stored)) if stored else _mean_position(self)

    def origin_for(self, view: View) -> EnuFrame:
        """The stored origin, which is set to the position of the first view that has one."""
        if "origin" not in self.settings():
            if view.position is None:
                return EnuFrame(0.0, 0.0)  # of a view without a position nothing is written by it
            at = view.position
            self.write_settings(origin=[at.latitude, at.longitude, at.altitude or 0.0])
            self.__dict__.pop("origin", None)
        return self.origin

    def settings(self) -> dict[str, Any]:
        """What ``database.json`` holds, empty without it. Raises GeoError."""
        path = self.folder / DATABASE_NAME
        if not exists(path):
            return {}
        try:
            values = json.loads(read_text(path, GeoError, _MAX_BYTES))
        except (ValueError, RecursionError) as error:
            raise GeoError(f"cannot use {path}: {error}") from error
        if not isinstance(values, dict):
            raise GeoError(f"cannot use {path}: it is no object of keys and values")
        return values

    def write_settings(self, **values: Any) -> None:
        """Change values of ``database.json``. Raises OutputError."""
        text = json.dumps({**self.settings(), **values}, indent=1, allow_nan=False)
        with atomic_write(self.folder / DATABASE_NAME) as path:
            path.write_text(text + "\n", encoding="utf-8")


def _mean_position(views: Iterable[View]) -> EnuFrame:
    positions = [view.position for view in views if view.position is not None]
    if not positions:
        raise GeoError("no view of the database has a position: add photos with GPS tags by 'visloc geo add'")
    altitudes = [one.altitude for one in positions if one.altitude is not None]
    lat, lng = np.mean([(one.latitude, one.longitude) for one in positions], axis=0)
    return EnuFrame(float(lat), float(lng), float(np.mean(altitudes)) if altitudes else 0.0)
