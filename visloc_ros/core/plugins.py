"""Objects that this and other packages provide by name, found through entry points (packaging.python.org).

A package lists an object under a group in its metadata: ``visloc_ros.search`` has ways of searching a map,
``visloc_ros.odometry`` odometries, ``visloc_ros.weights`` files to download, ``visloc_ros.engines`` what runs parts of
large jobs, ``visloc.commands`` commands. An object is imported when it is asked for.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from visloc_ros.core.errors import ConfigError

_log = logging.getLogger(__name__)
HINT = "plug-ins add others (docs/plugins.md)"
"""Ends an error that names what is known."""


def plugin_names(group: str, first: str) -> list[str]:
    """Names of all installed objects of a group, ``first``, the default, before the others."""
    return sorted(_found(group), key=lambda name: (name != first, name))


@cache  # the log says it once
def importable_plugins(group: str, first: str = "") -> dict[str, Any]:
    """The objects of a group by name; one that cannot be imported is left out, which the log says."""
    loaded = {}
    for name in plugin_names(group, first):
        try:
            loaded[name] = load_plugin(group, name)
        except ConfigError as error:
            _log.warning("%s", error)
    return loaded


@cache
def installed_plugins(group: str) -> dict[str, Any]:
    """The importable objects of a group that may be empty, by name."""
    return importable_plugins(group) if entry_points(group=group) else {}


def plugin_packages() -> list[str]:
    """The packages, but this one, that provide anything by entry points of visloc."""
    groups = (group for group in entry_points().groups if group.startswith("visloc"))
    names = {entry.module.partition(".")[0] for group in groups for entry in entry_points(group=group)}
    return sorted(names - {"visloc_ros"})


@cache
def load_plugin(group: str, name: str) -> Any:
    """The object of this name. Raises ConfigError where it is not installed, or cannot be imported."""
    found = _found(group)
    if name not in found:
        raise ConfigError(f"no package provides the {group} '{name}'; known: {', '.join(sorted(found))}; {HINT}")
    entry = found[name]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the {group} '{name}' ({entry.value}) cannot be imported: {error}") from error


@cache
def _found(group: str) -> dict[str, EntryPoint]:
    """Installed objects, by name.

    Raises ConfigError where there are none, or two packages provide different objects by one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise ConfigError(
                f"two packages provide the {group} '{entry.name}' ({other.value} and {entry.value}): uninstall one"
            )
    if not found:
        raise ConfigError(
            f"no installed package provides a {group}: visloc_ros is not installed, or its metadata are older than its "
            "code; run 'pip install .' in its folder"
        )
    return found
