"""Quality-of-service profiles by role (docs/ros_interface.md)."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


SENSOR = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 5)
RELIABLE = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)
EACH_LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 100)  # none of a burst is missed
INERTIAL = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 200)
CAMERA_INFO = _profile(
    ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 100
)  # looked at with each image, and else twice a second
CAMERA_POSES = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 128)  # looked at for each search
REQUESTS = _profile(
    ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 1000
)  # each is to be answered, of a burst, too
TF = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 100)
TF_STATIC = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 100)

IMAGE = {"sensor_data": SENSOR, "reliable": RELIABLE}
