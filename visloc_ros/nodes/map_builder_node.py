"""Builds and updates maps on request, by actions (and a service, ``~/build_map``), and answers when it is done.

The source is an existing recording, or one by the robot's camera on a drive through the place: ``~/record``.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.action.server import ServerGoalHandle
from std_srvs.srv import SetBool

from visloc_msgs.action import BuildMap as BuildMapAction
from visloc_msgs.action import UpdateMap
from visloc_msgs.srv import BuildMap
from visloc_ros.core.child_process import Send
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import (
    CalibrationError,
    ConfigError,
    MapError,
    OutputError,
    OutputExistsError,
    SourceError,
    VislocError,
)
from visloc_ros.core.map_versions import roll_back
from visloc_ros.mapping import MappingConfig, MapSummary, build_job
from visloc_ros.mapping.build_job import BuildPlan
from visloc_ros.mapping.update import update_job
from visloc_ros.mapping.update.report import UpdateRefusedError, UpdateReport
from visloc_ros.mapping.update.update_job import UpdatePlan
from visloc_ros.nodes.base import VislocNode, run, use_one_core
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, CameraInputConfig
from visloc_ros.nodes.camera_recording import CameraRecording, Recorded
from visloc_ros.nodes.map_work import Codes, Feedback, MapWork, settle
from visloc_ros.nodes.worker import in_background
from visloc_ros.sources import SourceConfig

BUILD_CODES: Codes = (
    (SourceError, BuildMap.Response.SOURCE_UNUSABLE),
    (CalibrationError, BuildMap.Response.SOURCE_UNUSABLE),
    (OutputExistsError, BuildMap.Response.MAP_EXISTS),
    (OutputError, BuildMap.Response.WRITE_FAILED),
    (ConfigError, BuildMap.Response.INVALID_REQUEST),
    (MapError, BuildMap.Response.RECONSTRUCTION_FAILED),
)
UPDATE_CODES: Codes = (
    (SourceError, UpdateMap.Result.SOURCE_UNUSABLE),
    (CalibrationError, UpdateMap.Result.SOURCE_UNUSABLE),
    (OutputError, UpdateMap.Result.WRITE_FAILED),
    (ConfigError, UpdateMap.Result.INVALID_REQUEST),
    (UpdateRefusedError, UpdateMap.Result.RECORDING_REFUSED),
    (MapError, UpdateMap.Result.MAP_UNUSABLE),
)
RECORDINGS = "recordings"  # folder beside the maps


@dataclass(frozen=True)
class MapBuilderNodeConfig(Config):
    """Parameters of the map builder node."""

    maps_folder: str = option("maps", "folder that new maps are put in, and what is recorded for them")
    camera: CameraInputConfig = section(CameraInputConfig)
    mapping: MappingConfig = section(MappingConfig)


class MapBuilderNode(VislocNode[MapBuilderNodeConfig]):
    """Builds and updates maps, one at a time, by actions, which report their progress and can be cancelled."""

    default_name = "map_builder_node"
    config_type = MapBuilderNodeConfig
    parameter_names = (
        "maps_folder",
        *CAMERA_PARAMETERS,
        "mapping.workers",
        "mapping.features.name",
        "mapping.matcher.name",
        "mapping.global_descriptor.name",
    )

    def configure(self) -> None:
        """Offer the actions and the services."""
        self._work = MapWork(self)
        self._recording: CameraRecording | None = None
        self._recorded: Recorded | None = None
        self.undo(self._work.end)
        self.undo(self._end_recording)
        self.service(SetBool, "~/record", self._record)
        self.service(BuildMap, "~/build_map", self._build)
        self.action(BuildMapAction, "~/build_map", self._execute_build, self._work.end)
        self.action(UpdateMap, "~/update_map", self._execute_update, self._work.end)

    def open_on_demand(self) -> None:
        """Subscribe to the camera."""
        self.record()

    async def _execute_build(self, goal: ServerGoalHandle) -> BuildMapAction.Result:
        feedback = Feedback(goal, BuildMapAction.Feedback)
        return settle(goal, await self._build(goal.request, BuildMapAction.Result(), feedback))

    async def _execute_update(self, goal: ServerGoalHandle) -> UpdateMap.Result:
        return settle(goal, await self._update(goal.request, UpdateMap.Result(), Feedback(goal, UpdateMap.Feedback)))

    async def _build(self, request: Any, response: Any, feedback: Feedback | None = None) -> Any:
        """Fill in the answer to a request of the service or of the action, which have the same fields."""

        async def work() -> None:
            output = self._path_of(request.name)
            path, source_config = self._source(request)
            plan = BuildPlan(
                path,
                output,
                self.config.mapping,
                source_config,
                config_file=_at_home(request.config_file) if request.config_file else None,
                reference_poses=_at_home(request.reference_poses) if request.reference_poses else None,
                overwrite=request.overwrite,
            )
            summary = await in_background(self, lambda: self._work.in_process(build, plan, feedback))
            response.map_path, response.message = str(output), str(summary)
            response.registered_images, response.total_images = summary.registered_images, summary.selected_images
            response.points = summary.points

        return await self._work.answer("build_map", response, BUILD_CODES, work)

    async def _update(self, request: UpdateMap.Goal, result: UpdateMap.Result, feedback: Feedback) -> UpdateMap.Result:
        """Fill in the result of an update or a rollback."""

        async def work() -> None:
            path = self._path_of(request.name)
            if request.roll_back:
                manifest = await in_background(self, lambda: roll_back(path, request.version or None))
                result.version, result.message = manifest.version, f"{path} is version {manifest.version} now"
                return
            plan = UpdatePlan(path, *self._source(request))
            report = await in_background(self, lambda: self._work.in_process(update, plan, feedback))
            result.version, result.message = report.version, str(report)

        return await self._work.answer("update_map", result, UPDATE_CODES, work)

    def _record(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Begin or end a recording of the camera; the answer describes the recording."""
        try:
            response.message = self.record() if request.data else str(self._finish_recording())
        except VislocError as error:
            self.get_logger().error(f"record: {error}")
            response.success, response.message = False, str(error)
            return response
        self.get_logger().info(f"record: {response.message}")
        response.success = True
        return response

    def record(self) -> str:
        """Begin to record the camera; gives the next step. Raises ConfigError while it records."""
        if self._recording is not None:
            raise ConfigError(f"it is recording already: {self._recording.recorded}")
        self._recording = CameraRecording(self, self.config.camera, Path(self.config.maps_folder) / RECORDINGS)
        path = self._recording.recorded.path
        return f"{path} is being recorded: drive, then call build_map or update_map without a source"

    def _finish_recording(self) -> Recorded:
        """The current recording, which ends, or the last one. Raises ConfigError where there is none."""
        recording, self._recording = self._recording, None
        if recording is not None:
            self._recorded = recording.finish()
        if self._recorded is None:
            raise ConfigError("nothing is recorded: give a source, or begin to record by the service ~/record")
        return self._recorded

    def _end_recording(self) -> None:
        """Complete the bag of a recording when the node stops."""
        if self._recording is not None:
            with suppress(SourceError):  # no image, no bag
                self.get_logger().info(f"record: {self._finish_recording()}")

    def _source(self, request: Any) -> tuple[Path, SourceConfig]:
        """The source of a map: that of the request, or the recording."""
        if request.source:
            return _at_home(request.source), SourceConfig(image_topic=request.image_topic)
        recorded = self._finish_recording()
        return recorded.path, recorded.source_config

    def _path_of(self, name: str) -> Path:
        if not name or Path(name).name != name or name in (".", ".."):
            raise ConfigError(f"'{name}' is no name for a map: give one word without '/'")
        return Path(self.config.maps_folder) / name


def _at_home(path: str) -> Path:
    """A path of a request, '~' replaced."""
    return Path(os.path.expanduser(path))


def build(send: Send, plan: BuildPlan) -> MapSummary:
    """Build a map in a separate process, beside the nodes."""
    use_one_core()
    return build_job.build(send, plan)


def update(send: Send, plan: UpdatePlan) -> UpdateReport:
    """Update a map in a separate process, beside the nodes."""
    use_one_core()
    return update_job.update(send, plan)


def main() -> None:
    """Run the node."""
    run(MapBuilderNode)


if __name__ == "__main__":
    main()
