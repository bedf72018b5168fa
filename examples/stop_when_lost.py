"""Stop the wheels while the robot has no pose to trust: a lock for twist_mux, from the fusion node's status.

In a shell with ROS sourced:

    python3 examples/stop_when_lost.py                               # publishes visloc_lost, ten times a second
    python3 examples/stop_when_lost.py --ros-args -p degraded:=true  # also while DEGRADED

What it teaches: the status is latched and comes with every frame, so silence is a loss, too.
"""

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool

from visloc_msgs.msg import LocalizationStatus

SILENCE_S = 1.0  # the fusion node itself reports a camera that is silent for so long
PERIOD_S = 0.1


class StopWhenLost(Node):
    """Publishes true while the robot must not drive by its pose."""

    def __init__(self) -> None:
        super().__init__("stop_when_lost")
        trusted = {LocalizationStatus.LOCALIZED, LocalizationStatus.DEGRADED}
        if self.declare_parameter("degraded", False).value:
            trusted.remove(LocalizationStatus.DEGRADED)
        self._trusted = trusted
        self._heard = None
        self._is_trusted = False
        self._lock = self.create_publisher(Bool, "visloc_lost", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(LocalizationStatus, "/visloc/status", self._take, latched)
        self.create_timer(PERIOD_S, self._publish_lock)

    def _take(self, status: LocalizationStatus) -> None:
        self._heard, self._is_trusted = self.get_clock().now(), status.state in self._trusted

    def _publish_lock(self) -> None:
        is_silent = self._heard is None or (self.get_clock().now() - self._heard).nanoseconds > SILENCE_S * 1e9
        self._lock.publish(Bool(data=is_silent or not self._is_trusted))


def main() -> None:
    """Run until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(StopWhenLost())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
