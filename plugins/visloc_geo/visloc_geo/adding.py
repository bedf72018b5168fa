"""Photos become views of a database: where they were taken, upright, with their camera.

A photo is known by its picture: the same one is added once, and adding a folder again adds what is new in it. One that
comes again with another position, by its list or its EXIF data, gets that position.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pycolmap

from visloc_geo.database import GeoDatabase
from visloc_geo.orientation import heading_difference_deg
from visloc_geo.panoramas import CutConfig, cut_views, view_name
from visloc_geo.photo_list import ListedPhoto
from visloc_geo.photo_tags import PhotoTags, read_photo_tags
from visloc_geo.view import Orientation, View
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import check_image_size, turn_upright
from visloc_ros.core.errors import CalibrationError, GeoError, SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, is_folder, read_bytes
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.sources.image_header import ImageHeader, read_image_header
from visloc_ros.sources.layouts import list_images
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.panorama import PanoramaTags, read_panorama_tags, refuse_panorama
from visloc_ros.sources.photos import decode_photo, is_heif, read_photo_header
from visloc_ros.sources.ros_images import encode_jpeg

PHOTO = "photo"
"""The ``source`` of views that were added here."""

_DIGEST, _PICTURE, _FOCAL_SIGMA, _INTRINSICS = "sha256", "picture_sha256", "focal_sigma", "intrinsics"
_NOT_IN_NAMES = re.compile(r"[^\w.+@=-]+")
_JPEG = "jpeg"
_ROUNDED_DEG = 1e-6


@dataclass(frozen=True, eq=False)
class AddOptions:
    """What is known of photos beside their EXIF data, which it goes before.

    ``camera`` is that of all of them, as stored or shown upright. All images are panoramas where ``are_panoramas``;
    otherwise those are whose XMP data say so.
    """

    listed: Mapping[str, ListedPhoto] = field(default_factory=dict)
    camera: pycolmap.Camera | None = None
    are_panoramas: bool = False
    cut: CutConfig = field(default_factory=CutConfig)


@dataclass(eq=False)
class AddReport:
    """Names of views that were added or have another tag, the number of known photos, and why others were left out."""

    added: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    num_known: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def add_photos(
    database: GeoDatabase,
    paths: Sequence[Path],
    options: AddOptions | None = None,
    progress: Progress | None = None,
) -> AddReport:
    """Add photos, and those in folders, also in folders below; what cannot be added is reported, the rest is added.

    Raises GeoError where the database and the photos are in the same folder, OutputError.
    """
    options = options or AddOptions()
    photos = list(_photos(database, paths))
    known, report = _KnownViews(database), AddReport()
    for path, name in track(progress or SilentProgress(), "photos", photos, len(photos)):
        try:
            added, corrected = _add(database, path, _listed(options, name, path), options, known)
        except (SourceError, GeoError, CalibrationError) as error:
            report.left_out[str(path)] = str(error)
            continue
        report.added += added
        report.corrected += corrected
        report.num_known += not added + corrected
    names = {word for path, name in photos for word in (name, path.name, path.stem)}
    report.left_out |= dict.fromkeys(options.listed.keys() - names, "it is in the list, but there is no such photo")
    return report


class _KnownViews:
    """Names of the database's views, and what photos they are of."""

    def __init__(self, database: GeoDatabase) -> None:
        self._names: set[str] = set()
        self._of_photo: dict[str, set[str]] = defaultdict(set)
        for view in database:
            self.add(view)

    def add(self, view: View) -> None:
        """Count a view in."""
        self._names.add(view.name)
        for key in (_DIGEST, _PICTURE):
            if key in view.others:
                self._of_photo[str(view.others[key])].add(view.name)

    def views_of(self, digest: str) -> set[str]:
        """Names of the views of a photo by the digest of its file or its picture."""
        return self._of_photo[digest]

    def name_for(self, path: Path, digest: str, angles: Sequence[float] = ()) -> str:
        """A name for a photo, or a panorama that is cut at these angles, which no other one has."""
        name = _NOT_IN_NAMES.sub("_", path.stem).strip(".") or PHOTO
        wanted = {name, *(view_name(name, angle) for angle in angles)}
        return f"{name}-{digest[:8]}" if wanted & (self._names - self.views_of(digest)) else name


def _add(
    database: GeoDatabase, path: Path, listed: ListedPhoto | None, options: AddOptions, known: _KnownViews
) -> tuple[list[str], list[str]]:
    """Names of the views that were added, and of those that were there and have another tag now.

    Raises SourceError, GeoError or CalibrationError for a photo that cannot be added.
    """
    data = read_bytes(path, SourceError, LARGEST_IMAGE_BYTES)
    digest = hashlib.sha256(data).hexdigest()
    panorama = None if is_heif(data) else read_panorama_tags(data)
    is_panorama = options.are_panoramas or panorama is not None
    if not is_panorama and (names := known.views_of(digest)):
        return [], [] if listed is None else _correct(database, names, listed.position, listed.orientation)
    header = read_image_header(data) if is_panorama and not is_heif(data) else read_photo_header(data)
    tags = read_photo_tags(path, header)
    name = known.name_for(path, digest, options.cut.headings_deg if is_panorama else ())
    view = _tagged_view(name, tags, listed, digest)
    if is_panorama:
        centred = _centred(view, panorama or PanoramaTags(), listed)
        views = _views_of_panorama(centred, header, data, options.cut)
    else:
        one, image = _view_of_photo(view, _calibration(options.camera, header, tags), header, data)
        if names := known.views_of(one.others[_PICTURE]):
            return [], _correct(database, names, one.position, one.orientation)
        views = iter([(one, image)])
    added = []
    for one, image in views:
        if one.name not in known.views_of(digest):
            database.add(one, image)
            known.add(one)
            added.append(one.name)
    return added, []


def _correct(
    database: GeoDatabase, names: Iterable[str], position: GeoPosition | None, orientation: Orientation | None
) -> list[str]:
    """Give views another tag, unless they have it already; without an orientation they keep that of their photo."""
    corrected = []
    for name in sorted(names):
        view = database.view(name)
        new = view.retagged(position, orientation or (None if view.is_registered else view.orientation))
        if view.tagged_position != position or (orientation is not None and not _has(view, orientation)):
            database.update(new)
            corrected.append(name)
    return corrected


def _has(view: View, orientation: Orientation) -> bool:
    """Whether a view looks there already, as far as rounding shows; a registered one has a better orientation."""
    old = view.orientation
    if view.is_registered or old is None:
        return view.is_registered
    turns = heading_difference_deg(old.heading_deg, orientation.heading_deg), old.pitch_deg - orientation.pitch_deg
    return max(map(abs, (*turns, old.roll_deg - orientation.roll_deg))) < _ROUNDED_DEG


def _tagged_view(name: str, tags: PhotoTags, listed: ListedPhoto | None, digest: str) -> View:
    """The view by its list or its EXIF data, without its camera. Raises GeoError without a position."""
    position = listed.position if listed else tags.position
    if position is None:
        raise GeoError("its EXIF data hold no position: list it (name lat lng alt heading) for the option --list")
    orientation = listed.orientation if listed else None
    if orientation is None and tags.direction is not None:
        orientation = Orientation(tags.direction.heading_deg, sigma_deg=tags.direction.sigma_deg)
    captured_at = None if tags.captured_at is None else tags.captured_at.isoformat()
    return View(name, position, orientation, source=PHOTO, captured_at=captured_at, others={_DIGEST: digest})


def _view_of_photo(view: View, calibration: CameraCalibration, header: ImageHeader, data: bytes) -> tuple[View, bytes]:
    """The view with its camera, and the bytes of its image: a JPEG stored upright as it is, others as one that is."""
    image = decode_photo(header, data)
    try:
        refuse_panorama(image)
    except SourceError:
        raise GeoError("it looks like an equirectangular panorama: add it with --panoramas") from None
    picture = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    others: dict[str, Any] = {_FOCAL_SIGMA: calibration.focal_sigma, _INTRINSICS: calibration.source.value}
    is_stored_so = header.is_upright and header.format == _JPEG
    with_camera = replace(view, camera=calibration.camera, others={**view.others, **others, _PICTURE: picture})
    return with_camera, data if is_stored_so else encode_jpeg(image)


def _views_of_panorama(view: View, header: ImageHeader, data: bytes, cut: CutConfig) -> Iterator[tuple[View, bytes]]:
    others = {**view.others, _FOCAL_SIGMA: 0.0, _INTRINSICS: CalibrationSource.GIVEN.value}
    for one, image in cut_views(replace(view, others=others), decode_photo(header, data), cut):
        yield one, encode_jpeg(image)


def _centred(view: View, tags: PanoramaTags, listed: ListedPhoto | None) -> View:
    """A panorama with the orientation of its centre: by the list, its XMP data, or the compass. Raises GeoError."""
    if not tags.is_whole:
        raise GeoError("it is a part of a panorama: only whole ones, twice as wide as high, can be cut into views")
    if (listed and listed.orientation) or tags.heading_deg is None:
        return view
    return replace(view, orientation=Orientation(tags.heading_deg, tags.pitch_deg, tags.roll_deg))


def _calibration(given: pycolmap.Camera | None, header: ImageHeader, tags: PhotoTags) -> CameraCalibration:
    """Raises CalibrationError where a given camera is for images of another size."""
    if given is None:
        return tags.calibration
    camera = turn_upright(given, header.width, header.height, header.clockwise_turns, header.is_mirrored)
    check_image_size(camera, *header.upright_size)
    return CameraCalibration(camera, CalibrationSource.GIVEN)


def _listed(options: AddOptions, name: str, path: Path) -> ListedPhoto | None:
    """By the name below the folder that was given, that of the file, or that without its suffix."""
    return next((options.listed[word] for word in (name, path.name, path.stem) if word in options.listed), None)


def _photos(database: GeoDatabase, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files, with their names below the folder that was given. Raises GeoError, SourceError."""
    own = database.folder.resolve()
    for path in paths:
        if not is_folder(path):
            yield path, path.name
            continue
        if path.resolve().is_relative_to(own):
            raise GeoError(f"{path} is in the database {database.folder}: choose a folder of its own for the database")
        for folder in (path, *sorted(one for one in path.rglob("*") if one.is_dir())):
            if not folder.resolve().is_relative_to(own):
                yield from ((file, file.relative_to(path).as_posix()) for file in list_images(folder))
