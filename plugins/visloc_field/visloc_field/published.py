"""Published figures to compare ours with.

hloc (Sarlin et al., CVPR 2019), Active Search, SIFT, SuperPoint, D2-Net and FUSELOC are as Nguyen et al. (arXiv
2408.12037) and their repository list them; LBR is Xue et al., CVPR 2022, and SFD2 Xue et al., CVPR 2023, as their
repositories do; LBR's has two rows of each, "cvpr" and "post-cvpr", and does not say what changed between them. LBR
and SFD2 searched the rear camera of the first RobotCar Seasons. PRAM's repository gives
none. The source does not say whether FUSELOC's medians on Cambridge Landmarks are with a global descriptor.
Medians of hloc, and of Active Search and DSAC* beside it, are as hloc's repository lists them, in whole centimetres;
on 7-Scenes against the poses the data set came with. PixLoc (Sarlin et al., CVPR 2021; on RobotCar as SFD2's paper has
it), LoFTR (Sun et al., CVPR 2021), ACE (Brachmann et al., CVPR 2023) and STDLoc (Huang et al., CVPR 2025) are as their
papers list them.

Of odometry and SLAM the root mean square of position errors after an alignment with scale (ATE) of one camera:
ORB-SLAM3 by Campos et al., T-RO 2021; DROID-SLAM, and DROID-VO without its global adjustment, by Teed and Deng, NeurIPS
2021, but DROID-VO on TUM RGB-D and KITTI by the authors of the two others; DPVO by Teed et al., NeurIPS 2023; DPV-SLAM,
and all on KITTI, by Lipson et al., ECCV 2024. ORB-SLAM3 lost track on what is left out. DPVO's figures on EuRoC agree
with the log of five runs in its repository; its log of TUM RGB-D has others than the paper, on average 0.093 m.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from visloc_field import cambridge, seven_scenes

_FUSELOC, _LBR, _SFD2, _HLOC = "arXiv 2408.12037", "CVPR 2022", "CVPR 2023", "hloc's repository"
_LATER_LBR = "LBR's repository"
_PIXLOC, _ACE = "Sarlin et al., CVPR 2021", "Brachmann et al., CVPR 2023"
_LOFTR, _STDLOC = "Sun et al., CVPR 2021", "Huang et al., CVPR 2025"
_ORB, _DROID, _DPVO = "Campos et al., T-RO 2021", "Teed and Deng, NeurIPS 2021", "Teed et al., NeurIPS 2023"
_DPV_SLAM = "Lipson et al., ECCV 2024"


@dataclass(frozen=True)
class Published:
    """The figures of a method, by condition or scene.

    ``recalls`` are percentages within the data set's thresholds, ``medians_cm`` median errors of the position, and
    ``ate_m`` root mean squares of the position's errors after an alignment with scale.
    """

    data_set: str
    method: str
    source: str
    recalls: Mapping[str, tuple[float, float, float]]
    medians_cm: Mapping[str, float]
    ate_m: Mapping[str, float] = field(default_factory=dict)


def _recalls(data_set: str, method: str, source: str, **by_condition: tuple[float, float, float]) -> Published:
    return Published(data_set, method, source, {name.replace("_", "-"): of for name, of in by_condition.items()}, {})


def _cambridge(method: str, source: str, *medians_cm: float) -> Published:
    return Published("cambridge", method, source, {}, dict(zip(cambridge.SCENES, medians_cm, strict=True)))


def _seven_scenes(method: str, source: str, *medians_cm: float) -> Published:
    return Published("7scenes", method, source, {}, dict(zip(seven_scenes.SCENES, medians_cm, strict=True)))


EUROC = ("MH_01", "MH_02", "MH_03", "MH_04", "MH_05", "V1_01", "V1_02", "V1_03", "V2_01", "V2_02", "V2_03")
KITTI = tuple(f"{number:02d}" for number in range(11))
TUM = tuple(f"fr1_{name}" for name in ("360", "desk", "desk2", "floor", "plant", "room", "rpy", "teddy", "xyz"))


def _ate(data_set: str, method: str, source: str, *ate_m: float | None) -> Published:
    """Figures of all sequences of a data set in their order; None where the method lost track."""
    names = {"euroc": EUROC, "kitti": KITTI, "tum": TUM}[data_set]
    known = {name: value for name, value in zip(names, ate_m, strict=True) if value is not None}
    return Published(data_set, method, source, {}, {}, known)


PUBLISHED = (
    _recalls("aachen", "hloc", _FUSELOC, day=(89.8, 96.1, 99.4), night=(77.0, 90.6, 100.0)),
    _recalls("aachen", "hloc, MegaLoc", _FUSELOC, day=(90.5, 97.3, 99.8), night=(77.5, 92.7, 100.0)),
    _recalls("aachen", "LBR, cvpr", _LBR, day=(89.1, 96.1, 99.3), night=(77.0, 90.1, 99.5)),
    _recalls("aachen", "LBR, post-cvpr", _LATER_LBR, day=(88.8, 95.8, 99.2), night=(75.4, 91.6, 100.0)),
    _recalls("aachen", "SFD2", _SFD2, day=(88.2, 96.0, 98.7), night=(78.0, 92.1, 99.5)),
    _recalls("aachen", "LoFTR", _LOFTR, day=(88.7, 95.6, 99.0), night=(78.5, 90.6, 99.0)),
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
    _recalls("robotcar", "PixLoc (first Seasons)", _SFD2, night=(24.2, 62.8, 88.4), night_rain=(45.5, 72.5, 90.7)),
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
    _cambridge("PixLoc", _PIXLOC, 30, 14, 16, 5, 10),
    _cambridge("STDLoc", _STDLOC, 15.7, 15.0, 11.9, 3.0, 4.7),
    _cambridge("ACE", _ACE, 43, 28, 31, 5, 18),
    _seven_scenes("PixLoc", _PIXLOC, 2, 2, 1, 3, 4, 3, 5),
    _ate("euroc", "ORB-SLAM3", _ORB, 0.016, 0.027, 0.028, 0.138, 0.072, 0.033, 0.015, 0.033, 0.023, 0.029, None),
    _ate("euroc", "DROID-SLAM", _DROID, 0.013, 0.014, 0.022, 0.043, 0.043, 0.037, 0.012, 0.020, 0.017, 0.013, 0.014),
    _ate("euroc", "DROID-VO", _DROID, 0.163, 0.121, 0.242, 0.399, 0.270, 0.103, 0.165, 0.158, 0.102, 0.115, 0.204),
    _ate("euroc", "DPVO", _DPVO, 0.087, 0.055, 0.158, 0.137, 0.114, 0.050, 0.140, 0.086, 0.057, 0.049, 0.211),
    _ate("kitti", "DROID-VO", _DPV_SLAM, 98.43, 84.20, 108.80, 2.58, 0.93, 59.27, 64.40, 24.20, 64.55, 71.80, 16.91),
    _ate("kitti", "DPVO", _DPV_SLAM, 113.21, 12.69, 123.40, 2.09, 0.68, 58.96, 54.78, 19.26, 115.90, 75.10, 13.63),
    _ate("kitti", "DPV-SLAM", _DPV_SLAM, 112.80, 11.50, 123.53, 2.50, 0.81, 57.80, 54.86, 18.77, 110.49, 76.66, 13.65),
    _ate("kitti", "DPV-SLAM++", _DPV_SLAM, 8.30, 11.86, 39.64, 2.50, 0.78, 5.74, 11.60, 1.52, 110.90, 76.70, 13.70),
    _ate("tum", "DROID-SLAM", _DROID, 0.111, 0.018, 0.042, 0.021, 0.016, 0.049, 0.026, 0.048, 0.012),
    _ate("tum", "DROID-VO", _DPVO, 0.161, 0.028, 0.099, 0.033, 0.028, 0.327, 0.028, 0.169, 0.013),
    _ate("tum", "DPVO", _DPVO, 0.135, 0.038, 0.048, 0.040, 0.036, 0.394, 0.034, 0.064, 0.012),
)


def published_for(data_set: str) -> list[Published]:
    """The published figures for a data set; none for some."""
    return [one for one in PUBLISHED if one.data_set == data_set]


_EUROC_NAME = re.compile(r"(MH|V[12])_?(0[1-5])")
_KITTI_NAME = re.compile(r"(?<!\d)(\d\d)(?!\d)")
_TUM_NAME = re.compile(r"(?:freiburg|fr)([123])_([a-z0-9]+)")


def sequence_name(data_set: str, folder: str) -> str:
    """Name of a sequence in ``Published.ate_m`` by that of its folder; the folder's own where it is none of them."""
    if data_set == "euroc" and (euroc := _EUROC_NAME.search(folder.upper())):
        return f"{euroc[1]}_{euroc[2]}"
    if data_set == "kitti" and (kitti := _KITTI_NAME.search(folder)):
        return kitti[1]
    if data_set == "tum" and (tum := _TUM_NAME.search(folder.lower())):
        return f"fr{tum[1]}_{tum[2]}"
    return folder
