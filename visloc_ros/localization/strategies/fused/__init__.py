"""Search by fused descriptors: keypoints are matched with the points of the whole map at once.

After FUSELOC (arXiv 2408.12037): the descriptor of a point fuses those of keypoints with those of whole images.
"""

from visloc_ros.localization.strategies.fused.config import FusedConfig
from visloc_ros.localization.strategies.fused.fused_files import load_fused_map, save_fused_map
from visloc_ros.localization.strategies.fused.fused_map import DescribedMap, FusedMap, fuse_map

__all__ = ["DescribedMap", "FusedConfig", "FusedMap", "fuse_map", "load_fused_map", "save_fused_map"]
