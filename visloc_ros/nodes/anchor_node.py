"""Searches the newest image in the map, over and over, and publishes its absolute pose or the reason for having none.

While its anchors confirm the fused pose it rests between searches (``SearchPace``) and runs at low priority; without a
pose it starts the next search as soon as the last one ends, at normal priority.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, PointCloud2

from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_msgs.srv import ListMaps, LoadMap, Localize, SaveMap
from visloc_ros.core.advice import ADVICE
from visloc_ros.core.calibration import CameraCalibration, guess_calibration
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError, ManifestError, MapError, OutputError, VislocError
from visloc_ros.core.files import exists, is_folder
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import export_map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.timing import ProcessorTime
from visloc_ros.core.types import Anchor, Frame, MapIdentity, Reason, Rejection
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.rig import check_is_metric
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.mapping.top_view import plan_view
from visloc_ros.nodes.anchor_output import AnchorOutput
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CAMERA_PARAMETERS, CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import (
    anchor_to_msg,
    camera_to_msg,
    frame_from_msg,
    map_identity_to_msg,
    plan_to_msg,
    points_to_msg,
)
from visloc_ros.nodes.diagnostics import processor_values, publish_diagnostics
from visloc_ros.nodes.hint_input import HintInput, rough_pose_from_msg
from visloc_ros.nodes.maps_folder import MapsFolder
from visloc_ros.nodes.predicted_poses import LONGEST_REST_S, MapInUse, PredictedPoses
from visloc_ros.nodes.qos import LATCHED
from visloc_ros.nodes.rig_input import CAMERAS_MEANING, RigInput, further_cameras
from visloc_ros.nodes.worker import in_background
from visloc_ros.sources.calibration import calibration_from_camera_info
from visloc_ros.sources.ros_messages import stamp_from_msg

# After it a request is answered although its work is not done: many times its duration on a slow computer.
LOADING_S, SAVING_S, SEARCHING_S = 120.0, 600.0, 60.0
LOOKING_S = 1.0  # for another map in use
RETRY_S = 10.0  # after it could not be loaded
CONFIRMING_S = 5.0  # for which the fusion node is awaited: it is busy with an image for less than a second


@dataclass(frozen=True)
class AnchorNodeConfig(Config):
    """Parameters of the anchor node."""

    map_path: str = option("", "map folder or reference.tar.gz")
    maps_folder: str = option(
        "", "folder that list_maps lists, and that load_map and save_map do not reach beyond; empty: any path"
    )
    map_frame: str = option("map", "frame id of the map")
    longest_rest_s: float = option(
        LONGEST_REST_S,
        "longest time between searches while followed map points hold the confirmed pose; 0 searches all the time",
        minimum=0.0,
    )
    camera: CameraInputConfig = section(CameraInputConfig)
    cameras: str = option("", CAMERAS_MEANING)
    anchor: AnchorConfig = section(AnchorConfig)


class AnchorNode(VislocNode[AnchorNodeConfig]):
    """Localizes the newest frame as often as it helps.

    It estimates the calibration of an uncalibrated camera from the frames that it finds, and publishes it. Where it
    shares its process with other nodes, it does not lower its priority.
    """

    _engine: AnchorEngine
    default_name = "anchor_node"
    config_type = AnchorNodeConfig
    parameter_names = (
        "map_path",
        "maps_folder",
        "map_frame",
        *CAMERA_PARAMETERS,
        "camera.are_keyframes",
        "cameras",
        "anchor.search",
        "anchor.features.name",
        "anchor.features.max_keypoints",
        "anchor.features.device",
        "anchor.features.torch_threads",
        "anchor.features.weights",
        "anchor.matcher.name",
        "anchor.matcher.device",
        "anchor.global_descriptor.name",
        "anchor.max_risk",
    )

    def __init__(self, is_alone: bool = True) -> None:
        super().__init__()
        self._is_alone = is_alone
        self._is_requested = False  # the map: by load_map or, after another configuration, by the parameter
        self._no_return = ""  # why the map in use is not searched
        self._not_before_s = 0.0  # it is loaded again

    def configure(self) -> None:
        """Load the map and the models once."""
        if not self.config.map_path:
            raise ConfigError("parameter 'map_path' is empty: give the map folder to localize in")
        self._cameras = further_cameras(self.config.cameras)
        self._processor = ProcessorTime()
        self._in_use = threading.Lock()
        """Held while an engine searches, and while another one takes its place."""
        self._changing = threading.Lock()
        """Held while a map is loaded and taken over by the other nodes: one change after the other."""
        self._predicted: PredictedPoses | None = None
        self._map_in_use = MapInUse(self)
        # Made before the map is loaded, which takes long: it shows an odometry node that a calibration will come.
        self._camera_publisher = self.publisher(CameraInfo, "anchor_camera_info", LATCHED)
        self._map_publisher = self.publisher(MapIdentityMsg, "loaded_map", LATCHED)
        self._maps_folder = MapsFolder(self.config.maps_folder)
        path = Path(self.config.map_path)
        self._use_engine(self._first_engine(path), path)
        self._output = AnchorOutput(self, self.config.map_frame)
        self._points_publisher = self.publisher(PointCloud2, "map_points", LATCHED)
        self._plan_publisher = self.publisher(OccupancyGrid, "map_plan", LATCHED)
        self.service(ListMaps, "~/list_maps", self._list_maps)
        self.service(LoadMap, "~/load_map", self._load_map)
        self.service(SaveMap, "~/save_map", self._save_map)
        self.service(Localize, "~/localize", self._localize_one)

    def activate(self) -> None:
        """Start localizing."""
        self.undo(setattr, self, "_is_requested", True)  # the next map of this process is that of its parameter
        self._publish_map()
        self._announce(is_requested=self._is_requested)
        self._predicted = PredictedPoses(self, self.config.longest_rest_s)
        self._predicted.search_in(self._identity)
        self._hints = HintInput(self)
        self._calibration: CameraCalibration | None = None  # of the camera in use, as known so far
        self._published: CameraCalibration | None = None
        # A thread of low priority may hold the interpreter's lock while it waits: other threads would wait, too.
        is_urgent = self._predicted.is_urgent if self._is_alone else None
        wanted = self._predicted.wants  # of these the newest
        self._rig, self._followed = None, ""
        self._returning = self.worker("map in use", self._return_to, 1, is_vital=False)
        self._look_for_map_in_use()
        self.timer(LOOKING_S, self._look_for_map_in_use, is_steady=True)
        if self._cameras:
            self._rig = RigInput(self, self.config.camera, self._cameras, self._localize, wanted, is_urgent)
        else:
            self._single = CameraInput(self, self.config.camera, self._localize, 1, wanted, is_urgent)
        publish_diagnostics(self, self._report)

    @property
    def _input(self) -> CameraInput:
        """The camera whose images are searched."""
        return self._single if self._rig is None else self._rig.leading

    def _open_map(self, path: Path) -> Map:
        place = open_searchable_map(path)
        if self._cameras:
            check_is_metric(place)
        return place

    def _first_engine(self, path: Path) -> AnchorEngine:
        anchor = self.config.anchor
        threads = anchor.features.torch_threads or max(1, (os.cpu_count() or 1) // 2)  # odometry keeps the others
        features = replace(anchor.features, torch_threads=threads)
        return AnchorEngine(self._open_map(path), replace(anchor, features=features), most_turns=1)

    def _look_for_map_in_use(self) -> None:
        """Search the map that was loaded before this node died and was started again: it is still in use."""
        in_use = self._map_in_use.take()
        if in_use is None or in_use.shares_frame(self._identity) or self._is_requested:
            self._no_return = ""
        elif not self._returning.num_waiting and time.monotonic() >= self._not_before_s:
            self._returning.put(in_use)

    def _return_to(self, in_use: MapIdentity) -> None:
        with self._changing:
            if in_use.shares_frame(self._identity) or self._is_requested:
                return
            try:
                engine = self._engine_of(in_use)
            except VislocError as error:
                self._not_before_s = time.monotonic() + RETRY_S
                words = f"The map '{in_use.name}' is in use, and is not searched: {error}."
                if words != self._no_return:
                    self.get_logger().error(words)
                self._no_return = words
                return
            self._use_engine(engine, Path(in_use.path))
            self._announce(is_requested=False)
        self._publish_map()
        self.get_logger().info(f"the map {in_use.path} was loaded before this node started: it stays in use")

    def _engine_of(self, in_use: MapIdentity) -> AnchorEngine:
        """An engine for the map in use. Raises MapError where that does not lie there any more."""
        if not in_use.path:
            raise MapError("the fusion node does not know where it lies")
        engine = self._next_engine(Path(in_use.path))
        if not engine.map_identity.shares_frame(in_use):
            raise MapError(f"{in_use.path} is in another frame now; call load_map to use it")
        return engine

    def _next_engine(self, path: Path) -> AnchorEngine:
        """An engine for another map, with the models of the one in use."""
        check_map(path)
        now = self._engine
        return AnchorEngine(self._open_map(path), now.config, now.extractor, now.matcher, most_turns=1)

    def _change_map(self, path: Path, is_given_up: threading.Event) -> str:
        """Load a map, and have all nodes use it; gives words about those that do not. Raises VislocError."""
        with self._changing:
            engine = self._next_engine(path)
            self._use_engine(engine, path, is_given_up)
            self._is_requested = True
            self._announce(is_requested=True)
            return self._await_others(engine.map_identity)

    def _use_engine(self, engine: AnchorEngine, path: Path, is_given_up: threading.Event | None = None) -> None:
        with self._in_use:  # a search that runs ends first
            if is_given_up is not None and is_given_up.is_set():
                raise MapError("it was loaded too late")
            self._engine, self._map_path = engine, path.absolute()
            self._identity = replace(engine.map_identity, path=str(self._map_path))
            if self._predicted is not None:
                self._predicted.search_in(self._identity)

    def _announce(self, *, is_requested: bool) -> None:
        """Tell the other nodes which map is searched; only one that was requested replaces another one in use."""
        message = map_identity_to_msg(self._identity, self.now_ns(), self.config.map_frame, is_requested)
        self._map_publisher.publish(message)

    def _await_others(self, identity: MapIdentity) -> str:
        """Wait until no pose in the frame before is published any more; gives words where that is not known."""
        if self.count_publishers("map_in_use") == 0:
            return ""
        deadline_s = time.monotonic() + CONFIRMING_S
        while time.monotonic() < deadline_s:
            in_use = self._map_in_use.take()
            if in_use is not None and in_use.shares_frame(identity):
                return ""
            time.sleep(0.01)
        return f"the fusion node has not confirmed within {CONFIRMING_S:g} s that its poses are in this map"

    def _publish_map(self) -> None:
        place, now_ns = self._engine.map, self.now_ns()
        points, labels = place.points, place.point_labels
        colours = landmark_colours(np.zeros(len(points), np.int32) if labels is None else labels)
        self._points_publisher.publish(points_to_msg(now_ns, self.config.map_frame, points, colours))
        plan = plan_view(place.points, place.manifest.metric) if place.manifest.gravity_aligned else None
        if plan is not None:
            self._plan_publisher.publish(plan_to_msg(now_ns, self.config.map_frame, plan))

    def _localize(self, frame: Frame, camera_frame: str) -> None:
        with self._processor("search"):
            self._localize_now(frame, camera_frame)

    def _localize_now(self, frame: Frame, camera_frame: str) -> None:
        assert self._predicted is not None
        with self._in_use:
            engine, identity = self._engine, self._identity
            if self._followed and camera_frame != self._followed:
                self._predicted.clear()  # poses of the camera before
            self._followed = camera_frame
            result = None
            if self._rig is not None:
                predicted = self._predicted.at(frame.stamp_ns)
                result = self._rig.localize(engine, frame, camera_frame, predicted)
            if result is None:
                query = engine.extract(frame)  # meanwhile the fused pose of this frame arrives
                predicted = self._predicted.at(frame.stamp_ns)
                if predicted is None:  # satellites err by far more than the fused pose, sometimes by streets
                    query = replace(query, hint=self._hints.at(frame.stamp_ns, camera_frame, engine.map.manifest))
                result = engine.solve(query, predicted)
            self._predicted.add_search(result, predicted)
        self._output.publish(Anchor(result, identity), frame, camera_frame)
        if frame.calibration is not None:
            self._calibration = engine.best_calibration(frame.calibration)
            if engine.has_settled(frame.calibration):
                self._publish_camera(self._calibration, frame.stamp_ns, camera_frame)

    def _publish_camera(self, calibration: CameraCalibration, stamp_ns: int, camera_frame: str) -> None:
        """Use a calibration that will not change any more, and publish it to nodes that have none."""
        if calibration is self._published:
            return
        self._published = calibration
        self._input.learn(calibration)
        self._camera_publisher.publish(camera_to_msg(stamp_ns, camera_frame, calibration.camera))

    async def _list_maps(self, _: ListMaps.Request, response: ListMaps.Response) -> ListMaps.Response:
        try:
            maps = await in_background(self, lambda: self._maps_folder.list(self._map_path), LOADING_S)
        except ConfigError as error:
            response.code, response.message = ListMaps.Response.NO_MAPS_FOLDER, str(error)
            return response
        num_broken = sum(bool(item.problem) for item in maps)
        response.code, response.maps = ListMaps.Response.SUCCESS, maps
        response.message = f"{len(maps)} maps" + (f", {num_broken} of them cannot be used" if num_broken else "")
        return response

    async def _load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> LoadMap.Response:
        path, is_given_up = Path(request.map_path), threading.Event()
        try:
            path = self._maps_folder.path(request.map_path)
            response.message = await in_background(self, lambda: self._change_map(path, is_given_up), LOADING_S)
        except VislocError as error:
            is_given_up.set()
            is_outside = isinstance(error, ConfigError) and self._maps_folder.is_set
            response.code = LoadMap.Response.INVALID_REQUEST if is_outside else code_of_map(error, path)
            response.map_name = self._engine.map.name
            response.message = f"{error}; the map '{response.map_name}' stays loaded ({self._map_path})"
            return response
        self._publish_map()
        self.get_logger().info(f"load_map: the map '{self._engine.map.name}' of {path} is in use")
        response.code, response.map_name = LoadMap.Response.SUCCESS, self._engine.map.name
        return response

    async def _save_map(self, request: SaveMap.Request, response: SaveMap.Response) -> SaveMap.Response:
        source, loaded, archive = self._map_path, self._engine.map.manifest, Path(request.path)
        try:
            archive = self._maps_folder.path(request.path)
            if not is_folder(archive.parent):
                raise OutputError(f"there is no folder {archive.parent}: make it, or choose another one")
            response.size = await in_background(self, lambda: export_map(source, loaded, archive), SAVING_S)
        except VislocError as error:
            self.get_logger().error(f"save_map: {error}")
            response.code, response.message = code_for(error, archive), str(error)
            return response
        self.get_logger().info(f"save_map: the map '{loaded.name}' is packed as {archive}")
        response.code, response.message = SaveMap.Response.SUCCESS, f"the map '{loaded.name}' is packed as {archive}"
        return response

    async def _localize_one(self, request: Localize.Request, response: Localize.Response) -> Localize.Response:
        stamp_ns = stamp_from_msg(request.image.header.stamp)
        try:
            calibration = calibration_from_camera_info(request.camera_info, "")
            frame = frame_from_msg(request.image, lambda width, height: calibration or guess_calibration(width, height))
            known = rough_pose_from_msg(request)
            anchor = await in_background(self, lambda: self._search(frame, known), SEARCHING_S)
        except VislocError as error:
            self.get_logger().warning(f"localize: {error}")
            anchor, response.message = Anchor(Rejection(stamp_ns, Reason.BAD_MESSAGE), self._identity), str(error)
        if isinstance(anchor.result, Rejection) and not response.message:
            response.message = f"{anchor.result}: {ADVICE[anchor.result.reason]}"
        response.anchor = anchor_to_msg(anchor, self.config.map_frame, request.image.header.frame_id)
        return response

    def _search(self, frame: Frame, known: RoughPose) -> Anchor:
        with self._in_use:
            return Anchor(self._engine.localize(frame, hint=known.in_map(self._identity)), self._identity)

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {
            "map": self._engine.map.name,
            "camera": self._calibration or "not known yet",
            "received": self._input.received if self._rig is None else self._rig.received,
            **self._output.outcomes,
            **(self._input.rejected if self._rig is None else self._rig.rejected),
            **self._hints.rejected,
            **({} if self._rig is None else self._rig.values()),
            **processor_values(self._shares()),
        }
        return *self._judge(), values

    def _shares(self) -> dict[str, float]:
        """Processor seconds a second since the last diagnostics."""
        return {**self._input.processor.take_shares(), **self._processor.take_shares()}

    def _judge(self) -> tuple[str, str]:
        """Level and message of the diagnostics, by the last searches."""
        level, words = self._output.judge(self._engine.map.name, self._input.health)
        if self._no_return:
            return "error", self._no_return
        problems = [] if self._rig is None else list(self._rig.problems())
        return "warn" if problems and level == "ok" else level, " ".join([words, *problems])


def code_of_map(error: VislocError, path: Path) -> int:
    """Result code of a map that could not be loaded."""
    if not exists(path):
        return int(LoadMap.Response.MAP_DOES_NOT_EXIST)
    is_of_manifest = isinstance(error, ManifestError)
    return int(LoadMap.Response.INVALID_MAP_METADATA if is_of_manifest else LoadMap.Response.INVALID_MAP_DATA)


def code_for(error: VislocError, archive: Path) -> int:
    """Result code of a map that could not be saved."""
    if isinstance(error, ConfigError):
        return int(SaveMap.Response.INVALID_REQUEST)
    if isinstance(error, MapError):
        return int(SaveMap.Response.MAP_UNAVAILABLE)
    if isinstance(error, OutputError):
        return int(SaveMap.Response.FILE_EXISTS if exists(archive) else SaveMap.Response.WRITE_FAILED)
    return int(SaveMap.Response.UNDEFINED)


def main() -> None:
    """Run the node."""
    run(AnchorNode)


if __name__ == "__main__":
    main()
