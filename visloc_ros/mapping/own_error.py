"""A map's own error in words, for its card and its description."""

from __future__ import annotations

from visloc_ros.core.manifest import Manifest

UNKNOWN = "not known: a build measures it, of five images or more; build the map again"


def own_error_in_words(manifest: Manifest) -> str:
    """How good points and poses are, and how that was measured."""
    error = None if manifest.uncertainty is None else manifest.uncertainty.own_error
    if error is None:
        return UNKNOWN
    point, depth, position = (
        length_in_words(one, manifest.metric) for one in (error.point, error.depth, error.position)
    )
    by_images = "" if manifest.has_given_poses else "; errors that all images share do not show"
    return (
        f"points are good to {point} at {depth}, poses near its images to {position} and {error.rotation_deg:.2g}° "
        f"(median of {error.images} images, each left out and found again by the others{by_images})"
    )


def length_in_words(length: float, metric: bool) -> str:
    """A length in mm, cm or m; in a map that is not metric in its units."""
    if not metric:
        return f"{length:.2g} map units"
    if length < 0.01:
        return f"{1e3 * length:.2g} mm"
    return f"{1e2 * length:.2g} cm" if length < 1.0 else f"{length:.1f} m"
