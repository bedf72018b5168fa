"""The anchor engine stage by stage on the real places, beside stock hloc where it is installed.

Run: python -m benchmarks.anchor.stages --data ../shared/data --markdown results/anchor.md
With ``--keypoints 1024 --top-k 10`` maps and images have so many, and so many map images are matched.
One map alone: python -m benchmarks.anchor.one_map (the same code). Each place is measured in its own process, for its
memory. Compare several runs: machines are noisy.
"""

import argparse
import importlib.util
from pathlib import Path

import yaml

from benchmarks.anchor import stock_hloc
from benchmarks.anchor.timing import STAGES
from benchmarks.places import Place, real_places
from benchmarks.program import add_device, add_folders, new_parser, run_module
from benchmarks.results_file import Figures, read_json, table, write_section
from visloc_ros.evaluation.machine import provenance

SECTION = "Stages of an anchor"


def main() -> None:
    """Measure every place, and write the tables."""
    arguments = parse_arguments()
    places = real_places(arguments.data)
    reports = {place.name: bench(place, other, arguments) for place, other in zip(places, places[::-1], strict=True)}
    write_section(arguments.markdown, title_of(arguments), provenance(), stages_table(reports))
    if importlib.util.find_spec("hloc") is None:
        print("stock hloc is not installed: no comparison")
        return
    write_section(
        arguments.markdown, stock_hloc.SECTION, provenance(), stock_hloc.as_markdown(compare_with_hloc(arguments))
    )


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = new_parser(__doc__)
    add_folders(parser, "out/anchor", "maps and figures")
    parser.add_argument("--keypoints", type=int, help="keypoints of every image; otherwise the default")
    parser.add_argument("--top-k", type=int, help="map images matched at most; otherwise the default")
    parser.add_argument("--max-frames", type=int, default=50, help="frames measured of each place")
    add_device(parser)
    parser.add_argument("--markdown", type=Path, help="results file to write the tables into")
    parser.add_argument("--hloc-json", type=Path, help="file for all figures of the comparison with stock hloc")
    return parser.parse_args()


def title_of(arguments: argparse.Namespace) -> str:
    """Title of the section of the results file."""
    sizes = [f"{count} keypoints" for count in [arguments.keypoints] if count]
    sizes += [f"{count} map images" for count in [arguments.top_k] if count]
    return ", ".join([SECTION, *sizes])


def write_options(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Files with the options of the map and of the engine."""
    features = {"features": {"max_keypoints": arguments.keypoints}} if arguments.keypoints else {}
    engine = features | ({"top_k": arguments.top_k} if arguments.top_k else {})
    arguments.work.mkdir(parents=True, exist_ok=True)
    files = arguments.work / "map.yaml", arguments.work / "engine.yaml"
    for file, options in zip(files, (features, engine), strict=True):
        file.write_text(yaml.safe_dump(options), encoding="utf-8")
    return files


def bench(place: Place, other: Place, arguments: argparse.Namespace) -> Figures:
    """``benchmarks.anchor.one_map`` on one place; the frames are those that the other benchmarks search for, too.

    Frames of the other place are to be refused.
    """
    of_map, of_engine = write_options(arguments)
    place.open_map(arguments.work / "maps", of_map)
    json_file = arguments.work / f"{place.name}.json"
    options = [
        f"--map={arguments.work / 'maps' / place.name}",
        f"--source={place.query_folder}",
        f"--first={place.queries.first}",
        f"--fps={place.query_fps:g}",
        f"--max-frames={arguments.max_frames}",
        f"--elsewhere={other.query_folder}",
        f"--config={of_engine}",
        "--with-prior",
        f"--json={json_file}",
    ]
    if arguments.device:
        options.append(f"--device={arguments.device}")
    run_module("benchmarks.anchor.one_map", *options)
    return read_json(json_file)


def stages_table(reports: dict[str, Figures]) -> str:
    """The stages of all places, and their results."""
    ways = {
        f"{name}, {way}": summary
        for name, report in reports.items()
        for way, summary in (
            ("without a prediction", report),
            ("with one", report["with_prior"]),
        )
    }
    rows = [[words, *(cell(one["stage_ms"].get(stage)) for one in ways.values())] for stage, words in STAGES.items()]
    rows.append(["**total**", *(cell(one["total_ms"]) for one in ways.values())])
    rows.append(["total, 95 % within", *(cell(one["total_ms"], "p95") for one in ways.values())])
    outcomes = "\n".join(f"- {way}: {outcome(summary)}" for way, summary in ways.items())
    elsewhere = ", ".join(f"{one['accepted']} of {one['frames']}" for one in (r["elsewhere"] for r in reports.values()))
    outcomes += f"\n- images of another place: {elsewhere} found"
    return f"{table(['median ms', *ways], rows)}\n\n{outcomes}"


def cell(spread: Figures | None, share: str = "p50") -> str:
    """A percentile; empty where the stage does not belong to the way."""
    return f"{spread[share]:.1f}" if spread else ""


def outcome(summary: Figures) -> str:
    """How many were found, and how far off."""
    found = f"{summary['accepted']} of {summary['frames']} found"
    position, rotation = summary["position_error_m"], summary["rotation_error_deg"]
    if position is None:
        return found
    return (
        f"{found}; median {100 * position['median']:.2f} cm / {rotation['median']:.2f}°, "
        f"largest {100 * position['max']:.2f} cm / {rotation['max']:.2f}°; "
        f"{summary['within_5cm_5deg_percent']:.0f} % within 5 cm and 5°"
    )


def compare_with_hloc(arguments: argparse.Namespace) -> Figures:
    """``benchmarks.anchor.stock_hloc`` on its 25 queries of the red kitchen."""
    kitchen = real_places(arguments.data)[0]
    json_file = arguments.hloc_json or arguments.work / "stock_hloc.json"
    options = [f"--map={arguments.work / 'maps' / kitchen.name}", f"--source={kitchen.query_folder}"]
    run_module("benchmarks.anchor.stock_hloc", *options, f"--json={json_file}")
    return read_json(json_file)


if __name__ == "__main__":
    main()
