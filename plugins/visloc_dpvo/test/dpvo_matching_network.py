"""A network without learning: cells are described by their surroundings, and flow is the peak of the correlation.

It stands where the published one would, so that everything around it can be tested on images without its weights.
"""

import torch
from torch.nn import functional

_SIDE = 8  # values along a side of a description; one of fine and one of coarse steps fill the 128 channels
_STEPS_PX = (2, 8)
_CHANNELS, _HIDDEN, _CELL = 128, 384, 4
_COARSE = 4.0  # cells between two offsets of the second level
_COARSE_SHIFT = 1.5  # the average of cells 0 to 3 lies at 1.5, and is looked up at 0


class MatchingNetwork:
    """Takes the place of ``PatchNetwork``."""

    def set_precision(self, dtype):
        """Matching is exact enough in any type."""

    def encode(self, image):
        grey = image.float().mean(dim=0)[None, None]
        height, width = image.shape[1] // _CELL, image.shape[2] // _CELL
        parts = [describe(grey, step)[:, :height, :width] for step in _STEPS_PX]
        return torch.cat(parts), torch.zeros(_HIDDEN, height, width)

    def extract(self, fmap, imap, centres):
        around = torch.arange(3) - 1
        columns, rows = torch.broadcast_tensors(
            centres[:, 0, None, None] + around, centres[:, 1, None, None] + around[:, None]
        )
        patches = torch.stack((columns, rows, torch.ones_like(rows)), dim=1).float()
        return fmap[:, rows, columns].transpose(0, 1), imap[:, centres[:, 1], centres[:, 0]].T, patches

    def update(self, net, inp, corr, ii, jj, kk):
        """Step to the best offset of the fine level, or of the coarse one where that is far away."""
        scores = corr.view(-1, 7, 7, 9, 2).mean(dim=3)
        fine, fine_score = peak(scores[..., 0])
        coarse, coarse_score = peak(scores[..., 1])
        distant = _COARSE * coarse + _COARSE_SHIFT
        far = (distant.abs().amax(dim=1) > 2.5) & (coarse_score > 0.35) & (fine_score < 0.75)
        delta = torch.where(far[:, None], distant, fine)
        weight = torch.where(far, 0.2, (fine_score - 0.5).clamp(min=0.01) * 1.9)
        return net, delta, weight[:, None].expand(-1, 2).contiguous()


def peak(scores):
    """Offset (E, 2) of the highest of scores (E, 7, 7), x first, to a part of a cell; and how high it is."""
    best = scores.flatten(1).argmax(dim=1)
    x, y = best // 7, best % 7
    edges = torch.arange(len(scores))
    row, column = scores[edges, :, y], scores[edges, x]
    offset = torch.stack((x + vertex(row, x), y + vertex(column, y)), dim=1) - 3.0
    return offset, scores[edges, x, y]


def vertex(line, index):
    """Where the parabola through a maximum and its neighbours peaks, in -0.5..0.5; 0 at the ends."""
    inner = index.clamp(1, 5)
    edges = torch.arange(len(line))
    before, middle, after = (line[edges, inner + step] for step in (-1, 0, 1))
    curvature = (before - 2 * middle + after).clamp(max=-1e-6)
    step = (0.5 * (before - after) / curvature).clamp(-0.5, 0.5)
    return torch.where(inner == index, step, 0.0)


def describe(grey, step):
    """Surroundings (64, h, w) of each cell in steps of so many pixels, without mean and length."""
    reach = (_SIDE - 1) * step
    around = functional.pad(blur(grey, step), (reach // 2, reach - reach // 2) * 2, mode="replicate")
    cells = functional.unfold(around, _SIDE, dilation=step, stride=_CELL)[0]
    cells = functional.normalize(cells - cells.mean(dim=0), dim=0) * 0.5**0.5
    return cells.view(_SIDE**2, (grey.shape[2] - 1) // _CELL + 1, -1)


def blur(image, sigma):
    reach = 3 * sigma
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    image = functional.pad(image, (reach,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(image, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
