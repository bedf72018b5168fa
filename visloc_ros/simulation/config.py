"""Options of the simulated camera and its room."""

from __future__ import annotations

from dataclasses import dataclass

import pycolmap

from visloc_ros.core.config import Config, option

# COLMAP model and the coefficients that follow fx, fy, cx, cy.
_LENSES: dict[str, tuple[str, tuple[float, ...]]] = {
    "none": ("PINHOLE", ()),
    "mild": ("OPENCV", (-0.08, 0.02, 0.0004, -0.0003)),
    "strong": ("OPENCV", (-0.28, 0.075, 0.0006, -0.0005)),
    "fisheye": ("OPENCV_FISHEYE", (-0.02, 0.004, -0.002, 0.0003)),
}


@dataclass(frozen=True)
class SimulationConfig(Config):
    """One simulated recording: the camera, its image quality, and its length."""

    width: int = option(640, "image width in pixels", minimum=64, maximum=4096)
    height: int = option(480, "image height in pixels", minimum=48, maximum=4096)
    focal_px: float = option(480.0, "focal length in pixels", minimum=20.0, maximum=20000.0)
    lens: str = option("mild", "lens distortion", choices=tuple(_LENSES))
    rate_hz: float = option(20.0, "images per second", minimum=0.1, maximum=1000.0)
    duration_s: float = option(30.0, "length of a pass in seconds", minimum=0.05, maximum=86400.0)
    seed: int = option(0, "seed of the room's textures and of the sensor noise", minimum=0)
    light: str = option(
        "auto",
        "light in the room; auto: day to map, evening to localize; none: as painted",
        choices=("auto", "day", "evening", "none"),
    )
    exposure_ms: float = option(
        6.0, "exposure time in ms, which blurs motion; 0 freezes it", minimum=0.0, maximum=1000.0
    )
    readout_ms: float = option(
        0.0,
        "time from the first row's exposure to the last's, of a rolling shutter; 0 for a global one",
        minimum=0.0,
        maximum=100.0,
    )
    exposure_drift_ev: float = option(0.25, "slow change of exposure, amplitude in stops", minimum=0.0, maximum=4.0)
    noise_std: float = option(
        1.5, "sensor noise at mid grey, standard deviation in grey levels", minimum=0.0, maximum=64.0
    )
    vignetting: float = option(0.2, "part of the light lost in the image corners", minimum=0.0, maximum=0.9)
    blackout_start_s: float = option(10.0, "when the lens is covered, in seconds from the start", minimum=0.0)
    blackout_s: float = option(0.0, "for how many seconds the lens is covered; 0 never", minimum=0.0)
    samples: int = option(
        4, "samples a pixel (anti-aliasing); more where motion blur asks for them", minimum=1, maximum=64
    )

    @property
    def num_frames(self) -> int:
        """Images in a pass, at least one."""
        return max(1, round(self.duration_s * self.rate_hz))

    def make_camera(self) -> pycolmap.Camera:
        """Give the camera model; its principal point lies off the image's centre, as in any real camera."""
        model, coefficients = _LENSES[self.lens]
        centre = (0.506 * self.width, 0.493 * self.height)
        params = [self.focal_px, self.focal_px, *centre, *coefficients]
        return pycolmap.Camera(model=model, width=self.width, height=self.height, params=params)
