"""``correlation.correlate`` as one kernel for a GPU, in Triton (Tillet et al. 2019): nothing is gathered into memory.

The kernel takes every pixel of a patch by itself, so patches that are torn apart cost no more than others, and the
device decides nothing that would have to be waited for. Windows of a patch overlap, and are read from the cache.
"""

# Triton compiles its functions, whose values have other types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_LEVEL_SCALES = 1.0, 0.25
_SIDE, _TAPS = 7, 8  # values along a side, and the positions that their interpolation needs
_PIXELS = 9
_BEYOND = 16.0  # farther outside the map than a window reaches
_WARPS = 1  # two took a third longer on an H200, four a half


def correlate(
    gmap: Tensor, pyramid: tuple[Tensor, Tensor], coords: Tensor, patch_rows: Tensor, frame_rows: Tensor
) -> Tensor:
    """As ``correlation.correlate``, on a GPU, with products summed up in float32."""
    patches = gmap.flatten(2).transpose(1, 2).contiguous()
    result = gmap.new_empty(len(coords), _SIDE * _SIDE, _PIXELS, len(pyramid))
    points = coords.flatten(2).contiguous()
    for level, (maps, scale) in enumerate(zip(pyramid, _LEVEL_SCALES, strict=True)):
        rows = maps.permute(0, 2, 3, 1).contiguous()
        _correlate_level[(len(coords) * _PIXELS,)](
            patches,
            rows,
            points,
            patch_rows,
            frame_rows,
            result,
            rows.shape[1],
            rows.shape[2],
            scale,
            level,
            len(pyramid),
            _PIXELS,
            _SIDE,
            _TAPS,
            patches.shape[2],
            _BEYOND,
            num_warps=_WARPS,
        )
    return result.flatten(1)


@triton.jit
def _correlate_level(
    patches,
    rows,
    points,
    patch_rows,
    frame_rows,
    result,
    height,
    width,
    scale,
    level,
    LEVELS: tl.constexpr,
    PIXELS: tl.constexpr,
    SIDE: tl.constexpr,
    TAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
    BEYOND: tl.constexpr,
):
    """One pixel of the patch of an edge: its products with 8 x 8 positions, interpolated to 7 x 7 values."""
    program = tl.program_id(0).to(tl.int64)
    edge, pixel = program // PIXELS, program % PIXELS
    x = scale * tl.load(points + (2 * edge) * PIXELS + pixel)
    y = scale * tl.load(points + (2 * edge + 1) * PIXELS + pixel)
    x = tl.where(x == x, x, -BEYOND)  # what is not a number sees nothing
    y = tl.where(y == y, y, -BEYOND)
    x = tl.minimum(tl.maximum(x, -BEYOND), width + BEYOND)
    y = tl.minimum(tl.maximum(y, -BEYOND), height + BEYOND)
    left, top = tl.floor(x), tl.floor(y)

    tap = tl.arange(0, TAPS * TAPS)
    column = left.to(tl.int32) - SIDE // 2 + tap // TAPS  # the offset along x is the slower one
    row = top.to(tl.int32) - SIDE // 2 + tap % TAPS
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    channel = tl.arange(0, CHANNELS)
    frame = tl.load(frame_rows + edge)
    place = (frame * height + row) * width + column
    features = tl.load(rows + place[:, None] * CHANNELS + channel[None, :], mask=inside[:, None], other=0.0)
    patch = tl.load(patches + (tl.load(patch_rows + edge) * PIXELS + pixel) * CHANNELS + channel)
    products = tl.sum(features.to(tl.float32) * patch.to(tl.float32)[None, :], axis=1)

    # Bilinear interpolation weighs a position by its distance along either side.
    offset = tl.arange(0, TAPS)
    along_x = tl.arange(0, TAPS)[None, :] - offset[:, None] - (x - left)
    along_y = tl.arange(0, TAPS)[None, :] - offset[:, None] - (y - top)
    weight_x = tl.maximum(1.0 - tl.abs(along_x), 0.0)
    weight_y = tl.maximum(1.0 - tl.abs(along_y), 0.0)
    square = tl.reshape(products, (TAPS, TAPS))
    by_x = tl.sum(weight_x[:, :, None] * square[None, :, :], axis=1)
    values = tl.sum(by_x[:, None, :] * weight_y[None, :, :], axis=2)
    target = ((edge * SIDE + offset[:, None]) * SIDE + offset[None, :]) * PIXELS * LEVELS + pixel * LEVELS + level
    within = (offset[:, None] < SIDE) & (offset[None, :] < SIDE)
    tl.store(result + target, values.to(result.dtype.element_ty), mask=within)
