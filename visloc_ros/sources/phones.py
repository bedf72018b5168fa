"""Recognises recordings of phones by their metadata, and gives advice on them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

MAKERS = (
    "apple", "samsung", "google", "xiaomi", "redmi", "poco", "huawei", "honor", "oneplus", "oppo", "realme", "vivo",
    "motorola", "nokia", "hmd", "fairphone", "nothing", "lge", "lg", "htc", "zte", "tecno", "infinix",
)  # fmt: skip


@runtime_checkable
class SourceOfMaker(Protocol):
    """A source that may know the maker of its camera."""

    @property
    def camera_maker(self) -> str:
        """Maker and model on one line, empty where they are unknown."""


def phone_of(source: object) -> str:
    """Maker and model of the phone that recorded a source; empty where it is no phone, or unknown."""
    maker = source.camera_maker if isinstance(source, SourceOfMaker) else ""
    return maker if maker.split(" ")[0].lower() in MAKERS else ""


def phone_advice(phone: str) -> str:
    """Advice on recordings of a phone."""
    return (
        f"recorded by a phone ({phone}), which reads an image row by row, so that quick motion bends it: move slowly, "
        "and film without zoom and stabilisation"
    )
