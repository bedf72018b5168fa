"""The whole network under the names of the published state dictionary, and patches cut out of its feature maps."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visloc_dpvo.config import HIDDEN_SIZE, MATCHING_CHANNELS, PATCH_SIDE
from visloc_dpvo.edge_groups import EdgeGroups, Piece

_FEATURE_SCALE = 0.25
_NORM_EPS = 1e-3


class Patchifier(nn.Module):
    """Matching features ``fnet``, normalised per image, and context ``inet``."""

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder(MATCHING_CHANNELS, instance_norm)
        self.inet = Encoder(HIDDEN_SIZE, no_norm)
        self.to(memory_format=torch.channels_last)


class PatchNetwork(nn.Module):
    """Encoders and update operator; 94 tensors with 3,384,324 numbers (Teed et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.patchify = Patchifier()
        self.update = UpdateOperator()

    def set_precision(self, dtype: torch.dtype) -> None:
        """Multiply in ``dtype``: float32, float16 on a GPU, bfloat16 on a CPU that has it.

        Features are given out in that type. Norms, hidden states, corrections and weights stay in float32.
        """
        set_product_type(self.patchify, dtype)
        self.update.set_precision(dtype)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Matching features (128, H/4, W/4) and context (384, H/4, W/4) of a uint8 image (3, H, W), channels BGR.

        Height and width are multiples of 4.
        """
        planes = 2.0 * (image.float() / 255.0) - 0.5
        return _FEATURE_SCALE * self.patchify.fnet(planes), _FEATURE_SCALE * self.patchify.inet(planes)

    def extract(self, fmap: Tensor, imap: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut patches around integer pixels ``centres`` (M, 2) (x, y), at least one pixel away from the border.

        Gives their matching features (M, 128, 3, 3), the context of their centres (M, 384), and patches (M, 3, 3, 3)
        with x, y and an inverse depth of 1.
        """
        columns, rows = _window(centres)
        features = fmap[:, rows, columns].transpose(0, 1)
        context = imap[:, centres[:, 1], centres[:, 0]].T
        shape = len(centres), PATCH_SIDE, PATCH_SIDE
        x, y = columns.expand(shape), rows.expand(shape)
        patches = torch.stack((x, y, torch.ones_like(x)), 1).float()
        return features, context, patches


def _window(centres: Tensor) -> tuple[Tensor, Tensor]:
    """Columns (M, 1, 3) and rows (M, 3, 1) of the pixels around centres (M, 2)."""
    around = torch.arange(PATCH_SIDE, device=centres.device) - PATCH_SIDE // 2
    centres = centres.long()
    return centres[:, :1, None] + around, centres[:, 1:, None] + around[:, None]


Norm = Callable[[Tensor], Tensor]


class Encoder(nn.Module):
    """One image (3, H, W) to features (dim, H/4, W/4), channels last in memory as the convolutions like it best."""

    def __init__(self, dim: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.layer1 = nn.Sequential(ResidualBlock(32, 32, 1, norm), ResidualBlock(32, 32, 1, norm))
        self.layer2 = nn.Sequential(ResidualBlock(32, 64, 2, norm), ResidualBlock(64, 64, 1, norm))
        self.conv2 = nn.Conv2d(64, dim, 1)
        self._norm = norm

    def forward(self, image: Tensor) -> Tensor:
        """Encode in the number type of the weights."""
        batch = image[None].to(self.conv1.weight.dtype).contiguous(memory_format=torch.channels_last)
        x = F.relu(self._norm(self.conv1(batch)), inplace=True)
        features: Tensor = self.conv2(self.layer2(self.layer1(x)))
        return features[0]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; unlike the usual block, the branch too ends in a ReLU before the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride)) if stride != 1 else None
        self._norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Features (1, channels, H/stride, W/stride)."""
        y = F.relu(self._norm(self.conv1(x)), inplace=True)
        y = F.relu(self._norm(self.conv2(y)), inplace=True)
        if self.downsample is not None:
            x = self._norm(self.downsample(x))
        return F.relu(y.add_(x), inplace=True)


def instance_norm(x: Tensor) -> Tensor:
    """Zero mean and unit variance of every channel of one image; its batch norm is that, and is faster."""
    return F.batch_norm(x, None, None, training=True, eps=1e-5)


def no_norm(x: Tensor) -> Tensor:
    """The values as they are."""
    return x


# The recurrent update operator: how far, and how surely, every edge's patch should move in its target frame. Teed et
# al. 2023. Module names are those of the published state dictionary.

CORRELATION = 882  # values of an edge: 7 x 7 offsets of 3 x 3 pixels on two levels


class UpdateOperator(nn.Module):
    """One step of the recurrent network on E edges."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = two_layers(), two_layers()
        self.norm = LayerNorm()
        self.agg_kk, self.agg_ij = SoftAggregation(), SoftAggregation()
        self.gru = nn.Sequential(LayerNorm(), GatedResidual(), LayerNorm(), GatedResidual())
        self.corr = nn.Sequential(
            *(Linear(CORRELATION, HIDDEN_SIZE), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE)),
            *(LayerNorm(), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE)),
        )
        self.d = nn.Sequential(nn.ReLU(), Linear(HIDDEN_SIZE, 2))
        self.w = nn.Sequential(nn.ReLU(), Linear(HIDDEN_SIZE, 2), nn.Sigmoid())

    def set_precision(self, dtype: torch.dtype) -> None:
        """Multiply matrices in ``dtype``; state, norms and what is given out stay in float32."""
        set_product_type(self, dtype)
        set_product_type(self.d, torch.float32)
        set_product_type(self.w, torch.float32)

    def forward(
        self, net: Tensor, inp: Tensor, corr: Tensor, ii: Tensor, jj: Tensor, kk: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New hidden state (E, 384), correction (E, 2) in 1/4-resolution pixels and weight (E, 2) in 0..1, float32.

        ``net`` and ``inp`` (E, 384) are the edges' state and their patches' context, ``corr`` (E, 882) what
        correlation sees.
        """
        return self.step(net, inp, corr, EdgeGroups.of(ii, jj, kk))

    def step(self, net: Tensor, inp: Tensor, corr: Tensor, groups: EdgeGroups) -> tuple[Tensor, Tensor, Tensor]:
        """The same, where it is known which edges exchange messages."""
        state = torch.empty_like(net, dtype=torch.float32)
        for piece in groups.patches:
            net_rows, inp_rows, corr_rows = (part.index_select(0, piece.edges) for part in (net, inp, corr))
            state.index_copy_(0, piece.edges, self._along_patches(net_rows, inp_rows, corr_rows, piece))
        if len(groups.pairs) == 1 and groups.pairs[0].is_block:
            state = self._across_pairs(state, groups.pairs[0])
            visible = F.relu(state)  # both heads begin with it
            return state, self.d[1:](visible), self.w[1:](visible)
        delta, weight = state.new_empty(len(state), 2), state.new_empty(len(state), 2)
        for piece in groups.pairs:
            own = self._across_pairs(state.index_select(0, piece.edges), piece)
            for whole, part in ((state, own), (delta, self.d(own)), (weight, self.w(own))):
                whole.index_copy_(0, piece.edges, part)
        return state, delta, weight

    def _along_patches(self, net: Tensor, inp: Tensor, corr: Tensor, piece: Piece) -> Tensor:
        """Add the correlation, and messages of the neighbours and of all other edges of the same patch."""
        net = self.norm(net + inp + self.corr(corr))
        joined, product_type = piece.joined[:, None], self.agg_kk.f.weight.dtype
        net = net + self.c1(torch.where(joined, net.to(product_type).roll(1, 0), 0.0))
        net = net + self.c2(torch.where(joined.roll(-1, 0), net.to(product_type).roll(-1, 0), 0.0))
        state: Tensor = net + self.agg_kk(net, piece)
        return state

    def _across_pairs(self, net: Tensor, piece: Piece) -> Tensor:
        """Messages of the edges between the same two frames, then the transition to the new state."""
        state: Tensor = self.gru(net + self.agg_ij(net, piece))
        return state


class SoftAggregation(nn.Module):
    """The aggregated message of a group, added to each of its edges."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g, self.h = (Linear(HIDDEN_SIZE, HIDDEN_SIZE) for _ in range(3))

    def forward(self, net: Tensor, piece: Piece) -> Tensor:
        """Message (n, 384) to every edge of the groups."""
        inputs = net.to(self.f.weight.dtype)
        message: Tensor = self.h(piece.softmax_sum(self.g(inputs), self.f(inputs)))
        return message.index_select(0, piece.group)


class Linear(nn.Linear):
    """A matrix product in the number type of the weights, whatever that of the input is."""

    def forward(self, x: Tensor) -> Tensor:
        """Values (..., out) of inputs (..., in)."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class LayerNorm(nn.LayerNorm):
    """Normalisation over the hidden state, always in float32."""

    def __init__(self) -> None:
        super().__init__(HIDDEN_SIZE, eps=_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same shape (..., 384)."""
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)


class GatedResidual(nn.Module):
    """x + sigmoid(gate(x)) * res(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(Linear(HIDDEN_SIZE, HIDDEN_SIZE), nn.Sigmoid())
        self.res = two_layers()

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same shape (..., 384)."""
        inputs = x.to(self.product_type)
        changed: Tensor = x + self.gate(inputs) * self.res(inputs)
        return changed

    @property
    def product_type(self) -> torch.dtype:
        """Number type of the matrix products."""
        return next(self.gate.parameters()).dtype


def two_layers() -> nn.Sequential:
    """Linear, ReLU, Linear."""
    return nn.Sequential(Linear(HIDDEN_SIZE, HIDDEN_SIZE), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE))


def set_product_type(module: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of products (linear, convolution) in ``dtype``; norms stay as they are."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.to(dtype)
