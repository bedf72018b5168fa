"""Learned models; the only modules that import torch, themselves imported when such a model is made."""
