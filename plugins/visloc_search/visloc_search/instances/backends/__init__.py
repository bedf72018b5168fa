"""The recogniser's network and its training; the only modules of this way of searching that import torch."""
