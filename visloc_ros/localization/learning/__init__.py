"""Training of the networks that ways of searching prepare; imports torch."""

from visloc_ros.core.torch_environment import prepare_torch

prepare_torch()  # no module of this package is imported before it
