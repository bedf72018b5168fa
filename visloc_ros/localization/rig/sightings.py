"""How often each camera of a rig was found in the map, and which one hardly ever agrees with the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

_RARELY = 0.1
_CHECKED = "its rig_from_camera (it is not camera_from_rig), its calibration"


@dataclass(eq=False)
class Sightings:
    """Searches for one camera: how many found it; and of those ``beside`` another one that was found, also how many
    found it at the pose of the rig.
    """

    searched: int = 0
    found: int = 0
    beside: int = 0
    found_beside: int = 0
    agreed: int = 0

    @property
    def has_never_agreed(self) -> bool:
        """Whether another camera was found beside it, and never at a pose that it saw, too."""
        return self.beside > 0 and self.agreed == 0

    @property
    def agrees_rarely(self) -> bool:
        """Whether it hardly ever saw something at the pose of the rig while others did."""
        return self.beside > 0 and self.agreed <= _RARELY * self.beside


class SightingsByCamera:
    """The sightings of all cameras of a rig."""

    def __init__(self, names: Collection[str]) -> None:
        self.by_camera = {name: Sightings() for name in names}

    def add(self, searched: Collection[str], found: Collection[str], agreeing: Collection[str]) -> None:
        """Take one search: the cameras that were searched, those found by themselves, and those of the joint pose."""
        seen = {*found, *agreeing}
        for name in searched:
            one = self.by_camera[name]
            one.searched += 1
            one.found += name in seen
            if seen - {name}:
                one.beside += 1
                one.found_beside += name in seen
                one.agreed += name in agreeing

    def __str__(self) -> str:
        counts = (f"'{name}' in {one.found} of {one.searched}" for name, one in self.by_camera.items())
        return f"cameras found in the map: {', '.join(counts)} searches"

    def warnings(self, named: Collection[str] = ()) -> Iterator[str]:
        """What to check of cameras that hardly ever agree with others; those ``named`` already are left out."""
        for name, one in self.by_camera.items():
            if name in named:
                continue
            if one.searched == 0:
                yield f"'{name}' was never searched: it has no image, or none of nearly the time of another camera's"
            elif one.agrees_rarely and one.found_beside <= _RARELY * one.beside:
                yield (
                    f"'{name}' was found in {one.found_beside} of {one.beside} searches that found another camera: "
                    f"check {_CHECKED}, and whether it sees the map"
                )
            elif one.agrees_rarely:
                yield (
                    f"'{name}' was found in {one.found_beside} of {one.beside} searches that found another camera, and "
                    f"agreed with it in {one.agreed}: check {_CHECKED}, and its clock"
                )
