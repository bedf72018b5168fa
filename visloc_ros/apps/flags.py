"""The map and the source of a command by options, too, as other tools have them; the help does not show these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from visloc_ros.apps.aliases import REFERENCE_MAPS, VIDEO
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import exists
from visloc_ros.core.map_folder import ARCHIVE_SUFFIX

MAP_FOLDERS = (Path("maps"), Path(REFERENCE_MAPS))
REFERENCE = ("--reference", "--reference-path")
FLAGS = {"map_path": REFERENCE, "source": VIDEO, "sources": VIDEO}
GivenT = TypeVar("GivenT")


def takes_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Let ``map_path``, ``source`` and ``sources`` be given by position or by option, and maps by name, too."""
    own = signature(command, eval_str=True)
    names = [name for name in own.parameters if name in FLAGS]

    @wraps(command)
    def call(**given: Any) -> None:
        by_option = {name: given.pop(f"{name}_by_option") for name in names}
        if "sources" in names:
            given["sources"] = [*(given["sources"] or []), *(by_option["sources"] or [])]
        else:
            given |= sort_out([given[name] for name in names], by_option)
        if "map_path" in names:
            given["map_path"] = find_map(given["map_path"])
        command(**given)

    options = [_option(name, is_list=name == "sources") for name in names]
    return with_parameters(call, own, [*own.parameters.values(), *options])


def with_parameters(
    command: Callable[..., None], own: Signature, parameters: Sequence[Parameter]
) -> Callable[..., None]:
    """A command that shows these parameters to typer instead of its ``own``."""
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by inspect
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _option(name: str, is_list: bool) -> Parameter:
    kind: Any = list[Path] | None if is_list else Path | None
    annotation = Annotated[kind, typer.Option(*FLAGS[name], hidden=True)]
    return Parameter(f"{name}_by_option", Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def sort_out(by_position: Sequence[Path | None], by_option: Mapping[str, Path | None]) -> dict[str, Path | None]:
    """Assign positional words, in order, to parameters without an option. Raises ConfigError where a word is left."""
    words = [word for word in by_position if word is not None]
    sorted_out = {name: word if word is not None or not words else words.pop(0) for name, word in by_option.items()}
    if words:
        raise ConfigError(f"'{words[0]}' is one too many: a map or a source is given by position and by option")
    return sorted_out


def needed(what: str, given: GivenT | None) -> GivenT:
    """A value that must be given either way. Raises ConfigError."""
    if not given:
        raise ConfigError(f"name {what}: --help says how")
    return given


def find_map(given: Path | None) -> Path | None:
    """A map by its path, or by its name in a folder of maps; a path that does not exist is left as it is."""
    if given is None or exists(given) or len(given.parts) != 1:
        return given
    candidates = (folder / name for folder in MAP_FOLDERS for name in (given.name, f"{given.name}{ARCHIVE_SUFFIX}"))
    return next((path for path in candidates if exists(path)), given)
