"""What a run says of the cameras of a rig: how often each was found, and what is not as the rig's file says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from visloc_ros.apps.console import console
from visloc_ros.core.rig import Rig
from visloc_ros.localization.rig import RigEngine
from visloc_ros.localization.rig.places import Cause, PlaceDifference
from visloc_ros.sources.camera_files import TIME_SHIFT
from visloc_ros.sources.rig_files import write_rig_yaml

OBSERVED_RIG = "rig_observed.yaml"
_ADVICE = {
    Cause.EITHER: ". Record the rig where it stands still, and where it turns left and right",
    Cause.NEITHER: ": fix it to the rig, and give it the clock of the others",
}


def words_of_rig(engine: RigEngine) -> Iterator[str]:
    """Sentences on all cameras, those that are not as given with what to do."""
    differences, refined = engine.places.differences(), engine.places.refined()
    yield str(engine.sightings)
    for difference in differences:
        yield f"{difference}{_remedy(difference, refined)}"
    yield from engine.sightings.warnings({one.name for one in differences if one.is_contradicted})


def report_rig(engine: RigEngine, output: Path) -> None:
    """Print this, and write the rig as it was observed where that is another one than given."""
    for words in words_of_rig(engine):
        console.print(words, highlight=False)
    if any(difference.cause in (Cause.MOUNT, Cause.CLOCK) for difference in engine.places.differences()):
        write_rig_yaml(output / OBSERVED_RIG, engine.places.refined())
        console.print(f"the rig as it was observed: {output / OBSERVED_RIG}", highlight=False)


def _remedy(difference: PlaceDifference, refined: Rig) -> str:
    if difference.cause is Cause.CLOCK:
        shift_s = refined.cameras[difference.name].time_shift_s
        return f": correct its clock, or set its {TIME_SHIFT} to {shift_s:.3f} s"
    if difference.is_contradicted and difference.shows_the_same:
        return ": give each its own images"
    if difference.cause is Cause.MOUNT:
        inverse = ", which is the inverse of what was meant" if difference.is_inverse else ""
        exchanged = f", or exchange its images and those of '{difference.seen_from}'" if difference.is_exchanged else ""
        return f": correct its rig_from_camera{inverse}{exchanged}"
    return _ADVICE.get(difference.cause, "")
