"""The landmarks of a map in the browser, each in its own colour."""

from __future__ import annotations

import viser

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import Map
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.landmark_files import load_landmark_map
from visloc_ros.viewer.scene import Scene


def add_landmark_switch(scene: Scene, place: Map) -> viser.GuiCheckboxHandle | None:
    """A switch between the points of a map and those of its landmarks; None where it holds none.

    Raises MapError where they are broken or of another version of the map.
    """
    if LANDMARKS not in place.prepared:
        return None
    landmarks = load_landmark_map(place.prepared[LANDMARKS], place.manifest)
    points = scene.show_points("/landmarks", landmarks.map.points, landmark_colours(landmarks.labels), size=2.0)
    points.visible = False
    switch = scene.server.gui.add_checkbox("Landmarks", False)

    @switch.on_update
    def _(_: object) -> None:
        points.visible, scene.points.visible = switch.value, not switch.value

    return switch
