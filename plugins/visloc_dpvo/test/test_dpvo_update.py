"""The update operator against its description, edge by edge and group by group."""

import itertools

import pytest
import torch
from dpvo_golden import golden_network, neighbours
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visloc_dpvo import edge_groups
from visloc_dpvo.edge_groups import EdgeGroups

FRAMES, PATCHES = 4, 3
edge_lists = st.lists(st.tuples(st.integers(0, FRAMES * PATCHES - 1), st.integers(0, FRAMES - 1)), max_size=40)


def indices(edges: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Source frames, target frames and patches."""
    kk, jj = torch.tensor(edges, dtype=torch.long).view(-1, 2).T
    return kk // PATCHES, jj, kk


def brute_force_neighbours(kk: Tensor, jj: Tensor) -> tuple[list[int], list[int]]:
    before, after = [-1] * len(kk), [-1] * len(kk)
    for patch in set(kk.tolist()):
        own = sorted((e for e in range(len(kk)) if kk[e] == patch), key=lambda e: int(jj[e]))
        for first, second in itertools.pairwise(own):
            before[second], after[first] = first, second
    return before, after


@given(edge_lists)
@settings(max_examples=60, deadline=None)
def test_neighbours_are_the_next_targets_of_the_same_patch(edges):
    ii, jj, kk = indices(edges)
    before, after = neighbours(ii, jj, kk)
    assert (before.tolist(), after.tolist()) == brute_force_neighbours(kk, jj)


@given(edge_lists, st.sampled_from([1, 5, 1000]))
@settings(max_examples=60, deadline=None)
def test_pieces_are_whole_groups_and_hold_every_edge_once(edges, size):
    ii, jj, kk = indices(edges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_groups, "_EDGES_AT_A_TIME", size)
        groups = EdgeGroups.of(ii, jj, kk)
    pairs = ii * FRAMES + jj
    for pieces, keys in ((groups.patches, kk), (groups.pairs, pairs)):
        together = [edge for piece in pieces for edge in piece.edges.tolist()]
        assert sorted(together) == list(range(len(edges)))
        for piece in pieces:
            own = keys[piece.edges]
            for members, present in zip(piece.members, piece.present, strict=True):
                (key,) = set(own[members[present]].tolist())
                assert present.sum() == (keys == key).sum()


def by_the_book(operator, net: Tensor, inp: Tensor, corr: Tensor, ii: Tensor, jj: Tensor, kk: Tensor):
    """The update operator (Teed et al. 2023), step by step."""
    before, after = (torch.tensor(side) for side in brute_force_neighbours(kk, jj))
    net = operator.norm(net + inp + operator.corr(corr))
    net = net + operator.c1((before >= 0)[:, None] * net[before])
    net = net + operator.c2((after >= 0)[:, None] * net[after])
    net = net + group_by_group(operator.agg_kk, net, kk)
    net = net + group_by_group(operator.agg_ij, net, ii * 12345 + jj)
    net = operator.gru(net)
    return net, operator.d(net), operator.w(net)


def group_by_group(aggregation, net: Tensor, keys: Tensor) -> Tensor:
    message = torch.empty_like(net)
    for key in set(keys.tolist()):
        own = net[keys == key]
        message[keys == key] = aggregation.h((aggregation.g(own).softmax(0) * aggregation.f(own)).sum(0))
    return message


@pytest.fixture(scope="module")
def operator():
    return golden_network().update


@pytest.fixture(scope="module")
def edges():
    """Thirty edges in no order, one of them twice, and a state, context and correlation of each."""
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(0, FRAMES * PATCHES, (30,), generator=generator)
    targets = torch.randint(0, FRAMES, (30,), generator=generator)
    ii, jj, kk = indices([*zip(drawn.tolist(), targets.tolist(), strict=True), (int(drawn[4]), int(targets[4]))])
    inputs = [torch.randn(31, size, generator=generator) for size in (384, 384, 882)]
    return *inputs, ii, jj, kk


@pytest.mark.parametrize("size", [2048, 7])
@torch.inference_mode()
def test_an_update_is_the_one_of_the_book(operator, edges, size, monkeypatch):
    monkeypatch.setattr(edge_groups, "_EDGES_AT_A_TIME", size)
    ours = operator(*edges)
    for mine, expected in zip(ours, by_the_book(operator, *edges), strict=True):
        assert torch.allclose(mine, expected, rtol=1e-5, atol=2e-5)


@torch.inference_mode()
def test_the_order_of_different_edges_does_not_matter(operator, edges):
    _, jj, kk = (index.tolist() for index in edges[3:])
    different = list({pair: edge for edge, pair in enumerate(zip(kk, jj, strict=True))}.values())
    edges = [part[different] for part in edges]
    order = torch.randperm(len(different), generator=torch.Generator().manual_seed(1))
    shuffled = operator(*(part[order] for part in edges))
    for mine, expected in zip(shuffled, operator(*edges), strict=True):
        assert torch.allclose(mine, expected[order], rtol=1e-5, atol=2e-5)


@torch.inference_mode()
def test_large_scores_do_not_overflow(operator, edges):
    piece = EdgeGroups.of(*edges[3:]).patches[0]
    values = edges[0][piece.edges]
    sums = piece.softmax_sum(values + 1e4, values)
    assert torch.allclose(sums, piece.softmax_sum(values, values), atol=1e-3)
    assert torch.isfinite(sums).all()


@torch.inference_mode()
def test_no_edges_give_nothing(operator):
    none = torch.zeros(0, dtype=torch.long)
    net, delta, weight = operator(torch.zeros(0, 384), torch.zeros(0, 384), torch.zeros(0, 882), none, none, none)
    assert (net.shape, delta.shape, weight.shape) == ((0, 384), (0, 2), (0, 2))


@torch.inference_mode()
def test_half_precision_stays_near_and_gives_float32(edges):
    operator = golden_network().update
    exact = operator(*edges)
    operator.set_precision(torch.bfloat16)
    assert operator.c1[0].weight.dtype is torch.bfloat16
    assert operator.norm.weight.dtype is operator.d[1].weight.dtype is torch.float32
    rough = operator(*edges)
    assert all(part.dtype is torch.float32 for part in rough)
    assert 0 < (rough[1] - exact[1]).abs().median() < 0.05 * exact[1].abs().median()
    assert (rough[2] - exact[2]).abs().median() < 0.01


def test_the_operator_is_one_graph(operator, edges):
    """What a compiler sees has no break and no number read back, once the groups are known."""
    compiled = torch.compile(operator.step, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        assert torch.allclose(compiled(*edges[:3], EdgeGroups.of(*edges[3:]))[1], operator(*edges)[1], atol=1e-5)
