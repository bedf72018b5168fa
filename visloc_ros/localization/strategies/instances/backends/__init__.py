"""The recogniser's network and its training; the only modules of the strategy that import torch."""

from visloc_ros.core.torch_environment import prepare_torch

prepare_torch()  # no module of this package is imported before it
