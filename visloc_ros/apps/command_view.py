"""``visloc view``: a map, a trajectory, a mesh and a camera in the browser."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from visloc_ros.apps.console import console
from visloc_ros.apps.flags import takes_flags
from visloc_ros.apps.options import CameraFile, MapOrFlag
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.pose_files import read_poses
from visloc_ros.apps.processes import NodeSpec, node_environment, run_until_stopped
from visloc_ros.core.errors import ConfigError, MapError, SetupError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import Map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.evaluation.association import truth_at
from visloc_ros.localization.searchable_map import find_strategy, open_searchable_map, searches_of
from visloc_ros.mapping.alignment.mesh import align_with_mesh
from visloc_ros.sources import FrameSource, SourceConfig, open_source

if TYPE_CHECKING:
    from visloc_ros.viewer.scene import Scene
    from visloc_ros.viewer.trajectory_view import ShownTrajectory

MOST_PICTURES = 3000  # 0.4 GB
NODES = "nodes"


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
    live: Annotated[
        str,
        typer.Option(
            help="Find a camera: a webcam's number, a device, a stream's address, a video; 'nodes': what the ROS 2 "
            "nodes send, their map, too."
        ),
    ] = "",
    rerun: Annotated[
        Path | None, typer.Option(help="Write map and trajectory as a recording for Rerun (.rrd) instead.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 shows it to everybody.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8890,
) -> None:
    """Show a map in the browser, with a trajectory to play, or a camera that is found live; Ctrl-C stops it.

    Example: visloc view maps/office --trajectory out/office/trajectory.tum, or visloc view maps/office --live 0
    """
    if live == NODES:
        view_nodes(host, port)
        return
    if map_path is None:
        raise ConfigError(f"give the map to show, or --live {NODES}")
    if trajectory is not None and live:
        raise ConfigError("a trajectory is played, a camera is live: give --trajectory or --live")
    if trajectory is None and (images is not None or ground_truth is not None):
        raise ConfigError("--images and --ground-truth are shown with a trajectory: give the trajectory, too")
    check_outputs(rerun)
    place = open_searchable_map(map_path)
    shown = None if trajectory is None else read_shown(place, trajectory, ground_truth, images, camera)
    if rerun is not None:
        from visloc_ros.viewer.rerun_export import write_rerun

        write_rerun(rerun, place, shown)
        console.print(f"{rerun} is written: open it with 'rerun {rerun}'", highlight=False)
        return
    view_map(place, shown, mesh, live, camera, host, port)


def view_nodes(host: str, port: int) -> None:
    """Show the output of the nodes of this ROS domain."""
    run_until_stopped([NodeSpec("viewer_node", {"host": host, "port": port})], node_environment())


def view_map(
    place: Map, shown: ShownTrajectory | None, mesh: Path | None, live: str, camera: str, host: str, port: int
) -> None:
    """Show a map until Ctrl-C, or until the live camera ends."""
    from visloc_ros.viewer.export import add_export_buttons
    from visloc_ros.viewer.label_view import add_label_switches
    from visloc_ros.viewer.mesh import as_glb, moved, read_mesh, surface_points
    from visloc_ros.viewer.scene import Scene, close_server, open_server
    from visloc_ros.viewer.trajectory_view import TrajectoryView

    scanned = None if mesh is None else read_mesh(mesh)
    try:
        server = open_server(host, port, f"visloc: {place.name}")
    except OSError as error:
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from error
    played = None
    try:
        scene = Scene.of_map(server, place)
        count = scene.show_references(place)
        if scanned is not None:
            fit = align_with_mesh(surface_points(scanned), place.points)
            server.scene.add_glb("/mesh", as_glb(moved(scanned, fit.mesh_from_map.inverse)))
            scale = fit.mesh_from_map.scale
            console.print(
                f"one unit of the map is {scale:.4g} of the mesh, on which it lies to {fit.residual / scale:.3g}"
            )
        if shown is not None:
            played = TrajectoryView(scene, shown)
        add_label_switches(scene, labelled_maps(place))
        add_export_buttons(server, *(() if played is None else (played.show, len(played.shown.trajectory))))
        console.print(f"{len(place.points)} points and {count} of {len(place.images)} images of {place.name}")
        console.print(f"open http://{host}:{server.get_port()} in a browser; Ctrl-C stops it", highlight=False)
        if live:
            follow(scene, place, live, camera)
        while True:
            time.sleep(3600.0)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        if played is not None:
            played.close()
        close_server(server)


def labelled_maps(place: Map) -> dict[str, Map]:
    """The map with labels of its points, by the ways of searching that label them and that it is prepared for."""
    found: dict[str, Map] = {}
    for way in searches_of(place.manifest):
        try:
            labelled = find_strategy(way).labelled_map(place)
        except MapError as error:  # the map itself can be shown
            console.print(f"its {way} are not shown: {error}", highlight=False)
            continue
        if labelled is not None:
            found[way] = labelled
    return found


def follow(scene: Scene, place: Map, address: str, camera: str) -> None:
    """Find a camera until its images end. Raises SourceError where none come."""
    from visloc_ros.localization import AnchorConfig, AnchorEngine
    from visloc_ros.pipeline.live_camera import LiveCamera
    from visloc_ros.sources.live_video import LiveVideo
    from visloc_ros.viewer.live_view import LiveView

    live = LiveCamera(AnchorEngine(place, AnchorConfig(search=searches_of(place.manifest)[0]), most_turns=1))
    shown = LiveView(scene, live)
    try:
        with LiveVideo(address, SourceConfig(camera=camera)) as video:
            for frame in video:
                estimate = live.process(frame)
                if estimate is not None:
                    shown.show(frame, estimate)
    finally:
        live.close()
    console.print(f"{address} has ended")


def read_shown(
    place: Map, trajectory: Path, ground_truth: Path | None, images: Path | None, camera: str
) -> ShownTrajectory:
    """A trajectory with its images and errors, as far as known."""
    from visloc_ros.viewer.trajectory_view import ShownTrajectory

    poses = read_poses(trajectory)
    truth = None if ground_truth is None else read_tum(ground_truth)
    source = None if images is None else open_source(images, SourceConfig(camera=camera))
    lens = place.images[0].camera if source is None else source.calibration.camera
    return ShownTrajectory(poses, lens, {} if source is None else pictures_of(source, poses), errors_of(poses, truth))


def pictures_of(source: FrameSource, poses: Trajectory) -> dict[int, NDArray[np.uint8]]:
    """Small pictures by the row of the pose whose stamp they have."""
    from visloc_ros.viewer.scene import shrunk

    rows = {stamp_ns: row for row, stamp_ns in enumerate(poses.stamps_ns.tolist())}
    found: dict[int, NDArray[np.uint8]] = {}
    for frame in source:
        if len(found) == MOST_PICTURES:
            break
        if frame.stamp_ns in rows:
            found[rows[frame.stamp_ns]] = shrunk(frame.rgb)
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
