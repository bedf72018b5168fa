"""Which intrinsics a live camera is used with: the best of what has been told of it so far."""

from __future__ import annotations

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration

_OF_THE_CAMERA = (CalibrationSource.GIVEN, CalibrationSource.RECORDED)


class CalibrationChoice:
    """Keeps what is told of one camera, and gives the best: given, its own, found by means of a map, guessed.

    What comes later from the same source takes the place of what came before.
    """

    def __init__(self, given: CameraCalibration | None = None) -> None:
        self._known = {} if given is None else {given.source: given}
        self._found: CameraCalibration | None = None
        self._guess: CameraCalibration | None = None

    def tell(self, calibration: CameraCalibration) -> None:
        """Take what the camera itself tells."""
        self._known[calibration.source] = calibration

    def tell_found(self, calibration: CameraCalibration) -> None:
        """Take what a search found out; a camera's own calibration may have changed while it was searching."""
        if calibration.source not in _OF_THE_CAMERA:
            self._found = calibration

    def of_images(self, width: int, height: int) -> CameraCalibration:
        """The best calibration for images of this size; a guess, the same as long as the size is, where none is known.

        The camera's own may be for another size, which is then an error of its driver; one found is for its size.
        """
        known = next((self._known[source] for source in _OF_THE_CAMERA if source in self._known), None)
        if known is not None:
            return known
        if self._found is not None and _has_size(self._found, width, height):
            return self._found
        if self._guess is None or not _has_size(self._guess, width, height):
            self._guess = guess_calibration(width, height)
        return self._guess


def _has_size(calibration: CameraCalibration, width: int, height: int) -> bool:
    return (calibration.camera.width, calibration.camera.height) == (width, height)
