"""Pose priors from a user or client (``/initialpose``, ``set_initial_pose``) or of the last run; never an output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_msgs.srv import SetInitialPose
from visloc_ros.core.errors import VislocError
from visloc_ros.core.types import Estimate, MapIdentity, State
from visloc_ros.fusion.last_pose import LastPose, read_last_pose, write_last_pose
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import uuid_of
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.pipeline.backend import BasePrior
from visloc_ros.pipeline.output import BasePose
from visloc_ros.sources.ros_messages import MessageError, prior_from_msg, stamp_from_msg

SAVE_PERIOD_S = 2.0
SAVED_SIGMAS = np.repeat([0.5, np.deg2rad(15.0)], 3)  # by which a robot may be moved or turned while it is switched off


class InitialPoses:
    """Gives each valid pose of ``/initialpose`` and of the service to ``take``; others are refused with a message.

    ``take`` returns whether the pose is used.
    """

    def __init__(self, node: VislocNode[Any], map_frame: str, take: Callable[[BasePrior], bool]) -> None:
        self._map_frame, self._take_prior, self._logger = map_frame, take, node.get_logger()
        node.subscription(PoseWithCovarianceStamped, "/initialpose", self._take, RELIABLE, from_outside=True)
        node.service(SetInitialPose, "~/set_initial_pose", self._answer)

    def _take(self, message: PoseWithCovarianceStamped) -> None:
        self._take_prior(self._checked(message, "/initialpose"))

    def _answer(self, request: SetInitialPose.Request, response: SetInitialPose.Response) -> SetInitialPose.Response:
        response.success = self._take_prior(self._checked(request.pose, "set_initial_pose"))
        response.message = (
            "the search begins there, with the next image" if response.success else "its numbers cannot be a robot's"
        )
        self._logger.info(f"set_initial_pose: {response.message}")
        return response

    def _checked(self, message: PoseWithCovarianceStamped, source: str) -> BasePrior:
        frame_id = message.header.frame_id.removeprefix("/")
        if frame_id != self._map_frame:
            raise MessageError(
                f"{source} is in the frame '{frame_id}': give it in '{self._map_frame}' (RViz: the Fixed Frame)"
            )
        return BasePrior(source, *prior_from_msg(message), stamp_from_msg(message.header.stamp))


class PoseKeeper:
    """Keeps the last good pose in a folder, written by another thread, and gives that of the last run once."""

    def __init__(self, node: VislocNode[Any], folder: Path) -> None:
        self._folder, self._logger = folder, node.get_logger()
        self._of_last_run = self._read()
        self._newest: LastPose | None = None
        node.undo(self._write_newest)
        self._worker = node.worker("last pose", self._write, capacity=1, is_vital=False)
        node.timer(SAVE_PERIOD_S, self._save)

    def keep(self, estimate: Estimate, pose: BasePose, identity: MapIdentity | None) -> None:
        """Take the pose of a frame; only a LOCALIZED one is kept."""
        if estimate.state is State.LOCALIZED and identity is not None:
            uuid = uuid_of(identity.frame)
            self._newest = LastPose(identity.name, estimate.stamp_ns, pose.map_from_base, pose.covariance, uuid)

    def take_prior(self, identity: MapIdentity) -> BasePrior | None:
        """The pose of the last run, once, if it was in this map, or in a frame that the map had before."""
        pose, self._of_last_run = self._of_last_run, None
        in_map = None if pose is None else pose.in_map(identity)
        if in_map is None:
            return None
        map_from_base, covariance = in_map
        return BasePrior("the last run", map_from_base, covariance + np.diag(SAVED_SIGMAS**2))

    def _read(self) -> LastPose | None:
        try:
            return read_last_pose(self._folder)
        except VislocError as error:
            self._logger.warning(str(error))
            return None

    def _save(self) -> None:
        pose, self._newest = self._newest, None
        if pose is not None:
            self._worker.put(pose)

    def _write(self, pose: LastPose) -> None:
        write_last_pose(self._folder, pose)

    def _write_newest(self) -> None:
        if self._newest is None:
            return
        try:
            self._write(self._newest)
        except VislocError as error:
            self._logger.warning(str(error))
