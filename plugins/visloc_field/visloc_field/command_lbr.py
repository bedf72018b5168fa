"""The programs of LBR by their names: a data set mapped, recognised and searched by instances.

All share one folder of output: each does what is missing of the steps before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from visloc_field.command_benchmark import run_benchmark
from visloc_field.data_sets import find_data_set
from visloc_field.protocol import BenchmarkConfig, build_maps, prepare_scenes
from visloc_field.scene import BenchmarkScene
from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.options import ConfigFile
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.config import read_config
from visloc_ros.core.manifest import read_manifest
from visloc_ros.localization.searchable_map import find_strategy

_SEARCH = "instances"
_SCENES = {"aachen": "aachen", "robotcar": "rear"}
"""The scene of each data set: of RobotCar, LBR takes the rear camera alone."""

Program = Callable[[str, Path, Path, BenchmarkConfig], None]


def _program(run: Program, name: str) -> Callable[..., None]:
    """One of LBR's programs for the data set of this name."""

    def program(
        data: Annotated[Path, typer.Argument(help="Folder of the data set, unpacked.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for maps and results.")] = Path(
            f"out/lbr_{name}"
        ),
        config: ConfigFile = None,
    ) -> None:
        check_outputs(folder=output, is_continued=True)
        run(name, data, output, read_config(BenchmarkConfig, config))

    program.__doc__ = run.__doc__
    return program


def _reconstruct(name: str, data: Path, output: Path, options: BenchmarkConfig) -> None:
    """Map a data set at its given poses, as the first step of visloc benchmark NAME DATA does."""
    for path in _mapped(_read(name, data), output, options):
        console.print(f"{path}: {read_manifest(path).counts['images']} images", highlight=False, soft_wrap=True)


def _train(name: str, data: Path, output: Path, options: BenchmarkConfig) -> None:
    """Map a data set and train the recogniser of its instances, as visloc prepare MAP --for instances does."""
    for path in _prepared(_read(name, data), output, options):
        console.print(f"{path}: prepared for '{_SEARCH}'", highlight=False, soft_wrap=True)


def _recognise(name: str, data: Path, output: Path, options: BenchmarkConfig) -> None:
    """Recognise the instances in a data set's queries, as visloc instances MAP IMAGE... does."""
    from visloc_ros.apps.cli import app  # which imports this module's commands

    scenes = _read(name, data)
    for scene, path in zip(scenes, _prepared(scenes, output, options), strict=True):
        images = [str(query.path) for query in scene.queries]
        code = app(["instances", str(path), *images, "--output", str(output / "instances")], standalone_mode=False)
        if code:
            raise typer.Exit(code)


def _localize(name: str, data: Path, output: Path, options: BenchmarkConfig) -> None:
    """Search a data set by instances, as visloc benchmark NAME DATA --search instances does."""
    find_strategy(_SEARCH)
    run_benchmark(name, data, output, [_SEARCH], options, [_SCENES[name]])


def _read(name: str, data: Path) -> list[BenchmarkScene]:
    return find_data_set(name).read(data, [_SCENES[name]])


def _mapped(scenes: Sequence[BenchmarkScene], output: Path, options: BenchmarkConfig) -> list[Path]:
    with StageBars() as bars:
        return build_maps(scenes, output, options, bars)


def _prepared(scenes: Sequence[BenchmarkScene], output: Path, options: BenchmarkConfig) -> list[Path]:
    find_strategy(_SEARCH)
    maps = _mapped(scenes, output, options)
    with StageBars() as bars:
        prepare_scenes(scenes, maps, _SEARCH, options, bars)
    return maps


reconstruct_aachen, reconstruct_robotcar = (_program(_reconstruct, name) for name in _SCENES)
train_aachen, train_robotcar = (_program(_train, name) for name in _SCENES)
recognise_aachen, recognise_robotcar = (_program(_recognise, name) for name in _SCENES)
localize_aachen, localize_robotcar = (_program(_localize, name) for name in _SCENES)
