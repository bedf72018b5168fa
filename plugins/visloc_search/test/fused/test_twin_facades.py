"""Two facades alike: local descriptors cannot tell them apart, those of the whole images can."""

import numpy as np
import pytest
from synthetic_map import unit

from visloc_search.fused.fusion import Codebook, FusedQuery, Fusion, Reducer
from visloc_search.fused.image_parts import ImageParts, sketch
from visloc_search.fused.point_index import ExactIndex

POINTS, IMAGES, LOCAL, GLOBAL = 300, 6, 128, 2048


class Facades:
    """The points of a facade twice, each seen by images of its own street, of which the globals are alike."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.local = unit(self.rng.normal(size=(POINTS, LOCAL)))
        self.streets = unit(self.rng.normal(size=(2, GLOBAL)))
        self.globals = np.concatenate([self.image_of(street, 0.5, IMAGES) for street in range(2)])

    def image_of(self, street, noise=0.5, count=1):
        """Descriptors (count, G) of images of a street."""
        return unit(self.streets[street] + noise * unit(self.rng.normal(size=(count, GLOBAL))))

    def seen(self, noise=0.3):
        """Descriptors (P, D) of the points as an image shows them, of whichever facade."""
        return unit(self.local + noise * unit(self.rng.normal(size=(POINTS, LOCAL))))

    def index(self, fusion):
        """The codebook of both facades, the points of the second after those of the first."""
        reduced = fusion.reduce(self.globals)
        means = [
            np.mean(
                [
                    fusion.lam * self.seen() + (1.0 - fusion.lam) * reduced[street * IMAGES + image]
                    for image in range(IMAGES)
                ],
                axis=0,
            )
            for street in range(2)
        ]
        return ExactIndex(Codebook.store(np.concatenate(means), "float16"))

    def right_share(self, fusion, descriptor, street):
        """Share of keypoints of an image of a street that are matched with their own point of it."""
        query = FusedQuery(self.seen(), fusion.reduce(descriptor), fusion.lam)
        found = self.index(fusion).search(query).rows
        return float((found == np.arange(POINTS) + street * POINTS).mean())


def fusion(facades, rho, kind="subset"):
    return Fusion(1.0 / (1.0 + rho), Reducer.fit(kind, 0, facades.globals, LOCAL))


@pytest.fixture(scope="module")
def facades():
    return Facades()


@pytest.mark.parametrize("street", [0, 1])
@pytest.mark.parametrize("kind", ["subset", "orthogonal"])
def test_fused_descriptors_distinguish_them(facades, street, kind):
    assert facades.right_share(fusion(facades, 0.5, kind), facades.image_of(street)[0], street) >= 0.95


@pytest.mark.parametrize("street", [0, 1])
def test_local_descriptors_guess(facades, street):
    assert facades.right_share(fusion(facades, 0.0), facades.image_of(street)[0], street) == pytest.approx(0.5, abs=0.1)


def test_an_image_in_other_light_gets_the_part_of_map_images(facades):
    street, fused = 1, fusion(facades, 0.5)
    parts = ImageParts(fused, fused.reduce(facades.globals), sketch(facades.globals))
    dark = facades.image_of(street, noise=4.0)[0]
    query = FusedQuery(facades.seen(), parts.of_query(dark), fused.lam)
    found = facades.index(fused).search(query).rows
    assert (found == np.arange(POINTS) + street * POINTS).mean() >= 0.95
    assert facades.right_share(fused, facades.image_of(street, noise=40.0)[0], street) < 0.95


def test_the_descriptor_of_the_other_street_misleads_the_keypoints(facades):
    assert facades.right_share(fusion(facades, 0.5), facades.globals[0], 1) < 0.05
