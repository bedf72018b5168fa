"""Options of the ``dpvo`` odometry: the reference's names in lower case. Lengths in pixels say of which resolution.

Frames are those that are kept. A field that is 0 has the value of ``preset``, so a preset can be chosen and changed in
single values at once. Defaults are those published: PATCHES_PER_FRAME 96, BUFFER_SIZE 4096. The reference application's
notes "48 -> 96 (default)" and "256 -> 512" can be read in two ways; all four values are in range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from visloc_ros.core.config import Config, option
from visloc_ros.core.errors import ConfigError

UNLIMITED_WIDTH = 10_000
LOOP_FEATURES = ("aliked-n16", "disk")
START_FRAMES = 8

# Sizes that the published weights fix.


CELL_PX = 4  # image pixels along a cell of the quarter grid, on which features, patches and intrinsics are
PATCH_SIDE = 3  # cells
MATCHING_CHANNELS = 128  # of the features that are correlated
HIDDEN_SIZE = 384  # of the context and of an edge's state

# A smaller image lets the camera see the same motion in fewer pixels: hence the threshold of the cpu preset.
_PRESETS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "default": {
            "patches_per_frame": 96,
            "removal_window": 22,
            "optimization_window": 10,
            "patch_lifetime": 13,
            "keyframe_thresh": 15.0,
            "max_width": UNLIMITED_WIDTH,
        },
        "fast": {
            "patches_per_frame": 48,
            "removal_window": 16,
            "optimization_window": 7,
            "patch_lifetime": 11,
            "keyframe_thresh": 15.0,
            "max_width": UNLIMITED_WIDTH,
        },
        "cpu": {
            "patches_per_frame": 16,
            "removal_window": 10,
            "optimization_window": 7,
            "patch_lifetime": 7,
            "keyframe_thresh": 7.5,
            "max_width": 320,
        },
    }
)


@dataclass(frozen=True)
class DpvoConfig(Config):
    """Everything that can be set about the ``dpvo`` odometry."""

    preset: str = option(
        "default",
        "values of the options that are 0: default and fast as published, cpu for processors without a GPU",
        choices=tuple(_PRESETS),
    )
    patches_per_frame: int = option(
        0,
        "patches of each frame; 0 as preset: 96, 48, 16 (the reference application went from 48 to 96)",
        minimum=0,
        maximum=400,
    )
    buffer_size: int = option(
        4096,
        "frames kept; the oldest half is forgotten when it is full (the reference application had 256, then 512)",
        minimum=64,
        maximum=20_000,
    )
    optimization_window: int = option(
        0, "newest frames whose poses are adjusted; 0 as preset: 10, 7, 7", minimum=0, maximum=100
    )
    patch_lifetime: int = option(
        0, "frames over which a patch is measured, before and after; 0 as preset: 13, 11, 7", minimum=0, maximum=50
    )
    removal_window: int = option(
        0, "age in frames at which a patch is no longer measured; 0 as preset: 22, 16, 10", minimum=0, maximum=150
    )
    keyframe_index: int = option(4, "frame, counted from the newest, that may be dropped", minimum=3, maximum=6)
    keyframe_thresh: float = option(
        0.0,
        "mean flow between its neighbours below which a frame is dropped [px of a quarter of the size]; -1 never, "
        "0 as preset: 15, 15, 7.5",
        minimum=-1.0,
        maximum=1e6,
    )
    motion_model: str = option(
        "DAMPED_LINEAR", "first guess of a pose: the motion goes on, or none", choices=("DAMPED_LINEAR", "NONE")
    )
    motion_damping: float = option(0.5, "part of the last motion that goes on", minimum=0.0, maximum=1.0)
    mixed_precision: bool = option(
        True, "networks multiply in half precision: float16 on a GPU, bfloat16 on a CPU that has it"
    )
    centroid_sel_strat: str = option(
        "RANDOM",
        "where patches are taken: anywhere, or the strongest gradients among three times as many",
        choices=("RANDOM", "GRADIENT_BIAS"),
    )
    loop_closure: bool = option(False, "measure old patches again where the camera comes back near them, adjust all")
    backend_thresh: float = option(
        64.0, "mean flow below which two frames are near each other [px of a quarter of the size]", minimum=1.0
    )
    max_edge_age: int = option(1000, "frames back to which loops are looked for", minimum=50, maximum=20_000)
    global_opt_freq: int = option(15, "frames between two searches for loops", minimum=1, maximum=1000)
    classic_loop_closure: bool = option(False, "find loops by image retrieval and close them by a Sim(3) pose graph")
    loop_close_window_size: int = option(
        3, "frames in a row that must look like earlier ones before a loop is tried", minimum=2, maximum=10
    )
    loop_retr_thresh: float = option(
        0.15,
        "cosine of VLAD vectors from which two frames look alike; 0.04 was published for another measure (DBoW2)",
        minimum=0.0,
        maximum=1.0,
    )
    loop_features: str = option(
        "aliked-n16", "local features that loops are found and measured with: ALIKED or DISK", choices=LOOP_FEATURES
    )
    max_width: int = option(
        0,
        "image width in pixels above which images are reduced; 0 as preset: never, never, 320",
        minimum=0,
        maximum=UNLIMITED_WIDTH,
    )
    min_contrast: float = option(
        3.0, "standard deviation of grey values below which an image shows nothing", minimum=0.0, maximum=100.0
    )
    min_support: float = option(
        0.1,
        "share of the newest frame's measurements that must be sure and fit its pose, else it is lost",
        minimum=0.0,
        maximum=1.0,
    )
    recovery_s: float = option(
        0.7, "seconds without a pose after which a new segment starts", minimum=0.0, maximum=60.0
    )
    weights: str = option("", "weights file; empty takes the one that 'visloc fetch-weights dpvo' fetched")
    device: str = option(
        "auto", "where the networks run; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda")
    )
    torch_threads: int = option(0, "CPU threads of torch; 0 leaves them as they are", minimum=0, maximum=256)
    seed: int = option(1234, "seed of the patches' places and first depths", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_windows(self._preset_values(), self.keyframe_index, self.buffer_size)

    def resolved(self) -> DpvoConfig:
        """The same configuration with the preset's values in place of zeros."""
        return replace(self, **self._preset_values())

    @property
    def ring_frames(self) -> int:
        """Frames whose features are kept: those that a measurement can still need."""
        values = self._preset_values()
        return int(values["removal_window"] + values["patch_lifetime"] + 1)

    def _preset_values(self) -> dict[str, Any]:
        """Values of the options that a preset has: of this configuration, or where they are 0, of the preset."""
        return {name: getattr(self, name) or value for name, value in _PRESETS[self.preset].items()}


def _check_windows(values: Mapping[str, Any], keyframe_index: int, buffer_size: int) -> None:
    """Refuse windows that contradict each other. Raises ConfigError."""
    removal, lifetime = values["removal_window"], values["patch_lifetime"]
    if removal - lifetime < keyframe_index - 2:
        raise ConfigError(
            f"removal_window = {removal} must be at least patch_lifetime + keyframe_index - 2 = "
            f"{lifetime + keyframe_index - 2}: else dropping a keyframe would renumber archived measurements"
        )
    if buffer_size < 2 * (removal + lifetime + 1):
        raise ConfigError(
            f"buffer_size = {buffer_size} must be at least twice removal_window + patch_lifetime + 1 = "
            f"{2 * (removal + lifetime + 1)}: half of it is forgotten at once"
        )
