"""Public recordings with true poses in layouts that this package reads: their addresses, sizes and licences.

Their publishers state no checksums. Several public repositories that pin the files agree on those given here (one for
tum-fr1-rpy); where none was found, the checksum of the first download is recorded, and later downloads are compared
with it. EuRoC is left out because its sequences are now published as parts of archives of 13 GB, behind a page, and
KITTI because its smallest archive of images has 22 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

_TUM = "https://cvg.cit.tum.de/rgbd/dataset/freiburg1/"
_SEVEN_SCENES = "https://download.microsoft.com/download/2/8/5/28564B23-0828-408F-8631-23B1EFF1DAC8/"
_NON_COMMERCIAL = "Microsoft Research, for non-commercial use only"


@dataclass(frozen=True)
class DataSet:
    """One archive; no ``sha256`` and no ``size`` in bytes where they are not known."""

    name: str
    url: str
    licence: str
    what: str
    sha256: str = ""
    size: int = 0

    @property
    def file(self) -> str:
        """Name of the archive."""
        return self.url.rpartition("/")[2]


DATA_SETS = (
    DataSet(
        "tum-fr1-xyz",
        f"{_TUM}rgbd_dataset_freiburg1_xyz.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 30 s along the axes in front of a desk",
        "a0236d97b8c30cd93b653656d2b6c293ff7c982a4130ef2a1a8beecdb124ef98",
        448_204_271,
    ),
    DataSet(
        "tum-fr1-rpy",
        f"{_TUM}rgbd_dataset_freiburg1_rpy.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 28 s of turns in front of a desk",
        "78103722a25873dbbb4de027eaa8c810a6382100691f02b6cf95c3adc91c4ac1",
        410_268_381,
    ),
    DataSet(
        "tum-fr1-desk",
        f"{_TUM}rgbd_dataset_freiburg1_desk.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 23 s over four desks",
        "e983d6830916e66dc4a46a71368046b149b283de87769690e7aa4e0b9483530c",
        344_011_403,
    ),
    DataSet("7scenes-heads", f"{_SEVEN_SCENES}heads.zip", _NON_COMMERCIAL, "7-Scenes: 2 sequences"),
    DataSet("7scenes-redkitchen", f"{_SEVEN_SCENES}redkitchen.zip", _NON_COMMERCIAL, "7-Scenes: 14 sequences"),
)
