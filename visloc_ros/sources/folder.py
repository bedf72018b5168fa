"""Frames from a folder of images: a known dataset's layout, or simply images with an optional ``camera.yaml``.

Photos, and their cameras, are turned upright by their EXIF data; poses are of the upright image. Where the folder holds
true poses its images stay as they are written, because those poses are of such images.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pycolmap

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import check_image_size, is_same_camera, turn_upright
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.base import NOMINAL_RATE_HZ, EncodedFrame, SourceConfig
from visloc_ros.sources.datasets import read_dataset
from visloc_ros.sources.exif import read_exif, read_geo_position, read_maker
from visloc_ros.sources.exif_focal_length import guess_photo_calibration
from visloc_ros.sources.image_header import ImageHeader, has_16_bits
from visloc_ros.sources.kapture import is_kapture, read_kapture
from visloc_ros.sources.layouts import (
    IMAGE_SUFFIXES,
    Layout,
    StampedImage,
    describe_unread,
    first_readable,
    list_images,
    make_layout,
    refuse_rate,
    stamps_at_rate,
    stamps_from_names,
)
from visloc_ros.sources.measurements import ImuFile, Measurements
from visloc_ros.sources.photos import HEIC, decode_photo, read_photo_header
from visloc_ros.sources.rectification import checked
from visloc_ros.sources.ros_images import decode_compressed, encode_png

logger = logging.getLogger(__name__)

USUAL_NAMES = ("images", "rgb")
COPIED = ("jpeg", "png")  # what CompressedImage holds
_DEPTH_IMAGES = 8
_EXIF_MARK, _EXIF_REACH = b"Exif\0\0", 256


class FolderSource:
    """Images of a folder as frames; a broken image is skipped, counted and logged.

    Without calibration, photos may be of several cameras. Iteration raises SourceError when no image at all can be
    decoded, CalibrationError when one has another size than its camera.
    """

    def __init__(
        self,
        name: str,
        images: tuple[StampedImage, ...],
        calibration: CameraCalibration,
        ground_truth: Trajectory | None,
        imu: ImuFile | None = None,
        turns_upright: bool = False,
    ) -> None:
        self.name = name
        self.images = images
        self.calibration = calibration
        self.calibrated = all(image.camera is not None for image in images)
        self._calibrations = [calibration]
        self.ground_truth = ground_truth
        self.skipped = 0
        self._imu = imu
        self._turns_upright = turns_upright

    @property
    def camera(self) -> pycolmap.Camera:
        """Camera of the first image."""
        return self.calibration.camera

    @cached_property
    def camera_maker(self) -> str:
        """Maker of the first photo's camera by its EXIF data; empty where it is missing."""
        return read_maker(read_exif(self.images[0].path))

    @cached_property
    def _depth(self) -> BitDepth:
        """The bits that the images use, by some of them all over the folder: one alone may be dark."""
        depth = BitDepth()
        for image in self.images[:: max(1, len(self.images) // _DEPTH_IMAGES)]:
            try:
                data = read_bytes(image.path, SourceError, LARGEST_IMAGE_BYTES)
                if not has_16_bits(data):
                    break
                decode_compressed("png", data, depth=depth)
            except SourceError:  # iteration skips, counts and logs it
                continue
        return depth

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        return checked(self._read_frames())

    def _read_frames(self) -> Iterator[Frame]:
        for encoded, header in self._iter_files():
            try:
                image = decode_photo(header, encoded.data, self._depth)
            except SourceError as error:
                self._skip(encoded.name, error)
                continue
            camera, calibration = encoded.camera, encoded.calibration
            turns, is_mirrored = header.clockwise_turns, header.is_mirrored
            yield Frame(encoded.stamp_ns, image, camera, encoded.name, calibration, turns, is_mirrored)

    def read_stamps_ns(self) -> Sequence[int]:
        """Stamps of all images, none of which is read."""
        return [image.stamp_ns for image in self.images]

    def iter_encoded(self) -> Iterator[EncodedFrame]:
        """Walk over the same images as their files hold them, for exact copies; turned ones and others as PNG."""
        for encoded, header in self._iter_files():
            if header.is_upright and header.format in COPIED:
                yield encoded
                continue
            try:
                data = encode_png(decode_photo(header, encoded.data, self._depth))
            except SourceError as error:
                self._skip(encoded.name, error)
                continue
            yield replace(encoded, data=data, format="png")

    def _iter_files(self) -> Iterator[tuple[EncodedFrame, ImageHeader]]:
        """The files as they are, with the upright image's calibration, and headers with its orientation."""
        self.skipped = 0
        for image in self.images:
            try:
                data = read_bytes(image.path, SourceError, LARGEST_IMAGE_BYTES)
                header = read_photo_header(data)
            except SourceError as error:
                self._skip(image.name, error)
                continue
            if not self._turns_upright:
                header = header.as_stored
            calibration = self._calibration_of(image, data, header)
            _check_size(image.path, calibration.camera, header)
            encoded = EncodedFrame(image.stamp_ns, data, header.format, calibration.camera, image.name, calibration)
            yield encoded, header

    def with_names(self, names: Collection[str]) -> FolderSource:
        """The same folder with no other images than those of these names, to be read as they are in the whole."""
        _ = self._depth  # that of all images
        part = copy(self)
        part.images = tuple(image for image in self.images if image.name in names)
        return part

    def read_measurements(self) -> Measurements:
        """Read the positions in the images' EXIF data, and the IMU where there is one. Raises SourceError."""
        positions = ((image.stamp_ns, read_geo_position(image.path)) for image in self.images)
        accelerations, angular_rates = self._imu.read() if self._imu else (None, None)
        return Measurements(
            geo_positions={stamp_ns: position for stamp_ns, position in positions if position is not None},
            accelerations=accelerations,
            angular_rates=angular_rates,
        )

    def _calibration_of(self, image: StampedImage, data: bytes, header: ImageHeader) -> CameraCalibration:
        """The calibration of an image, given or by a photo's EXIF data; the same object for all of one camera."""
        if image.camera is not None:
            camera = _upright_camera(image.path, image.camera, header)
            was_given = self.calibration.source is CalibrationSource.GIVEN
            source = CalibrationSource.GIVEN if was_given else CalibrationSource.RECORDED
            return self._shared(CameraCalibration(camera, source))
        has_size = header.upright_size == (self.camera.width, self.camera.height)
        if has_size and header.format != HEIC and _EXIF_MARK not in data[:_EXIF_REACH]:
            return self.calibration
        return self._shared(guess_photo_calibration(image.path, header))

    def _shared(self, calibration: CameraCalibration) -> CameraCalibration:
        for known in self._calibrations:
            if is_same_camera(known.camera, calibration.camera):
                return known
        self._calibrations.append(calibration)
        return calibration

    def _skip(self, image_name: str, error: SourceError) -> None:
        self.skipped += 1
        if self.skipped == len(self):
            raise SourceError(f"none of the {len(self)} images of '{self.name}' can be decoded: {error}")
        logger.warning("skipping %s of '%s': %s", image_name, self.name, error)


def open_folder(root: Path, config: SourceConfig) -> FolderSource:
    """Open a folder of images. Raises SourceError, CalibrationError or ConfigError."""
    layout = read_kapture(root, config.rate_hz) or read_dataset(root, config.rate_hz)
    return _source_of(layout or _read_plain(root, config.rate_hz), root.resolve().name, config)


def open_photo(path: Path, config: SourceConfig) -> FolderSource:
    """Open a single photo; files beside it serve as in its folder. Raises as ``open_folder`` does."""
    stamps_ns = stamps_from_names([path.stem]) or [0]
    return _source_of(make_layout(path.parent, [path], stamps_ns, None), path.name, config)


def _source_of(layout: Layout, name: str, config: SourceConfig) -> FolderSource:
    selected = config.select(len(layout.images), lambda: [image.stamp_ns for image in layout.images])
    images = tuple(layout.images[index] for index in selected)
    common = config.read_calibration() or _recorded(layout.camera)
    if common is not None:
        images = tuple(replace(image, camera=common.camera) for image in images)
    turns_upright = layout.ground_truth is None
    first, header = first_readable([image.path for image in images])
    if not turns_upright:
        header = header.as_stored
    known = common or _recorded(next(image for image in images if image.path == first).camera)
    guess = guess_photo_calibration(first, header, layout.camera_by_name)
    calibration = guess if known is None else _upright(first, known, header)
    _check_size(first, calibration.camera, header)
    return FolderSource(name, images, calibration, layout.ground_truth, layout.imu, turns_upright)


def _recorded(camera: pycolmap.Camera | None) -> CameraCalibration | None:
    return None if camera is None else CameraCalibration(camera, CalibrationSource.RECORDED)


def _upright(image: Path, calibration: CameraCalibration, header: ImageHeader) -> CameraCalibration:
    return replace(calibration, camera=_upright_camera(image, calibration.camera, header))


def _upright_camera(image: Path, camera: pycolmap.Camera, header: ImageHeader) -> pycolmap.Camera:
    """The camera of an image turned upright, from one of its pixels as written, or of that size already."""
    try:
        return turn_upright(camera, header.width, header.height, header.clockwise_turns, header.is_mirrored)
    except CalibrationError as error:
        raise CalibrationError(f"{image}: {error}") from error


def _read_plain(root: Path, rate_hz: float) -> Layout:
    folder = _image_folder(root)
    files, unread = list_images(folder), describe_unread(folder)
    if unread:
        logger.warning("%s also holds images that are left out: %s", folder, unread)
    stamps_ns = stamps_from_names([path.stem for path in files])
    if stamps_ns is None:
        stamps_ns = stamps_at_rate(range(len(files)), rate_hz or NOMINAL_RATE_HZ)
    else:
        refuse_rate(root, rate_hz)
    return make_layout(root, files, stamps_ns, None)


def _image_folder(root: Path) -> Path:
    """The folder itself where it holds images, else its only subfolder that does, or the one usually named so."""
    if list_images(root):
        return root
    candidates = sorted(path for path in root.iterdir() if path.is_dir() and list_images(path))
    usual = [path for path in candidates if path.name in USUAL_NAMES]  # beside depth or mask images
    if len(candidates) == 1 or usual:
        return (usual or candidates)[0]
    if candidates:
        names = ", ".join(path.name for path in candidates)
        raise SourceError(f"{root} holds several folders of images ({names}): give one of them")
    if not any(root.iterdir()):
        raise SourceError(f"the folder {root} is empty")
    data_sets = ", ".join(sorted(path.name for path in root.iterdir() if is_kapture(path)))
    if data_sets:
        raise SourceError(f"{root} holds several kapture data sets ({data_sets}): give one of them")
    if any(path.suffix == ".bag" for path in root.iterdir()):
        raise SourceError(f"{root} holds ROS 1 bags: convert them, as by 'rosbags-convert --src a.bag --dst a'")
    unread = describe_unread(root)
    others = f", but {unread}" if unread else " and no ROS 2 bag"
    raise SourceError(f"the folder {root} holds no images ({', '.join(IMAGE_SUFFIXES)}){others}")


def _check_size(path: Path, camera: pycolmap.Camera, header: ImageHeader) -> None:
    try:
        check_image_size(camera, *header.upright_size)
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error
