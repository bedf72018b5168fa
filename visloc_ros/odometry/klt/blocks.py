"""Algebra of many small symmetric blocks at once: (S, S, L) with the blocks along the last axis.

Unlike numpy's stacked routines, which call LAPACK block by block, every line works on all blocks.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array

_LEAST_CURVATURE = 1e-9  # keeps a step finite where nothing is observed


def damped(blocks: Array, damping: float) -> Array:
    """Add a share of its diagonal to each block (S, S, L)."""
    raised, diagonal = blocks.copy(), np.arange(len(blocks))
    raised[diagonal, diagonal] += damping * blocks[diagonal, diagonal] + _LEAST_CURVATURE
    return raised


def cholesky(blocks: Array) -> Array:
    """Lower factors (S, S, L) of positive blocks (S, S, L)."""
    factor = np.zeros_like(blocks)
    for j in range(len(blocks)):
        rest = blocks[j:, j] - (factor[j:, :j] * factor[j, :j]).sum(axis=1)
        factor[j:, j] = rest / np.sqrt(np.maximum(rest[0], _LEAST_CURVATURE))
    return factor


def forward_substitute(factor: Array, right: Array) -> Array:
    """Solve ``factor x = right`` for right hand sides (M, S, L)."""
    x = np.empty_like(right)
    for i in range(len(factor)):
        x[:, i] = (right[:, i] - (factor[i, :i] * x[:, :i]).sum(axis=1)) / factor[i, i]
    return x


def back_substitute(factor: Array, right: Array) -> Array:
    """Solve ``factor^T x = right`` for right hand sides (M, S, L)."""
    x = np.empty_like(right)
    for i in reversed(range(len(factor))):
        x[:, i] = (right[:, i] - (factor[i + 1 :, i] * x[:, i + 1 :]).sum(axis=1)) / factor[i, i]
    return x
