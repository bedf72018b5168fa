"""A small synthetic map with versions."""

from dataclasses import replace

from small_map import synthetic_parts

from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map_versions import changed_folder, list_versions, successor
from visloc_ros.core.map_writer import write_map

PARTS = synthetic_parts()


def update(path, created_from):
    """Write another version of a map in its place, made of the present one."""
    before = read_manifest(path)
    with changed_folder(path, before, path, overwrite=True) as folder:
        write_map(folder, *PARTS, successor(replace(before, created_from=created_from), path, before, "update"))


def numbers(path):
    """The present version, and those beside it."""
    versions = list_versions(path)
    [present] = [one.number for one in versions if one.is_present]
    return present, [one.number for one in versions if not one.is_present]


def own_files(path):
    """The map's files and their contents, without its earlier versions."""
    files = [file for file in path.rglob("*") if file.is_file()]
    names = {file.relative_to(path) for file in files}
    return {name: (path / name).read_bytes() for name in names if name.parts[0] != "versions"}
