"""A key of code: another one after any change of the source that a function can reach, or of a package under it.

It holds what determines results and is found without running anything: the text of the function's module and of all
modules of this package and its plug-ins that can be imported from there, and the versions of all other packages that
these import (NumPy, OpenCV, pycolmap, torch and so on; of one installed from a repository, its commit). So nobody has
to remember which change alters results; a comment counts as a change, which costs no more than the work again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, distribution, entry_points, packages_distributions
from pathlib import Path
from typing import Any

_OWN = "visloc_"  # begins the names of this package and of its plug-ins
_DOTTED = re.compile(rf"{_OWN}\w+(\.\w+)+")


@dataclass(frozen=True)
class Code:
    """All code that a function can reach, for its key, and for a worker to see whether it has the same; it pickles.

    ``own`` identifies the function and its file, ``files`` other files by name and checksum, ``packages`` those that
    are installed, by name and version, ``missing`` are names of those that are not.
    """

    own: str
    files: tuple[tuple[str, str], ...]
    packages: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """A hash of it."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()

    def is_that_of(self, function: Callable[..., Any]) -> bool:
        """Whether a function has this code in this process."""
        return (
            _own_key(function) == self.own
            and all(_checksum(name) == checksum for name, checksum in self.files)
            and all(_version(name) == version for name, version in self.packages)
            and not any(map(importlib.util.find_spec, self.missing))
        )


@cache
def code_of(function: Callable[..., Any]) -> Code:
    """The code of a function of a module, as it was when this process asked first."""
    files, names = _reached(Path(inspect.getfile(function)), function.__module__.partition(".")[0])
    providers = {name: _distributions().get(name, []) for name in names}
    packages = sorted({one for providing in providers.values() for one in providing})
    return Code(
        _own_key(function),
        tuple((name, _checksum(name)) for name in sorted(files)),
        tuple((name, _version(name)) for name in packages),
        tuple(sorted(name for name in names if importlib.util.find_spec(name) is None)),
    )


def code_key(function: Callable[..., Any]) -> str:
    """A hash of all code that a function of a module can reach."""
    return code_of(function).key


def _own_key(function: Callable[..., Any]) -> str:
    return f"{function.__qualname__} {hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()}"


def _checksum(name: str) -> str:
    """That of an own file, empty where there is none."""
    path = _file_of(name)
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class _Module:
    """What a module imports, as pairs (module, name or ""), and the strings in it that name modules or entry points.

    ``late`` are the homes of names that a package imports when they are asked for: those that it imports for types.
    """

    imports: frozenset[tuple[str, str]]
    strings: frozenset[str]
    late: Mapping[str, str]


def _reached(start: Path, top: str) -> tuple[set[str], set[str]]:
    """Names of all own files reached from a file of the package ``top``, and of the other packages."""
    own, others, waiting = set[str](), set[str](), set(_named_by(_parse(start), top))
    while waiting:
        name = waiting.pop()
        if not name.startswith(_OWN) and name.partition(".")[0] != top:
            others.add(name.partition(".")[0])
        elif name not in own and (path := _file_of(name)) is not None:
            own.add(name)
            waiting.add(name.rpartition(".")[0] or name)
            if path.suffix == ".py":
                waiting.update(_named_by(_parse(path), top))
    return own, others - set(sys.stdlib_module_names)


def _named_by(module: _Module, top: str) -> Iterator[str]:
    """Names of all that a module can import: modules, and names that may be such."""
    for home, name in module.imports:
        yield home
        path = _file_of(home) if home.startswith(_OWN) or home.partition(".")[0] == top else None
        if path is None:
            continue
        late = _parse(path).late
        if name:
            yield late.get(name, f"{home}.{name}")
        else:
            yield from late.values()
    for text in module.strings:
        yield from _named_by_string(text)


@cache
def _named_by_string(text: str) -> list[str]:
    """Modules in the group of entry points, or the module of this name; a package stands for all files in it."""
    found = [entry.module for entry in entry_points(group=text)]
    path = _file_of(text)
    if found or path is None or path.name != "__init__.py":
        return found or [text]
    files = [file.relative_to(path.parent) for file in path.parent.rglob("*") if file.is_file()]
    modules = [file.with_suffix("") for file in files if file.suffix == ".py" and file.stem != "__init__"]
    data = [f"{text}/{file.as_posix()}" for file in files if file.suffix not in (".py", ".pyc")]
    return [text, *(".".join((text, *module.parts)) for module in modules), *data]


@cache
def _parse(path: Path) -> _Module:
    nodes, late = list[ast.AST](), dict[str, str]()
    waiting: list[ast.AST] = [ast.parse(path.read_bytes(), str(path))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            late.update((name, home) for home, name in _imports(node.body))
            continue
        nodes.append(node)
        waiting += ast.iter_child_nodes(node)
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    strings = frozenset(value for value in values if isinstance(value, str) and _DOTTED.fullmatch(value))
    return _Module(frozenset(_imports(nodes)), strings, late)


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield str(name.value), ""


@cache
def _file_of(name: str) -> Path | None:
    """The file of a module or package, or of "package/file"; None where the name is of something else."""
    module, _, file = name.partition("/")
    top, *inner = module.split(".")
    try:
        found = importlib.util.find_spec(top)
    except ValueError:  # the program itself, which has no name
        found = None
    if found is None or found.origin is None:
        return None
    places = [Path(found.origin)] if not inner and not file else []
    for folder in found.submodule_search_locations or ():
        place = Path(folder).joinpath(*inner)
        places += [place / file] if file else [place / "__init__.py", place.with_suffix(".py")]
    return next((place for place in places if place.is_file()), None)


_distributions = cache(packages_distributions)


def _version(name: str) -> str:
    """The version of an installed package, with its commit if it is from a repository; empty where it is none."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return ""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    return f"{found.version} {origin.get('vcs_info', {}).get('commit_id', '')}".rstrip()
