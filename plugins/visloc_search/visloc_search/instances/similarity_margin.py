"""How alike two images have to be that show the same, as the recogniser describes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from visloc_ros.core.map import NO_POINT, Map
from visloc_search.instances.labelled_map import LabelledMap
from visloc_search.instances.recognition import InstanceRecogniser, Recognition
from visloc_search.instances.styles import stylised

_PERCENT_LESS_ALIKE = 5.0  # of the images that show the same: the search reaches these by retrieval
_STYLES_PER_IMAGE = 4
_SEED = 0


def least_similarity(labelled: LabelledMap, found: Sequence[Recognition], recogniser: InstanceRecogniser) -> float:
    """Dot product that nearly all held-out images, in any style, have with the image that sees most of the same.

    ``found`` are the recognitions of the masked images. -1 where no images see the same.
    """
    rng = np.random.default_rng(_SEED)
    held_out = np.array(labelled.held_out)
    others = most_covisible(labelled.map, np.array(labelled.rows), held_out)
    similarities = []
    for place, other in zip(held_out[others >= 0], others[others >= 0], strict=True):
        picture = labelled.masked[place].picture
        copies = (recogniser.recognise(stylised(picture, rng)) for _ in range(_STYLES_PER_IMAGE))
        similarities += [float(one.descriptor @ found[other].descriptor) for one in (found[place], *copies)]
    return float(np.percentile(similarities, _PERCENT_LESS_ALIKE)) if similarities else -1.0


def most_covisible(map_: Map, rows: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Place among ``rows`` of the image that sees most points of each image at ``places`` (N,); -1 where none does."""
    seen = [np.unique(one.point_rows[one.point_rows != NO_POINT]) for one in (map_.images[row] for row in rows)]
    first = np.cumsum([0, *(len(points) for points in seen)])
    shape = len(seen), len(map_.points)
    shown = csr_array((np.ones(first[-1], np.int32), np.concatenate(seen), first), shape)
    shared = (shown[places] @ shown.T).toarray()
    shared[np.arange(len(places)), places] = 0
    return np.where(shared.max(axis=1) > 0, shared.argmax(axis=1), -1)
