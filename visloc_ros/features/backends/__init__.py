"""Learned models; the only modules that import torch, themselves imported when such a model is made."""

from visloc_ros.core.torch_environment import prepare_torch

prepare_torch()  # no module of this package is imported before it
