"""How many bent models of the global mapper are cut, and how exact the parts are: walks whose images overlap little.

Run: python -m benchmarks.mapping.bent_maps --scenes 40 --markdown results/map_size.md

Each walk (benchmarks/mapping/weak_walks.py) is mapped globally. Errors are those of positions after alignment to the
truth, as a share of the walk's extent; of parts, each for itself. A model is bent where the largest is above 2 %.
"""

from collections.abc import Iterator, Sequence
from unittest.mock import patch

import numpy as np

from benchmarks.mapping.mappers import position_errors
from benchmarks.mapping.weak_walks import WeakWalk
from benchmarks.program import add_outputs, new_parser
from benchmarks.results_file import Figures, table, write_outputs
from visloc_ros.core.errors import MapError
from visloc_ros.evaluation.machine import provenance
from visloc_ros.mapping import mappers
from visloc_ros.mapping.components import Component
from visloc_ros.mapping.config import ReconstructionConfig
from visloc_ros.mapping.reconstruction import reconstruct_components

BENT = 0.02
CONFIG = ReconstructionConfig(mapper="global", threads=1)
HEADER = (
    "largest models",
    "number",
    "cut",
    "largest error: median",
    "worst",
    "of the largest part: median",
    "worst",
    "images in it",
)


def main() -> None:
    """Map every walk with and without the cut, and write the table."""
    parser = new_parser(__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    add_outputs(parser)
    arguments = parser.parse_args()
    rows: list[Figures] = []
    for seed in range(arguments.scenes):
        rows.append(measure(seed))
        print(rows[-1], flush=True)
        body = table(HEADER, list(table_rows(rows)))
        write_outputs(arguments, "Bent models", {**provenance(), "rows": rows}, body)


def measure(seed: int) -> Figures:
    """Largest error of the largest model, whole and cut, as a share of the extent; zeros where nothing is mapped."""
    scene = WeakWalk(seed).scene
    extent = float(np.linalg.norm(np.ptp(np.array(list(scene.truth.values())), axis=0)))

    def largest() -> Component:
        return reconstruct_components(scene.views, scene.matches, CONFIG)[0]

    try:
        with patch.object(mappers, "_rigid_parts", lambda model, *_: [model]):
            whole = largest()
        part = largest()
    except MapError:
        return {"seed": seed, "whole": 0.0, "part": 0.0, "images": 0, "held": 0}
    errors = {name: position_errors(scene, one) for name, one in (("whole", whole), ("part", part))}
    shares = {name: float(one.max(initial=0.0)) / extent for name, one in errors.items()}
    return {"seed": seed, **shares, "images": whole.size[0], "held": part.size[0]}


def table_rows(rows: Sequence[Figures]) -> Iterator[list[str]]:
    """A line for the walks whose models are right, and one for those whose are bent."""
    mapped = [row for row in rows if row["images"]]
    for name, is_bent in (("right", False), ("bent", True)):
        group = [row for row in mapped if (row["whole"] > BENT) == is_bent]
        if group:
            yield table_row(name, group)


def table_row(name: str, group: Sequence[Figures]) -> list[str]:
    """One line of the table."""
    errors = [100.0 * np.array([row[key] for row in group]) for key in ("whole", "part")]
    figures = [f"{value:.2f} %" for of_one in errors for value in (np.median(of_one), of_one.max())]
    held = sum(row["held"] for row in group) / sum(row["images"] for row in group)
    return [name, str(len(group)), str(sum(row["held"] < row["images"] for row in group)), *figures, f"{held:.0%}"]


if __name__ == "__main__":
    main()
