"""The weights of LightGlue as they are published: parameters by name, to be loaded and then rearranged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

DIM = 256
HEADS = 4
LAYERS = 9


class PublishedLightGlue(nn.Module):
    """Parameters of LightGlue for descriptors and positions of the given lengths; ``LightGlueNetwork`` computes."""

    def __init__(self, descriptor_dim: int, position_dim: int = 2) -> None:
        super().__init__()
        self.input_proj = nn.Linear(descriptor_dim, DIM) if descriptor_dim != DIM else nn.Identity()
        self.posenc = _Encoding(position_dim)
        self.transformers = nn.ModuleList(PublishedLayer() for _ in range(LAYERS))
        self.log_assignment = nn.ModuleList(PublishedAssignment() for _ in range(LAYERS))
        self.token_confidence = nn.ModuleList(_Token() for _ in range(LAYERS - 1))

    @property
    def layers(self) -> Sequence[PublishedLayer]:
        """The transformer's layers."""
        return cast(Sequence[PublishedLayer], self.transformers)

    @property
    def assignments(self) -> Sequence[PublishedAssignment]:
        """A matching head for every layer."""
        return cast(Sequence[PublishedAssignment], self.log_assignment)

    @property
    def tokens(self) -> list[nn.Sequential]:
        """After every layer but the last, the head that estimates the confidence of a point."""
        return [cast(_Token, head).token for head in self.token_confidence]


class PublishedLayer(nn.Module):
    """Attention within an image, then between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = PublishedSelfAttention()
        self.cross_attn = PublishedCrossAttention()


class PublishedSelfAttention(nn.Module):
    """Rows of ``Wqkv`` run over head, channel, and query, key, value as the fastest."""

    def __init__(self) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(DIM, 3 * DIM)
        self.out_proj = nn.Linear(DIM, DIM)
        self.ffn = _feed_forward()


class PublishedCrossAttention(nn.Module):
    """``to_qk`` serves both as query and as key."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qk = nn.Linear(DIM, DIM)
        self.to_v = nn.Linear(DIM, DIM)
        self.to_out = nn.Linear(DIM, DIM)
        self.ffn = _feed_forward()


class PublishedAssignment(nn.Module):
    """Matching head after one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(DIM, 1)
        self.final_proj = nn.Linear(DIM, DIM)


class _Encoding(nn.Module):
    def __init__(self, position_dim: int) -> None:
        super().__init__()
        self.Wr = nn.Linear(position_dim, DIM // HEADS // 2, bias=False)


class _Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Sequential(nn.Linear(DIM, 1), nn.Sigmoid())


def _feed_forward() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.LayerNorm(2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))
