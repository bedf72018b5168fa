"""Monocular depth as a source of metres: any callable from an image to depths, named in the configuration or given."""

from __future__ import annotations

import importlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.types import Frame, Image, OdometryPose, Rejection
from visloc_ros.odometry.backend import DepthModel, Odometry, OdometryAround


class TakesDepth(Odometry, Protocol):
    """An odometry that takes its scale from depth images of its keyframes."""

    def add_depth(self, stamp_ns: int, depth_m: NDArray[np.float32]) -> None:
        """Take the depth image of the keyframe at a stamp; that of a dropped keyframe is ignored."""


def load_depth_model(name: str) -> DepthModel:
    """Find the callable ``package.module:callable``. Raises ConfigError."""
    module_name, separator, attribute = name.partition(":")
    if not (separator and module_name and attribute):
        raise ConfigError(f"depth_model is '{name}', but must be 'package.module:callable'")
    try:
        model: DepthModel = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"the depth model '{name}' cannot be loaded: {error}") from error
    if not callable(model):
        raise ConfigError(f"the depth model '{name}' is a {type(model).__name__}, not a callable")
    return model


@dataclass(frozen=True, eq=False)
class _Job:
    stamp_ns: int
    depth: Future[NDArray[np.float32]]


class DepthAidedOdometry(OdometryAround):
    """An odometry with a depth model for its keyframes.

    With ``live`` the model works beside the frames, on the newest keyframe whenever it is free.
    """

    def __init__(self, visual: TakesDepth, model: DepthModel, live: bool = False) -> None:
        super().__init__(visual)
        self._keyed, self._model = visual, model
        self._pool = ThreadPoolExecutor(1, "depth") if live else None
        self._job: _Job | None = None

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none.

        Raises ModelError when the model fails or gives something else than a depth image.
        """
        result = self._visual.track(frame)
        if isinstance(result, OdometryPose) and result.is_keyframe and self._job is None:
            self._job = _Job(frame.stamp_ns, self._start(frame.rgb))
        if self._job is not None and self._job.depth.done():
            done, self._job = self._job, None
            self._keyed.add_depth(done.stamp_ns, done.depth.result())
        return result

    def reset(self) -> None:
        """Forget everything; the next pose belongs to a new segment."""
        self._job = None
        super().reset()

    def close(self) -> None:
        """Stop what runs in the background."""
        if self._pool is not None:
            self._pool.shutdown()
        super().close()

    def _start(self, image: Image) -> Future[NDArray[np.float32]]:
        if self._pool is not None:
            return self._pool.submit(self._look, image)
        seen: Future[NDArray[np.float32]] = Future()
        seen.set_result(self._look(image))
        return seen

    def _look(self, image: Image) -> NDArray[np.float32]:
        try:
            depth = np.asarray(self._model(image), dtype=np.float32)
        except Exception as error:  # a foreign model may raise anything
            raise ModelError(f"the depth model failed: {error}") from error
        if depth.ndim != 2 or depth.size == 0:
            raise ModelError(f"the depth model gave an array of shape {depth.shape} instead of (H, W)")
        return depth
