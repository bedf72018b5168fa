"""The service that changes what the pose is made from, while the robot runs."""

from __future__ import annotations

from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from visloc_msgs.srv import SetMode
from visloc_ros.core.mode import Mode
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_parameters import FusionNodeConfig
from visloc_ros.nodes.qos import REQUESTS

DONE = TransitionCallbackReturn.SUCCESS
MODES = tuple(mode.value for mode in Mode)


class ModeService:
    """Takes the node through its lifecycle, to be configured with another mode; it lives as long as the node does."""

    def __init__(self, node: VislocNode[FusionNodeConfig]) -> None:
        self._node = node
        guarded = node.guard.service("set_mode", self._answer)
        node.create_service(SetMode, "~/set_mode", guarded, qos_profile=REQUESTS)

    def _answer(self, request: SetMode.Request, response: SetMode.Response) -> SetMode.Response:
        mode = request.mode
        if mode not in MODES:
            response.code = SetMode.Response.INVALID_MODE
            response.message = f"there is no mode '{mode}': choose one of {', '.join(MODES)}"
        elif not self._node.is_active:
            response.code = SetMode.Response.NOT_ACTIVE
            response.message = "the node is not active: set the parameter 'mode', then configure and activate it"
        elif self._node.config.mode == mode:
            response.code, response.message = SetMode.Response.SUCCESS, f"the mode is {mode} already"
        else:
            response.code, response.message = self._change(mode)
        self._node.get_logger().info(f"set_mode: {response.message}")
        return response

    def _change(self, mode: str) -> tuple[int, str]:
        node, before = self._node, self._node.config.mode
        is_stopped = all(step() == DONE for step in (node.trigger_deactivate, node.trigger_cleanup))
        node.set_parameters([Parameter("mode", value=mode)])
        if is_stopped and node.start():
            return SetMode.Response.SUCCESS, f"the mode is {mode} now; it was {before}"
        return SetMode.Response.UNDEFINED, "the node could not be stopped or started again: see its log"
