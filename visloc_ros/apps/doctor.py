"""Checks without ROS: of this computer, and of a map."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from visloc_ros.apps.processes import check_ros
from visloc_ros.core.errors import SetupError, VislocError
from visloc_ros.core.finding import Finding, Level
from visloc_ros.core.map import Map
from visloc_ros.localization.searchable_map import open_searchable_map

LEAST_MEMORY_GB = 2.0  # the nodes with the map of a building take 1.3 GB
LEAST_DISK_GB = 1.0  # half of what a map of 10,000 images takes
BUSY_LOAD = 0.7  # of the cores: with less left a search takes seconds
FEW_IMAGES = 10
LARGE_ERROR_PX = 2.0  # mean reprojection error: maps of calibrated cameras have 0.5 to 1.3


def examine_computer() -> Iterator[Finding]:
    """Findings on processors, memory, disk, and the ROS installation."""
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    memory_gb, disk_gb = psutil.virtual_memory().available / 1e9, shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(
        Level.OK, "computer", f"{cores} cores, {memory_gb:.1f} GB of memory and {disk_gb:.0f} GB of disk free"
    )
    if load > BUSY_LOAD * cores:
        text = f"programs keep {load:.1f} of {cores} cores busy: a search takes seconds, and the first pose comes later"
        yield Finding(Level.WARNING, "computer", text)
    if memory_gb < LEAST_MEMORY_GB:
        text = f"the nodes take up to {LEAST_MEMORY_GB:g} GB of memory: close other programs"
        yield Finding(Level.WARNING, "computer", text)
    if disk_gb < LEAST_DISK_GB:
        yield Finding(Level.WARNING, "computer", "a map may not fit on this disk: free some space")
    try:
        check_ros()
    except SetupError as error:
        yield Finding(Level.ERROR, "ROS", str(error))
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    words = f"{os.environ.get('ROS_DISTRO', 'wheels, no installation')}, {middleware}"
    yield Finding(Level.OK, "ROS", f"{words}, domain {os.environ.get('ROS_DOMAIN_ID', '0')}")


def examine_map(path: Path) -> Iterator[Finding]:
    """Open a map, every file checked."""
    try:
        map_ = open_searchable_map(path)
    except VislocError as error:
        yield Finding(Level.ERROR, "map", str(error))
        return
    images, points = len(map_.images), len(map_.points)
    yield Finding(Level.OK, "map", f"'{map_.name}': {images} images, {points} points, {map_.manifest.created_from}")
    yield from _warnings(map_)


def _warnings(map_: Map) -> Iterator[Finding]:
    manifest = map_.manifest
    if not manifest.metric:
        text = "it is not metric: build it with --reference-poses or a known distance, else poses are in its own unit"
        yield Finding(Level.WARNING, "map", text)
    if not manifest.gravity_aligned:
        yield Finding(Level.WARNING, "map", "it does not know which way is up: its floor may be tilted in RViz")
    if manifest.counts.get("images", len(map_.images)) < FEW_IMAGES:
        yield Finding(Level.WARNING, "map", "these are few images: record the place from more sides")
    if manifest.reprojection_error_px > LARGE_ERROR_PX:
        text = (
            f"its points are {manifest.reprojection_error_px:.1f} px off on average: calibrate the camera, and rebuild"
        )
        yield Finding(Level.WARNING, "map", text)
