"""Deep Patch Visual Odometry in plain PyTorch (Teed, Lipson and Deng, NeurIPS 2023), with DPV-SLAM's loop closing.

torch is imported by the modules beside ``config``; import those only when the odometry is made.
"""

from visloc_ros.core.openmp import sleep_while_waiting
from visloc_ros.odometry.dpvo.config import DpvoConfig

__all__ = ["DpvoConfig"]

sleep_while_waiting()
