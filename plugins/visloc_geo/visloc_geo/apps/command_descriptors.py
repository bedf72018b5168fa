"""``visloc geo local-descriptors`` and ``global-descriptors``: what queries are compared to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_geo.database import GeoDatabase
from visloc_geo.features import describe_globally, describe_locally, feature_config
from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.flags import needed
from visloc_ros.core.map_layout import VLAD
from visloc_ros.features.config import ALIKED_NAMES, GEM_BACKBONES, GEM_NAMES, GLOBAL_NAMES, FeatureConfig, GlobalConfig
from visloc_ros.features.registry import find_gem_weights

DatabasePath = Annotated[Path | None, typer.Argument(metavar="DATABASE", help="Folder of the database.")]
DatabaseOption = Annotated[
    Path | None, typer.Option("--database", "--dataset", help="The same as an option.", hidden=True)
]
Device = Annotated[str, typer.Option(help="Where the model runs: auto, cpu or cuda.")]
_MOST_KEYPOINTS = 20_000


@takes_engine
def local_descriptors(
    engine: EngineChoice,
    database_path: DatabasePath = None,
    database: DatabaseOption = None,
    max_keypoints: Annotated[
        int | None,
        typer.Option("--max_keypoints", "--max-keypoints", help="Keypoints of a view at most; -1 keeps all."),
    ] = None,
    keypoint_threshold: Annotated[
        float | None, typer.Option("--keypoint_threshold", "--keypoint-threshold", help="Least score of a keypoint.")
    ] = None,
    nms_radius: Annotated[
        int | None, typer.Option("--nms_radius", "--nms-radius", help="Least distance between keypoints, in pixels.")
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help=f"Model: {', '.join(ALIKED_NAMES)}, superpoint, and more.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute the local features of the views that have none yet; all views share the settings of the first.

    Example: visloc geo local-descriptors streets --max_keypoints 2048
    """
    views = GeoDatabase(needed("the database", database_path or database))
    count = None if max_keypoints is None else _MOST_KEYPOINTS if max_keypoints < 0 else max_keypoints
    given = {
        "name": extractor,
        "max_keypoints": count,
        "detection_threshold": keypoint_threshold,
        "nms_radius": nms_radius,
    }
    known = {key: value for key, value in given.items() if value is not None}
    config = FeatureConfig.from_mapping({**feature_config(views, device).to_mapping(), **known})
    with StageBars() as bars, engine.open_if_given() as workers:
        done = describe_locally(views, config, bars, workers)
    _report(views, done, config.name, as_json)


@takes_engine
def global_descriptors(
    engine: EngineChoice,
    database_path: DatabasePath = None,
    database: DatabaseOption = None,
    descriptor_type: Annotated[
        str, typer.Option("--descriptor_type", "--descriptor-type", help=f"Model: {', '.join(GLOBAL_NAMES)}.")
    ] = VLAD,
    backbone: Annotated[
        str, typer.Option(help="Of radenovic_gldv1, radenovic_sfm and naver: resnet101conv5 or resnet50conv5.")
    ] = GEM_BACKBONES[0],
    weights: Annotated[
        str, typer.Option(help="Weights file of the model, where it is not where models search it.")
    ] = "",
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compute the global descriptors of the views that have none yet, by which views are retrieved.

    Example: visloc geo global-descriptors streets --descriptor_type radenovic_gldv1
    """
    views = GeoDatabase(needed("the database", database_path or database))
    if descriptor_type in GEM_NAMES and not weights:
        weights = find_gem_weights(descriptor_type, backbone)
    config = GlobalConfig(name=descriptor_type, device=device, weights=weights)
    with StageBars() as bars, engine.open_if_given() as workers:
        done = describe_globally(views, config, bars, workers)
    _report(views, done, descriptor_type, as_json)


def _report(database: GeoDatabase, done: int, model: str, as_json: bool) -> None:
    if as_json:
        print_json({"database": str(database.folder), "model": model, "described": done})
    else:
        console.print(f"{done} views described by {model}; the others had it already, or have no image")
