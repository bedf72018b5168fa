"""Settings of Fast DDS, the default middleware of ROS 2, for large messages and processes that start together."""

from __future__ import annotations

import os
from importlib.resources import files

PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
WITH_QUEUES = {"RMW_FASTRTPS_USE_QOS_FROM_XML": "1"}
"""Without it rmw_fastrtps takes from a profile only settings of the whole process, not those of queues."""
OWN_CHOICES = (PROFILE_VARIABLE, "FASTDDS_BUILTIN_TRANSPORTS")


def fast_dds_profile() -> dict[str, str]:
    """Environment of processes that send images: the profile in ``profiles``, unless the user has chosen a transport.

    With the 0.5 MB of shared memory that Fast DDS has by default, images of more than 64 kB may reach no subscriber any
    more after one of them was killed (https://github.com/eProsima/Fast-DDS/issues/5469); a process that
    starts beside others may find them only when they announce themselves again, after 3 s; and each place of a queue
    keeps the memory of the largest message that it ever held. Other middlewares do not look at it.
    """
    if any(os.environ.get(name) for name in OWN_CHOICES):
        return {}
    return {PROFILE_VARIABLE: str(files("visloc_ros.core") / "profiles" / "fastdds_large_images.xml"), **WITH_QUEUES}
