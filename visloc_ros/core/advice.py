"""What to try where there is no pose: one sentence for each reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from visloc_ros.core.types import Reason

_EXTEND = "or add this view to the map: visloc build-map VIDEO --add-to MAP --output NEW_MAP"
_CALIBRATE = "give the calibration of this camera at this image size: --camera FILE"

ADVICE: Mapping[Reason, str] = {
    Reason.FEW_FEATURES: "the image is dark, blurred or plain; add light, move slower, show things with texture",
    Reason.NO_RETRIEVAL: f"no image of the map looks alike; film what the map shows, {_EXTEND}",
    Reason.FEW_MATCHES: f"too little of the image is in the map; film what the map shows, {_EXTEND}",
    Reason.FEW_INLIERS: f"what looks alike fits no single pose; film closer to where the map was filmed, {_EXTEND}",
    Reason.HINT_EXCLUDES_ALL: "no image of the map is where the hint places the camera; correct the hint, or give a "
    "larger standard deviation",
    Reason.AMBIGUOUS_PLACE: "two places of the map look the same; show how they differ, or give an initial pose",
    Reason.PLANAR_POINTS: "all that was found lies in one plane, such as a poster, which may also hang elsewhere; "
    "show more of what is around it",
    Reason.ODOMETRY_DISAGREES: "poses in the map contradict how the camera moved; move on until more places are found",
    Reason.DEGENERATE_MOTION: "the camera only turned, or stood still; move it sideways",
    Reason.STANDING_STILL: "the camera has not moved yet, and the map does not show where it stands; move it",
    Reason.SCALE_UNSET: "the scale of the motion is not known yet; move on until more places are found",
    Reason.STALE: "the last pose in the map is long ago, or time stamps run backwards; come back to the mapped place, "
    "check the camera's clock",
    Reason.OVERLOADED: "there was no time to follow the frame; leave the nodes more processor time, send fewer images",
    Reason.FROZEN: "the camera sends the same image again and again, or one that it sent before, or its images stand "
    "still while the gyroscope or the wheels move; restart it or its driver. A simulator's camera without noise "
    "repeats its image while it stands: set camera.is_noiseless",
    Reason.UNCERTAIN: "the pose is too uncertain; come back to the mapped place",
    Reason.NO_ODOMETRY: "odometry has no pose; show things with texture in good light",
    Reason.NO_ANCHOR: "nothing was found in the map yet; film what the map shows",
    Reason.NO_MAP: "there is no map; give one",
    Reason.BLURRED: "the image is blurred; move slower, or add light",
    Reason.INTRINSICS_MISMATCH: f"the focal length is wrong; {_CALIBRATE}, or give none, and it is estimated",
    Reason.UNKNOWN_INTRINSICS: "the focal length is not known, and what was found, one plane perhaps, is not enough; "
    f"{_CALIBRATE}, or film more of the place",
    Reason.RIG_MISMATCH: "a camera of the rig contradicts the others; check where it is mounted, and its clock",
    Reason.NO_TRANSFORM: "a transform at the image's time is missing; is odometry published, and /tf_static?",
    Reason.OTHER_FRAME: "it is in the frame of another map than the one in use; load_map says which one that is",
    Reason.BAD_MESSAGE: "a measurement held impossible values; look at the node or recording that it comes from",
    Reason.INTERNAL_ERROR: "the node failed on this image, which is a defect of it; its log says where: report it",
}
"""The problem, and advice, for each reason."""


def advise(counts: Mapping[Reason, int]) -> list[str]:
    """A line for each reason why images have no pose, with their number, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].value))
    return [f"{count} x {reason.value}: {ADVICE[reason]}" for reason, count in ordered if count]


def count_reasons(reasons: Iterable[Reason | None]) -> dict[Reason, int]:
    """Counts of the reasons; images with a pose have none."""
    counts: dict[Reason, int] = {}
    for reason in reasons:
        if reason is not None:
            counts[reason] = counts.get(reason, 0) + 1
    return counts
