"""Options of the search by fused descriptors."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.features.config import FeatureConfig

FUSED = "fused"
"""Name of the search, and of its folder in a map."""
SUBSET, ORTHOGONAL, PCA = "subset", "orthogonal", "pca"
REDUCERS = (SUBSET, ORTHOGONAL, PCA)
FLOAT16, INT8 = "float16", "int8"
STORAGES = (FLOAT16, INT8)
AUTO, EXACT, IVF_PQ = "auto", "exact", "ivf_pq"
INDEXES = (AUTO, EXACT, IVF_PQ)
LARGEST_RHO = 2.0
"""Beyond, the look of the whole image decides, and keypoints are matched worse than without it (FUSELOC's tables)."""


@dataclass(frozen=True)
class FusedConfig(Config):
    """Options of fusing the descriptors of a map's points with those of its images, and of the search."""

    rho: float = option(
        0.5, "Weight of the whole image's descriptor over that of the keypoint; 0 leaves it out, 2 is the largest."
    )
    reduce: str = option(
        SUBSET,
        "How descriptors of images get the length of those of keypoints.",
        choices=REDUCERS,
    )
    seed: int = option(0, "Seed of the reduction.", minimum=0, maximum=2**31 - 1)
    smooth: int = option(
        4,
        "How often descriptors of images are averaged over those that show the same points; the paper: 0.",
        minimum=0,
        maximum=100,
    )
    convert: bool = option(True, "Take the descriptors of the most similar map images for that of the query.")
    storage: str = option(FLOAT16, "Numbers in which points are kept; int8 takes half the bytes.", choices=STORAGES)
    index: str = option(AUTO, "How points are found; auto: exact up to 100 000 points, ivf_pq beyond.", choices=INDEXES)
    features: FeatureConfig = section(FeatureConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.rho <= LARGEST_RHO:
            raise ConfigError(
                f"rho = {self.rho:g} is refused: above {LARGEST_RHO:g} the look of the whole image drowns that of the "
                "keypoints, and the search collapses. Choose 0.35 to 0.6, or 0 for keypoints alone"
            )

    @property
    def local_weight(self) -> float:
        """Weight lam of the keypoint's descriptor; that of the image's is what is missing to 1."""
        return 1.0 / (1.0 + self.rho)
