"""The points of a map in the browser in the colours of their labels: landmarks, instances."""

from __future__ import annotations

from collections.abc import Mapping

import viser

from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import Map
from visloc_ros.viewer.scene import Scene


def add_label_switches(scene: Scene, labelled: Mapping[str, Map]) -> dict[str, viser.GuiCheckboxHandle]:
    """Switches, by name, between the points of a map and labelled ones; these have ``point_labels``."""
    clouds, switches = {}, {}
    for name, place in labelled.items():
        assert place.point_labels is not None
        clouds[name] = scene.show_points(f"/{name}", place.points, landmark_colours(place.point_labels), size=2.0)
        clouds[name].visible = False
        switches[name] = scene.server.gui.add_checkbox(name.capitalize(), False)

    def show(_: object) -> None:
        for name, cloud in clouds.items():
            cloud.visible = switches[name].value
        scene.points.visible = not any(switch.value for switch in switches.values())

    for switch in switches.values():
        switch.on_update(show)
    return switches
