"""Ways of searching a map that prepare it first: by landmarks, by fused descriptors, by instances.

torch is imported by the ``backends`` and by ``learning``, and by these alone.
"""

from visloc_ros.core.torch_environment import prepare_torch

__version__ = "0.1.0"

prepare_torch()
