"""Benchmarks of the package: each program is run from the repository root as ``python -m benchmarks.<name>``.

``benchmarks.all`` runs them in order and writes ``results/``, ``benchmarks.gpu`` those that a GPU changes.
"""
