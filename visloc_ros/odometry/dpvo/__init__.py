"""Deep Patch Visual Odometry in plain PyTorch (Teed, Lipson and Deng, NeurIPS 2023), with DPV-SLAM's loop closing.

torch is imported by the modules beside ``config``; import those only when the odometry is made.
"""

from visloc_ros.core.torch_environment import prepare_torch
from visloc_ros.odometry.dpvo.config import DpvoConfig

__all__ = ["DpvoConfig"]

prepare_torch()
