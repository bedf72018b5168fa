"""Graphs of several threads, each with its own, as the workers of a build have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Barrier, Event, get_ident
from typing import Any

import pytest
import torch
from torch import Tensor

from visloc_ros.features.backends.cuda_graph import CapturedGraph, GraphsByKey

THREADS = 8


class OneGpu:
    """Stands for a GPU as CUDA has it: no thread may wait for it, or take its streams, while another one captures."""

    def __init__(self) -> None:
        self.captures_in: int | None = None

    def _touch(self, *_: Any) -> OneGpu:
        if self.captures_in not in (None, get_ident()):
            raise RuntimeError("operation not permitted when stream is capturing")
        return self

    @contextmanager
    def graph(self, *_: Any, **__: Any) -> Iterator[None]:
        self._touch()
        self.captures_in = get_ident()
        yield
        if self.captures_in != get_ident():
            raise RuntimeError("operation failed due to a previous error during capture")
        self.captures_in = None

    def wait_stream(self, _: OneGpu) -> None:
        self._touch()

    Stream = current_stream = _touch


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = OneGpu()
    for name in ("graph", "Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(gpu, name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)


def in_threads(work: Callable[[int, int], Any], sizes: Sequence[int]) -> list[Any]:
    """What every thread gives that does the same at once: a result for each size."""
    begin = Barrier(THREADS)

    def together(thread: int) -> Any:
        begin.wait()
        return [work(thread, size) for size in sizes]

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(together, range(THREADS)))


def test_threads_capture_one_after_the_other(one_gpu):
    def run(one: Tensor) -> tuple[Tensor]:
        Event().wait(1e-3)  # as long as launching kernels takes, in which other threads go on
        return (one.sum(),)

    def capture(thread: int, size: int) -> float:
        return CapturedGraph.of(run, (torch.full((size,), float(thread)),)).outputs[0].item()

    sizes = range(1, 6)
    assert in_threads(capture, sizes) == [[float(thread * size) for size in sizes] for thread in range(THREADS)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_threads_that_capture_at_once_get_their_own_results():
    sizes = range(1, 41)
    graphs = [GraphsByKey(len(sizes)) for _ in range(THREADS)]

    def run(one: Tensor) -> tuple[Tensor]:
        return ((one @ one).sum(),)

    def sums(thread: int, size: int) -> list[float]:
        values = torch.full((size, size), float(thread), device="cuda")
        return [graphs[thread].run(size, run, values)[0].item() for _ in range(3)]  # run, captured, replayed

    for thread, found in enumerate(in_threads(sums, sizes)):
        assert found == [[float(thread**2 * size**3)] * 3 for size in sizes]
