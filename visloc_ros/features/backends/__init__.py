"""Learned models; the only modules that import torch, themselves imported when such a model is made."""

from visloc_ros.core.openmp import sleep_while_waiting

sleep_while_waiting()  # no module of this package is imported before it
