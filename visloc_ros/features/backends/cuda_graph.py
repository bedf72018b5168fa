"""Work of many small GPU kernels, which take longer to launch than to run: a CUDA graph launches all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
_WARM_UP_RUNS = 3  # libraries choose their kernels and take their memory in the first ones

# One thread captures at a time: a capture begins by waiting for the whole GPU, which breaks that of another thread, and
# torch gives its few streams to several threads, so that one could warm up on a stream that another one captures.
_capturing = threading.Lock()


@dataclass(frozen=True)
class CapturedGraph:
    """A graph, and the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    inputs: Outputs
    outputs: Outputs

    @staticmethod
    def of(
        run: Callable[..., Outputs], examples: Outputs, pool: Any = None, warm_up_runs: int = _WARM_UP_RUNS
    ) -> CapturedGraph:
        """Capture what ``run`` does with inputs like ``examples``; graphs of one memory pool must not run side by side.

        ``run`` must not wait for the GPU, and finds all else that it reads or writes at the same place every time.
        """
        inputs = tuple(example.clone(memory_format=torch.contiguous_format) for example in examples)
        graph = torch.cuda.CUDAGraph()
        with _capturing:
            if warm_up_runs:
                _warm_up(run, inputs, warm_up_runs)
            with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):  # other threads go on meanwhile
                outputs = run(*inputs)
        return CapturedGraph(graph, inputs, outputs)

    def replay(self, *inputs: Tensor) -> Outputs:
        """Run again with other inputs of the same shapes; the next run overwrites what is given out."""
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.outputs


def _warm_up(run: Callable[..., Outputs], inputs: Outputs, runs: int) -> None:
    device = inputs[0].device
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(runs):
            run(*inputs)
    torch.cuda.current_stream(device).wait_stream(stream)


class GraphsByKey:
    """Captures what is run again with the same key, which stands for the shapes of its inputs and all settings."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[Hashable, CapturedGraph] = {}
        self._seen: set[Hashable] = set()
        self._lock = threading.Lock()  # graphs share their memory, and so would threads

    def run(self, key: Hashable, run: Callable[..., Outputs], *inputs: Tensor) -> Outputs:
        """What ``run`` gives, in main memory; beyond the ``most`` graphs, others are run without one."""
        with self._lock:
            return tuple(output.cpu() for output in self._outputs(key, run, inputs))

    def _outputs(self, key: Hashable, run: Callable[..., Outputs], inputs: Outputs) -> Outputs:
        if key not in self._captured:
            if key not in self._seen or len(self._captured) >= self._most:
                self._seen.add(key)
                return run(*inputs)
            self._captured[key] = CapturedGraph.of(run, inputs, self._pool)
        return self._captured[key].replay(*inputs)
