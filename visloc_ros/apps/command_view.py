"""``visloc view``: a map, a trajectory and a mesh in the browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from visloc_ros.apps.console import console
from visloc_ros.apps.flags import needed, takes_flags
from visloc_ros.apps.node_options import CameraFile
from visloc_ros.apps.options import MapOrFlag
from visloc_ros.apps.pose_files import read_poses
from visloc_ros.core.errors import SetupError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import open_map
from visloc_ros.core.trajectory import Trajectory, read_tum
from visloc_ros.evaluation.association import truth_at
from visloc_ros.mapping.alignment.mesh import align_with_mesh
from visloc_ros.sources import FrameSource, SourceConfig, open_source

PICTURE_WIDTH = 240  # of a query in its frustum, in pixels
MOST_PICTURES = 3000  # 0.4 GB


@takes_flags
def view(
    map_path: MapOrFlag = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="Poses map_from_camera to play: TUM file, or poses.jsonl of localize.")
    ] = None,
    ground_truth: Annotated[Path | None, typer.Option(help="TUM file with the true poses: colours by error.")] = None,
    images: Annotated[Path | None, typer.Option(help="Source of the trajectory's images, to show with them.")] = None,
    camera: CameraFile = "",
    mesh: Annotated[
        Path | None, typer.Option(help="Mesh of the place (GLB, PLY, OBJ, STL): it is aligned with the map.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 shows it to everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8890,
) -> None:
    """Show a map in the browser, with a trajectory to play; Ctrl-C stops it.

    Example: visloc view maps/office --trajectory out/office/trajectory.tum
    """
    place = open_map(needed("a map", map_path))
    poses = None if trajectory is None else read_poses(trajectory)
    truth = None if ground_truth is None else read_tum(ground_truth)
    source = None if images is None else open_source(images, SourceConfig(camera=camera))
    from visloc_ros.viewer.export import add_export_buttons
    from visloc_ros.viewer.mesh import as_glb, moved, read_mesh, surface_points
    from visloc_ros.viewer.scene import Scene, close_server, open_server
    from visloc_ros.viewer.trajectory_view import ShownTrajectory, TrajectoryView

    scanned = None if mesh is None else read_mesh(mesh)
    try:
        server = open_server(host, port, f"visloc: {place.name}")
    except OSError as error:
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    scene, played = Scene.of_map(server, place), None
    count = scene.show_references(place)
    if scanned is not None:
        fit = align_with_mesh(surface_points(scanned), place.points)
        server.scene.add_glb("/mesh", as_glb(moved(scanned, fit.mesh_from_map.inverse)))
        scale = fit.mesh_from_map.scale
        console.print(f"one unit of the map is {scale:.4g} of the mesh, on which it lies to {fit.residual / scale:.3g}")
    if poses is not None:
        lens = place.images[0].camera if source is None else source.calibration.camera
        pictures = {} if source is None else pictures_of(source, poses)
        played = TrajectoryView(scene, ShownTrajectory(poses, lens, pictures, errors_of(poses, truth)))
    add_export_buttons(server, *(() if played is None or poses is None else (played.show, len(poses))))
    console.print(f"{len(place.points)} points and {count} of {len(place.images)} images of {place.name}")
    console.print(f"open http://{host}:{server.get_port()} in a browser; Ctrl-C stops it", highlight=False)
    try:
        while True:
            time.sleep(3600.0)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        if played is not None:
            played.close()
        close_server(server)


def pictures_of(source: FrameSource, poses: Trajectory) -> dict[int, NDArray[np.uint8]]:
    """Small pictures by the row of the pose whose stamp they have."""
    rows = {stamp_ns: row for row, stamp_ns in enumerate(poses.stamps_ns.tolist())}
    found: dict[int, NDArray[np.uint8]] = {}
    for frame in source:
        if len(found) == MOST_PICTURES:
            break
        if frame.stamp_ns in rows:
            height = round(PICTURE_WIDTH * frame.camera.height / frame.camera.width)
            small = cv2.resize(frame.rgb, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
            found[rows[frame.stamp_ns]] = np.asarray(small, np.uint8)
    if not found:
        console.print("none of the images has the stamp of a pose: none is shown")
    return found


def errors_of(poses: Trajectory, truth: Trajectory | None) -> Array | None:
    """Distances (N,) from the true positions, NaN where these are not known."""
    if truth is None:
        return None
    true = [truth_at(truth, stamp_ns) for stamp_ns in poses.stamps_ns.tolist()]
    pairs = zip(poses.poses, true, strict=True)
    return np.array(
        [np.nan if one is None else np.linalg.norm(pose.translation - one.translation) for pose, one in pairs]
    )
