"""The size of a fused map, compared with that of hierarchical localization for the same map."""

from __future__ import annotations

from typing import Any

from visloc_ros.core.map import Map
from visloc_ros.localization.strategies.fused.config import FLOAT16, STORAGES
from visloc_ros.localization.strategies.fused.fused_map import FusedMap

_COORDINATES, _SCALE, _HALF = 12, 4, 2  # bytes
_KEYPOINT = 8  # bytes of its two coordinates
_FRAME = 7 * 8 + 4  # bytes of its pose and the number of its camera


def memory_report(fused: FusedMap, whole: Map) -> dict[str, Any]:
    """Bytes of the parts of a fused map by storage, and of the keypoints and global descriptors of the whole map.

    Hierarchical localization keeps the descriptor of every keypoint in half precision and its position, and the
    descriptors of whole images. Nothing but numbers is counted.
    """
    length, of_image = fused.codebook.length, fused.image_model.length
    keypoints = sum(len(image.features) for image in whole.images)
    hierarchical = keypoints * (length * _HALF + _KEYPOINT) + len(whole.images) * of_image * _HALF
    reports = {storage: _parts(fused, storage) for storage in STORAGES}
    for report in reports.values():
        report["percent_of_hierarchical"] = round(100.0 * report["total"] / hierarchical, 1)
    return {"stored_as": fused.config.storage, **reports, "hierarchical": hierarchical}


def _parts(fused: FusedMap, storage: str) -> dict[str, Any]:
    points, length = len(fused.codebook), fused.codebook.length
    of_point = length * _HALF if storage == FLOAT16 else length + _SCALE
    frames = len(fused.reduced) * (_FRAME + length * _HALF) + fused.point_rows.nbytes + fused.first_row.nbytes
    parts = {
        "codebook": points * of_point,
        "xyz": points * _COORDINATES,
        "frames": frames,
        "globals": fused.sketches.nbytes,
        "projector": fused.fusion.reducer.num_bytes + fused.image_model.vlad_centroids.nbytes,
        "index": sum(one.nbytes for one in fused.learned.values()),
    }
    return {**parts, "total": sum(parts.values())}


def memory_words(report: dict[str, Any]) -> str:
    """The report in a line."""
    own = report[report["stored_as"]]
    others = [f"{report[name]['total'] / 1e6:.2f} MB as {name}" for name in STORAGES if name != report["stored_as"]]
    return (
        f"{own['total'] / 1e6:.2f} MB ({', '.join(others)}), {own['percent_of_hierarchical']:.0f} % of the "
        f"{report['hierarchical'] / 1e6:.2f} MB of the map's keypoints and global descriptors"
    )
