"""The data sets with a protocol, by their names on the command line, and published figures to compare ours with.

hloc (Sarlin et al., CVPR 2019), Active Search, SIFT, SuperPoint, D2-Net and FUSELOC are as Nguyen et al. (arXiv
2408.12037) and their repository list them; LBR is Xue et al., CVPR 2022, and SFD2 Xue et al., CVPR 2023, as their
repositories do; LBR's has two rows of each, "cvpr" and "post-cvpr", and does not say what changed between them. LBR
and SFD2 searched the rear camera of the first RobotCar Seasons. PRAM's repository gives
none. The source does not say whether FUSELOC's medians on Cambridge Landmarks are with a global descriptor.
Medians of hloc, and of Active Search and DSAC* beside it, are as hloc's repository lists them, in whole centimetres;
on 7-Scenes against the poses the data set came with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.errors import ConfigError
from visloc_ros.evaluation.benchmarks import aachen, cambridge, extended_cmu, robotcar, seven_scenes, twelve_scenes
from visloc_ros.evaluation.benchmarks.scene import BenchmarkScene

_FUSELOC, _LBR, _SFD2, _HLOC = "arXiv 2408.12037", "CVPR 2022", "CVPR 2023", "hloc's repository"
_LATER_LBR = "LBR's repository"


@dataclass(frozen=True)
class DataSet:
    """A data set: its title, and the reader of the scenes in a folder (of all where none is named)."""

    title: str
    read: Callable[[Path, Sequence[str]], list[BenchmarkScene]]


DATA_SETS = {
    "7scenes": DataSet(seven_scenes.TITLE, seven_scenes.read_seven_scenes),
    "12scenes": DataSet(twelve_scenes.TITLE, twelve_scenes.read_twelve_scenes),
    "cambridge": DataSet(cambridge.TITLE, cambridge.read_cambridge),
    "aachen": DataSet(aachen.TITLE, aachen.read_aachen),
    "robotcar": DataSet(robotcar.TITLE, robotcar.read_robotcar),
    "cmu": DataSet(extended_cmu.TITLE, extended_cmu.read_extended_cmu),
}


def find_data_set(name: str) -> DataSet:
    """The data set of a name. Raises ConfigError."""
    if name not in DATA_SETS:
        raise ConfigError(f"there is no protocol for a data set '{name}'; there are {', '.join(DATA_SETS)}")
    return DATA_SETS[name]


@dataclass(frozen=True)
class Published:
    """The figures of a method, by condition or scene.

    ``recalls`` are percentages within the data set's thresholds, ``medians_cm`` median errors of the position.
    """

    data_set: str
    method: str
    source: str
    recalls: Mapping[str, tuple[float, float, float]]
    medians_cm: Mapping[str, float]


def _recalls(data_set: str, method: str, source: str, **by_condition: tuple[float, float, float]) -> Published:
    return Published(data_set, method, source, {name.replace("_", "-"): of for name, of in by_condition.items()}, {})


def _cambridge(method: str, source: str, *medians_cm: float) -> Published:
    return Published("cambridge", method, source, {}, dict(zip(cambridge.SCENES, medians_cm, strict=True)))


def _seven_scenes(method: str, source: str, *medians_cm: float) -> Published:
    return Published("7scenes", method, source, {}, dict(zip(seven_scenes.SCENES, medians_cm, strict=True)))


PUBLISHED = (
    _recalls("aachen", "hloc", _FUSELOC, day=(89.8, 96.1, 99.4), night=(77.0, 90.6, 100.0)),
    _recalls("aachen", "hloc, MegaLoc", _FUSELOC, day=(90.5, 97.3, 99.8), night=(77.5, 92.7, 100.0)),
    _recalls("aachen", "LBR, cvpr", _LBR, day=(89.1, 96.1, 99.3), night=(77.0, 90.1, 99.5)),
    _recalls("aachen", "LBR, post-cvpr", _LATER_LBR, day=(88.8, 95.8, 99.2), night=(75.4, 91.6, 100.0)),
    _recalls("aachen", "SFD2", _SFD2, day=(88.2, 96.0, 98.7), night=(78.0, 92.1, 99.5)),
    _recalls("aachen", "FUSELOC, D2-Net and SALAD", _FUSELOC, day=(86.3, 91.5, 97.3), night=(69.6, 85.9, 93.7)),
    _recalls("aachen", "D2-Net alone", _FUSELOC, day=(84.0, 89.2, 94.8), night=(61.3, 71.7, 80.6)),
    _recalls("aachen", "SuperPoint alone", _FUSELOC, day=(84.5, 91.5, 95.8), night=(50.3, 63.9, 75.4)),
    _recalls("robotcar", "hloc", _FUSELOC, all_day=(64.8, 94.5, 99.9), all_night=(39.2, 80.0, 92.3)),
    _recalls("robotcar", "hloc, MegaLoc", _FUSELOC, all_day=(66.6, 95.4, 100.0), all_night=(51.5, 90.0, 100.0)),
    _recalls(
        "robotcar", "FUSELOC, D2-Net and SALAD", _FUSELOC, all_day=(61.1, 93.1, 100.0), all_night=(32.9, 80.9, 99.1)
    ),
    _recalls("robotcar", "LBR, cvpr (first Seasons)", _LBR, night=(24.9, 62.3, 86.1), night_rain=(47.5, 73.4, 90.0)),
    _recalls(
        "robotcar",
        "LBR, post-cvpr (first Seasons)",
        _LATER_LBR,
        night=(28.1, 66.9, 91.8),
        night_rain=(46.1, 73.6, 92.5),
    ),
    _recalls("robotcar", "SFD2 (first Seasons)", _SFD2, night=(27.6, 66.2, 90.2), night_rain=(43.0, 71.1, 90.0)),
    _recalls("cmu", "hloc", _FUSELOC, urban=(95.5, 98.6, 99.3), suburban=(90.9, 94.2, 97.1), park=(85.7, 89.0, 91.6)),
    _recalls(
        "cmu",
        "FUSELOC, D2-Net and SALAD",
        _FUSELOC,
        urban=(91.1, 96.4, 99.0),
        suburban=(92.2, 96.1, 99.5),
        park=(82.2, 88.4, 95.4),
    ),
    _recalls(
        "cmu",
        "Active Search",
        _FUSELOC,
        urban=(81.0, 87.3, 92.4),
        suburban=(62.6, 70.9, 81.0),
        park=(45.5, 51.6, 62.0),
    ),
    _cambridge("hloc, SuperPoint and SuperGlue", _HLOC, 17, 12, 14, 4, 7),
    _cambridge("FUSELOC, SIFT", _FUSELOC, 23.4, 10.4, 13.3, 4.2, 6.8),
    _cambridge("FUSELOC, SuperPoint", _FUSELOC, 28.0, 10.7, 15.1, 4.1, 7.2),
    _cambridge("Active Search", _HLOC, 24, 13, 20, 4, 8),
    _cambridge("DSAC*", _HLOC, 49, 15, 21, 5, 13),
    _seven_scenes("hloc, SuperPoint and SuperGlue", _HLOC, 2, 2, 1, 3, 5, 4, 5),
    _seven_scenes("hloc, with depth images", _HLOC, 2, 2, 1, 3, 4, 3, 4),
    _seven_scenes("Active Search", _HLOC, 3, 2, 1, 4, 7, 5, 4),
    _seven_scenes("DSAC*", _HLOC, 2, 2, 1, 3, 4, 4, 3),
)


def published_for(data_set: str) -> list[Published]:
    """The published figures for a data set; none for some."""
    return [one for one in PUBLISHED if one.data_set == data_set]
