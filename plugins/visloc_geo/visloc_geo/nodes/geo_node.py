"""Finds where on the earth the camera is, by geotagged views of streets: a first prior for a map on the earth.

It takes seconds of an image, at low priority. ``geo/fix`` and ``geo/compass`` are what a receiver and a compass would
measure: the anchor node takes them as hints, so that it searches a large map at the right place.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from tf2_msgs.msg import TFMessage

from visloc_geo.config import GeoConfig
from visloc_geo.database import GeoDatabase
from visloc_geo.localizer import GeoLocalizer
from visloc_geo.nodes.answer_output import GeoAnswerOutput
from visloc_geo.view import View
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, NO_CALIBRATION, CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import transform_to_msg
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.guard import RejectedMessages
from visloc_ros.nodes.hint_input import FixInput
from visloc_ros.nodes.qos import TF_STATIC

UNCALIBRATED = "uncalibrated"  # images of a camera whose focal length is a guess


@dataclass(frozen=True)
class GeoNodeConfig(Config):
    """Parameters of the geolocation node."""

    database: str = option("", "folder of geotagged views, as visloc geo add makes it")
    earth_frame: str = option("earth", "frame id of the earth (REP 105)")
    enu_frame: str = option("enu", "frame id of the database's local frame: east, north, up")
    rest_s: float = option(10.0, "time between an image that was located and the next one", minimum=0.0)
    camera: CameraInputConfig = section(CameraInputConfig)
    geo: GeoConfig = section(GeoConfig)


class GeoNode(VislocNode[GeoNodeConfig]):
    """Locates the newest image on the earth, over and over, and rests after one that is located."""

    default_name = "geo_node"
    config_type = GeoNodeConfig
    parameter_names = ("database", "earth_frame", "enu_frame", "rest_s", *CAMERA_PARAMETERS)

    def configure(self) -> None:
        """Load the database and the models once."""
        if not self.config.database:
            raise ConfigError("parameter 'database' is empty: give the folder of geotagged views")
        self._localizer = GeoLocalizer(GeoDatabase(Path(self.config.database)), self.config.geo)
        self._output = GeoAnswerOutput(self, self.config.enu_frame)
        self._static_publisher = self.publisher(TFMessage, "/tf_static", TF_STATIC)

    def activate(self) -> None:
        """Start locating."""
        earth_from_enu = self._localizer.frame.earth_from_enu
        placed = transform_to_msg(self.now_ns(), self.config.earth_frame, self.config.enu_frame, earth_from_enu)
        self._static_publisher.publish(TFMessage(transforms=[placed]))
        self._located_ns: int | None = None
        self._lock = threading.Lock()
        self._rejected = RejectedMessages(self.get_logger())
        self._fixes = FixInput(self, "fix", self._rejected)
        self._input = CameraInput(self, self.config.camera, self._locate, 1, self._wants, is_urgent=lambda _: False)
        publish_diagnostics(self, self._report)

    def _wants(self, stamp_ns: int) -> bool:
        """Whether the rest since the last image that was located is over."""
        with self._lock:
            located_ns = self._located_ns
        return located_ns is None or abs(stamp_ns - located_ns) >= self.config.rest_s * NANOSECONDS

    def _locate(self, frame: Frame, camera_frame: str) -> None:
        if frame.calibration is not None and frame.calibration.is_provisional:
            self._rejected.note(UNCALIBRATED, f"an image was left out, whose pose would be wrong: {NO_CALIBRATION}")
            return
        known = self._fixes.at(frame.stamp_ns)
        answer = self._localizer.locate(frame, None if known is None else View("fix", known))
        if answer.pose is not None:
            with self._lock:
                self._located_ns = frame.stamp_ns
        self._output.publish(answer, camera_frame)

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {
            "database": self.config.database,
            "received": self._input.received,
            **self._output.outcomes,
            **self._input.rejected,
            **self._rejected,
        }
        if self._rejected[UNCALIBRATED] and not self._output.outcomes:
            return "warn", f"No image searched yet: the camera is not calibrated; {NO_CALIBRATION}.", values
        return *self._output.judge(self._input.health), values


def main() -> None:
    """Run the node."""
    run(GeoNode)


if __name__ == "__main__":
    main()
