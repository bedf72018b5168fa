"""Deep Patch Visual Odometry in plain PyTorch (Teed, Lipson and Deng, NeurIPS 2023), with DPV-SLAM's loop closing.

torch is imported by the modules beside ``config``; import those only when the odometry is made.
"""

from visloc_dpvo.config import DpvoConfig
from visloc_ros.core.torch_environment import prepare_torch

__all__ = ["DpvoConfig"]
__version__ = "0.1.0"

prepare_torch()
