"""What the programs share: the command line, other programs in their own processes, small statistics."""

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from visloc_ros.features.config import DEVICES
from visloc_ros.sources import SourceConfig


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the program's docstring unchanged."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_folders(parser: argparse.ArgumentParser, work: str, content: str = "maps") -> None:
    """Add the options ``--data`` and ``--work``, with the work folder's default and what is in it."""
    parser.add_argument("--data", type=Path, required=True, help="folder of the real sequences")
    parser.add_argument("--work", type=Path, default=Path(work), help=f"folder for {content}")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--json`` and ``--markdown``, which ``results_file.write_outputs`` takes."""
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``source_config`` reads, and ``--source`` and ``--ground-truth`` beside them."""
    parser.add_argument("--source", type=Path, required=True, help="video file, image folder, or ROS 2 bag")
    parser.add_argument("--ground-truth", type=Path, help="TUM file of true poses; otherwise the source's own")
    parser.add_argument("--first", type=int, default=0, help="index of the first image to read")
    parser.add_argument("--last", type=int, default=-1, help="index of the last image to read; -1 reads to the end")
    parser.add_argument("--image-topic", default="", help="image topic of the bag, where it has several")
    parser.add_argument("--camera", default="", help="calibration file (COLMAP, ROS, Kalibr and more)")


def source_config(arguments: argparse.Namespace) -> SourceConfig:
    """Which frames of a source are read. Raises ConfigError."""
    return SourceConfig(
        first=arguments.first, last=arguments.last, image_topic=arguments.image_topic, camera=arguments.camera
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--device``."""
    parser.add_argument("--device", choices=DEVICES, help="where networks run; otherwise a GPU where there is one")


def run_module(module: str, *options: object) -> None:
    """Run a Python module in a process of its own. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", module, *map(str, options)], check=True)


def run_visloc(*arguments: object) -> None:
    """Run the ``visloc`` command. Raises CalledProcessError."""
    run_module("visloc_ros.apps.cli", *arguments)


def visloc_figures(file: Path, *arguments: object) -> None:
    """Run the ``visloc`` command, and write what its ``--json`` prints to a file. Raises CalledProcessError."""
    with file.open("w", encoding="utf-8") as figures:
        command = [sys.executable, "-m", "visloc_ros.apps.cli", *map(str, arguments), "--json"]
        subprocess.run(command, check=True, stdout=figures)


def median(values: Iterable[float]) -> float:
    """Median of an iterable."""
    return float(np.median(list(values)))


def percentiles(values: Iterable[float], digits: int = 1) -> dict[str, float]:
    """Median and 95th percentile, rounded."""
    known = list(values)
    return {f"p{rank}": round(float(np.percentile(known, rank)), digits) for rank in (50, 95)}
