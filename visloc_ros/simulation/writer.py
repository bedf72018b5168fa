"""Recordings as image folders: ``rgb/<stamp_ns>.jpg``, ``groundtruth_tum.txt``, ``camera.yaml``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import pycolmap
import yaml

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.errors import OutputError
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.types import Frame
from visloc_ros.simulation.sequence import Simulation

_log = logging.getLogger(__name__)
_JPEG_QUALITY = 95


def write_folder(
    simulation: Simulation, path: Path, overwrite: bool = False, on_frame: Callable[[int], None] | None = None
) -> None:
    """Write a recording and its truth; ``on_frame`` receives the number of images written.

    The folder appears only when it is whole. Raises OutputError when it exists (unless ``overwrite``: then the
    old one stays until the new one is whole) or cannot be written.
    """
    restore(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: choose another folder, or allow to overwrite it")
    with atomic_folder(path) as folder:
        (folder / "rgb").mkdir()
        for count, frame in enumerate(simulation, 1):
            _write_image(folder / "rgb" / frame.name, frame)
            if on_frame is not None:
                on_frame(count)
        write_tum(folder / "groundtruth_tum.txt", simulation.ground_truth.stamps_ns, simulation.ground_truth.poses)
        _write_camera(folder / "camera.yaml", simulation.camera)
    _log.info("wrote %d images to %s", len(simulation), path)


def _write_image(path: Path, frame: Frame) -> None:
    encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not encoded:
        raise OutputError(f"cannot encode the image {path.name}")
    path.write_bytes(data.tobytes())


def _write_camera(path: Path, camera: pycolmap.Camera) -> None:
    """COLMAP's model name, image size and parameters; the centre of the top-left pixel is (0.5, 0.5)."""
    values = {
        "model": camera.model.name,
        "width": camera.width,
        "height": camera.height,
        "params": [float(value) for value in camera.params],
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
