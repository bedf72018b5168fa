"""The view of a map: its points, the images it was made from, and cameras in it."""

from __future__ import annotations

from contextlib import redirect_stdout

import cv2
import numpy as np
import pycolmap
import viser
from numpy.typing import NDArray

from visloc_ros.core.camera import rays
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.mapping.gravity import find_up
from visloc_ros.sources.ros_images import decode_compressed
from visloc_ros.viewer.point_colours import point_colours

MOST_FRUSTUMS = 300  # with pictures: a browser on a laptop still moves these smoothly
FRUSTUM_SHARE = 0.03  # of the width of the scene: visible when the whole scene is in view
POINT_SHARE = 0.004
BEHIND, ABOVE = 0.25, 0.1  # of the width of the scene: position of a viewer that follows a camera
PICTURE_WIDTH = 240  # of a query in its frustum, in pixels
LEAST_AHEAD = 0.1  # mean of viewing directions: cameras that look all around have none in common
REFERENCE_COLOUR, QUERY_COLOUR = (120, 125, 135), (25, 110, 255)

Colour = tuple[int, int, int]


class Scene:
    """Points of a map (P, 3) in colours (P, 3) or one, with ``up`` (3,), in the browser; all is in the map's frame."""

    def __init__(
        self, server: viser.ViserServer, points: Array, colours: NDArray[np.uint8] | Colour, up: Array, metric: bool
    ) -> None:
        self.server, self.up, self.unit = server, up, "m" if metric else "map units"
        low, high = np.percentile(points, [5, 95], axis=0)
        self.centre, self.width = (low + high) / 2, float(np.linalg.norm(high - low))
        """The middle of the map, and its width without stray points."""
        server.scene.set_up_direction(up)
        self.look_along(np.linalg.svd(up[None])[2][1])
        self.points = self.show_points("/map", points, colours)

    @staticmethod
    def of_map(server: viser.ViserServer, place: Map) -> Scene:
        """A whole map, viewed in the mean direction of its images."""
        poses = [image.map_from_camera for image in place.images]
        found = None if place.manifest.gravity_aligned else find_up(poses)
        up = np.array([0.0, 0.0, 1.0]) if found is None else found.direction
        scene = Scene(server, place.points, point_colours(place), up, place.manifest.metric)
        ahead = np.mean([pose.rotation[:, 2] for pose in poses], axis=0)
        ahead -= (ahead @ up) * up
        if np.linalg.norm(ahead) > LEAST_AHEAD:
            scene.look_along(ahead / np.linalg.norm(ahead))
        return scene

    def look_along(self, ahead: Array) -> None:
        """Let new viewers look in this direction, a level unit vector (3,), down at the middle."""
        camera = self.server.initial_camera
        camera.up, camera.look_at = self.up, self.centre
        camera.position = self.centre + self.width * (0.35 * self.up - 0.6 * ahead)

    def show_references(self, place: Map) -> int:
        """Show a map's images as frustums with their pictures; gives how many, evenly chosen where there are many."""
        chosen = np.unique(np.linspace(0, len(place.images) - 1, MOST_FRUSTUMS).round().astype(int))
        for index in chosen.tolist():
            image = place.images[index]
            thumbnail = place.thumbnails.get(image.name)
            picture = None if thumbnail is None else decode_compressed("jpeg", thumbnail)
            name = f"/references/{index}"
            self.show_camera(name, image.map_from_camera, image.camera, REFERENCE_COLOUR, picture, 0.5)
        return len(chosen)

    def show_camera(
        self,
        name: str,
        map_from_camera: SE3,
        camera: pycolmap.Camera,
        colour: Colour,
        picture: NDArray[np.uint8] | None = None,
        size: float = 1.0,
    ) -> viser.CameraFrustumHandle:
        """Show a camera with its image; ``size`` is relative to the usual one."""
        vertical_rad, aspect = field_of_view(camera)
        return self.server.scene.add_camera_frustum(
            name,
            vertical_rad,
            aspect,
            scale=size * FRUSTUM_SHARE * self.width,
            thickness=1.5,
            thickness_units="screen",
            color=colour,
            image=None if picture is None else as_rgb(picture),
            wxyz=map_from_camera.quaternion,
            position=map_from_camera.translation,
            cast_shadow=False,
            receive_shadow=False,
        )

    def follow(self, map_from_camera: SE3) -> None:
        """Put all viewers behind a camera."""
        ahead = map_from_camera.rotation[:, 2]
        position = map_from_camera.translation - self.width * (BEHIND * ahead - ABOVE * self.up)
        for client in self.server.get_clients().values():
            with client.atomic():
                client.camera.up_direction = self.up
                client.camera.position = position
                client.camera.look_at = map_from_camera.translation

    def show_path(self, name: str, positions: Array, colours: NDArray[np.uint8]) -> None:
        """Show the path through positions (N, 3) in their colours (N, 3)."""
        if len(positions) > 1:
            # These lines alone are drawn in colours without gamma.
            linear = (255.0 * (colours / 255.0) ** 2.2).astype(np.uint8)
            self.server.scene.add_line_segments(
                name,
                np.stack([positions[:-1], positions[1:]], axis=1).astype(np.float32),
                np.stack([linear[:-1], linear[1:]], axis=1),
                thickness=3.0,
                thickness_units="screen",
            )

    def show_points(
        self, name: str, points: Array, colours: NDArray[np.uint8] | Colour, size: float = 1.0
    ) -> viser.PointCloudHandle:
        """Show points (N, 3) in one colour or in theirs; ``size`` is relative to that of the map's points."""
        return self.server.scene.add_point_cloud(
            name,
            points.astype(np.float32),
            colours,
            point_size=size * POINT_SHARE * self.width,
            point_shape="circle",
            precision="float32",
            point_shading="flat",
        )


def field_of_view(camera: pycolmap.Camera) -> tuple[float, float]:
    """Vertical field of view in radians, and width over height of the image plane; lenses are drawn as pinholes."""
    width, height = camera.width, camera.height
    middles = rays(camera, [[width / 2, 0], [width / 2, height], [0, height / 2], [width, height / 2]])
    if not np.isfinite(middles).all():  # a lens model that does not reach the edge
        return 2.0 * float(np.arctan(height / 2 / camera.mean_focal_length())), width / height
    high, wide = np.ptp(middles[:2, 1]), np.ptp(middles[2:, 0])
    return 2.0 * float(np.arctan(high / 2)), float(wide / high)


def shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture reduced to its shown size, since many large ones slow a browser down."""
    height = round(PICTURE_WIDTH * picture.shape[0] / picture.shape[1])
    return np.asarray(cv2.resize(picture, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def as_rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture (H, W) or an RGB one as RGB (H, W, 3)."""
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def open_server(host: str, port: int, title: str) -> viser.ViserServer:
    """A page in the browser, at this port or the next free one. Raises OSError."""
    with redirect_stdout(None):  # its own messages
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    server.gui.configure_theme(dark_mode=False, show_logo=False, show_share_button=False)
    server.gui.main_panel.dock_right()
    server.scene.world_axes.visible = False
    return server


def close_server(server: viser.ViserServer) -> None:
    """Close the page."""
    with redirect_stdout(None):
        server.stop()
