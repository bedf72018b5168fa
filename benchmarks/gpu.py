"""Runs the benchmarks with figures that a GPU changes: networks, anchors, builds.

Run: python -m benchmarks.gpu --data ../shared/data
Tables go to ``results/gpu.md``. Without CUDA it reports that and runs nothing. If a benchmark fails, the others still
run; the end lists the failed ones.
"""

import sys

import torch

from benchmarks.suite import Benchmark, parse_arguments, run_suite

TABLES = ("--device", "cuda", "--markdown", "{results}/gpu.md")
BENCHMARKS = (
    Benchmark("anchor.networks", ("--data", "{data}", *TABLES, "--json", "{results}/networks_gpu.json")),
    Benchmark("anchor.stages", ("--data", "{data}", *TABLES, "--work", "out/anchor_gpu")),
    Benchmark(
        "anchor.stages",
        ("--data", "{data}", *TABLES, "--work", "out/anchor_gpu_1024", "--keypoints", "1024", "--top-k", "10"),
    ),
    Benchmark(
        "mapping.build_time", ("--data", "{data}", "--work", "out/build_time_gpu", "--markdown", "{results}/gpu.md")
    ),
)


def main() -> None:
    """Run the chosen ones on the GPU."""
    arguments = parse_arguments(__doc__, BENCHMARKS)
    if not arguments.list and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA GPU on this machine; benchmarks.all runs everything on the CPU")
    run_suite(BENCHMARKS, arguments)


if __name__ == "__main__":
    main()
