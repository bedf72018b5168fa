"""Builds a map on request, by the action ``~/build_map`` or the service of that name, and answers when it is done.

The source is an existing recording, or one by the robot's camera on a drive through the place: ``~/record``.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.action.server import ServerGoalHandle
from std_srvs.srv import SetBool

from visloc_msgs.action import BuildMap as BuildMapAction
from visloc_msgs.srv import BuildMap
from visloc_ros.core.child_process import ChildProcess, Send
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
from visloc_ros.mapping import MappingConfig, MapSummary, build_job
from visloc_ros.mapping.build_job import BuildPlan
from visloc_ros.nodes.base import VislocNode, run, use_one_core
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, CameraInputConfig
from visloc_ros.nodes.camera_recording import CameraRecording, Recorded
from visloc_ros.nodes.worker import in_background
from visloc_ros.sources import SourceConfig

CODE_OF_ERROR: tuple[tuple[type[VislocError], int], ...] = (
    (SourceError, BuildMap.Response.SOURCE_UNUSABLE),
    (CalibrationError, BuildMap.Response.SOURCE_UNUSABLE),
    (OutputExistsError, BuildMap.Response.MAP_EXISTS),
    (OutputError, BuildMap.Response.WRITE_FAILED),
    (ConfigError, BuildMap.Response.INVALID_REQUEST),
    (MapError, BuildMap.Response.RECONSTRUCTION_FAILED),
)
LOG_PERIOD_S = 2.0
RECORDINGS = "recordings"  # folder beside the maps


@dataclass(frozen=True)
class MapBuilderNodeConfig(Config):
    """Parameters of the map builder node."""

    maps_folder: str = option("maps", "folder that new maps are put in, and what is recorded for them")
    camera: CameraInputConfig = section(CameraInputConfig)
    mapping: MappingConfig = section(MappingConfig)


class MapBuilderNode(VislocNode[MapBuilderNodeConfig]):
    """Builds maps, one at a time, as an action, which reports its progress and can be cancelled, or as a service."""

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
        """Offer the action and the service."""
        self._busy = threading.Lock()
        self._process: ChildProcess[MapSummary] | None = None
        self._recording: CameraRecording | None = None
        self._recorded: Recorded | None = None
        self.undo(self._end_build)
        self.undo(self._end_recording)
        self.service(SetBool, "~/record", self._record)
        self.service(BuildMap, "~/build_map", self._build)
        self.action(BuildMapAction, "~/build_map", self._execute, self._end_build)

    def open_on_demand(self) -> None:
        """Subscribe to the camera."""
        self.record()

    async def _execute(self, goal: ServerGoalHandle) -> BuildMapAction.Result:
        result = await self._build(goal.request, BuildMapAction.Result(), Feedback(goal))
        if result.code == result.SUCCESS:
            goal.succeed()
        elif goal.is_cancel_requested:
            result.code, result.message = result.CANCELLED, "cancelled: nothing was written"
            goal.canceled()
        else:
            goal.abort()
        return result

    async def _build(self, request: Any, response: Any, feedback: Feedback | None = None) -> Any:
        """Fill in the answer to a request of the service or of the action, which have the same fields."""
        if not self._busy.acquire(blocking=False):
            response.code, response.message = BuildMap.Response.BUSY, "another map is being built; try again later"
            return response
        try:
            output = self._output_path(request.name)
            source = self._source(request)
            summary = await in_background(self, lambda: self._build_map(request, source, output, feedback))
        except VislocError as error:
            self.get_logger().error(f"build_map: {error}")
            codes = (code for kind, code in CODE_OF_ERROR if isinstance(error, kind))
            response.code, response.message = next(codes, BuildMap.Response.UNDEFINED), str(error)
            return response
        finally:
            self._busy.release()
        response.code, response.map_path, response.message = BuildMap.Response.SUCCESS, str(output), str(summary)
        response.registered_images, response.total_images = summary.registered_images, summary.selected_images
        response.points = summary.points
        self.get_logger().info(f"build_map: {summary}, in {output}")
        return response

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
        return f"{self._recording.recorded.path} is being recorded: drive, then call build_map without a source"

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

    def _output_path(self, name: str) -> Path:
        if not name or Path(name).name != name or name in (".", ".."):
            raise ConfigError(f"'{name}' is no name for a map: give one word without '/'")
        return Path(self.config.maps_folder) / name

    def _build_map(
        self, request: Any, source: tuple[Path, SourceConfig], output: Path, feedback: Feedback | None
    ) -> MapSummary:
        path, source_config = source
        plan = BuildPlan(
            path,
            output,
            self.config.mapping,
            source_config,
            config_file=_at_home(request.config_file) if request.config_file else None,
            reference_poses=_at_home(request.reference_poses) if request.reference_poses else None,
            overwrite=request.overwrite,
        )
        listeners: list[LogProgress | Feedback] = [LogProgress(self), *([feedback] if feedback else [])]

        def on_message(what: str, *words: object) -> None:
            for progress in listeners:
                getattr(progress, what)(*words)

        self._process = ChildProcess(build, plan, on_message=on_message)
        return self._process.result()

    def _end_build(self) -> None:
        """Cancel a build whose request cannot be answered any more; it leaves nothing."""
        if self._process is not None:
            self._process.end()


def _at_home(path: str) -> Path:
    """A path of a request, '~' replaced."""
    return Path(os.path.expanduser(path))


def build(send: Send, plan: BuildPlan) -> MapSummary:
    """Build a map in a separate process, beside the nodes."""
    use_one_core()
    return build_job.build(send, plan)


class LogProgress:
    """Progress of a build as log lines."""

    def __init__(self, node: MapBuilderNode) -> None:
        self._logger = node.get_logger()
        self._name, self._total, self._done = "", 0, 0

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._name, self._total, self._done = name, total, 0
        self._logger.info(f"{name} ({total})")

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        self._done += steps
        self._logger.info(f"{self._name} {self._done}/{self._total}", throttle_duration_sec=LOG_PERIOD_S)


class Feedback:
    """Progress of a build as feedback on a goal."""

    def __init__(self, goal: ServerGoalHandle) -> None:
        self._goal, self._message = goal, BuildMapAction.Feedback()

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps."""
        self._message = BuildMapAction.Feedback(stage=name, total=total)
        self._goal.publish_feedback(self._message)

    def advance(self, steps: int = 1) -> None:
        """Count steps of the current stage."""
        self._message.done += steps
        self._message.percent = 100.0 * self._message.done / max(1, self._message.total)
        self._goal.publish_feedback(self._message)


def main() -> None:
    """Run the node."""
    run(MapBuilderNode)


if __name__ == "__main__":
    main()
