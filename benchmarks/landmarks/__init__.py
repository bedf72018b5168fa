"""Search by landmarks beside search by retrieval: what it finds, how fast, with how many bytes, and why."""

from visloc_ros.core.torch_environment import prepare_torch

prepare_torch()  # no module of this package is imported before it: maps are prepared with several threads
