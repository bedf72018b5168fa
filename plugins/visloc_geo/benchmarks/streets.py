"""The street in Lund as a database, and a localizer whose features and matches are computed once."""

import shutil
from pathlib import Path

from plugins.visloc_geo.benchmarks.cached import CachedDescriber, CachedMatcher, Store
from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.view import View
from visloc_ros.core.types import Frame
from visloc_ros.features.registry import make_matcher
from visloc_ros.sources import open_source
from visloc_ros.sources.exif import read_geo_position

LUND = "street_lund"


def lund_database(data: Path, work: Path) -> GeoDatabase:
    """All photos of the street with their features, made once."""
    database = GeoDatabase.create(work / LUND)
    for frame in photos(data / LUND):
        name = frame.name.partition(".")[0]
        if name not in database.names:
            path = data / LUND / frame.name
            view = View(name, read_geo_position(path), camera=frame.camera, source="photo")
            database.add(view, path.read_bytes())
    describe_globally(database)
    return database


def without(database: GeoDatabase, name: str, folder: Path) -> GeoDatabase:
    """A copy of a database that lacks one view, and has another origin than one that this view is part of."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(database.folder, folder, ignore=lambda _, names: [one for one in names if one == name])
    rest = GeoDatabase(folder)
    at = rest.view(rest.names[0]).position
    assert at is not None
    rest.write_settings(origin=[at.latitude, at.longitude, at.altitude or 0.0])
    return rest


def photos(folder: Path) -> list[Frame]:
    """The photos of a folder with the cameras that their EXIF data give."""
    return list(open_source(folder))


def cached_localizer(database: GeoDatabase, store: Store, config: GeoConfig | None = None) -> GeoLocalizer:
    """A localizer that keeps features and matches."""
    describer = CachedDescriber(database)
    describer.store = store
    return GeoLocalizer(database, config, describer=describer, matcher=CachedMatcher(make_matcher(), store))
