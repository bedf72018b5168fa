"""Search by fused descriptors (FUSELOC, arXiv 2408.12037), measured.

Programs: ``search`` (beside the other ways), ``weights`` (many places in one map), ``million`` (a large index), and
``picture``.
"""

from visloc_ros.core.torch_environment import prepare_torch

prepare_torch()  # no module of this package is imported before it: maps are prepared with several threads
