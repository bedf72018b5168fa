"""Evidence by landmarks: the landmarks that are recognised in the image are matched, one after the other.

After PRAM (Xue et al. 2024, arXiv 2404.07785). There is no global descriptor and no reference image: keypoints are
matched with the points of a landmark, as its virtual reference frame shows them. Where the pose from nearest
neighbours is in doubt, a learned matcher matches the frames around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map, MapImage
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import Matcher, Matches
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Evidence, EvidenceCollector, EvidenceSolver, Query, lift, merge, refusal_of
from visloc_ros.localization.guided import MIN_SIMILARITY_TO_MEAN
from visloc_ros.localization.view_change import ViewOverlap
from visloc_search.landmarks.landmark_map import LandmarkMap
from visloc_search.landmarks.landmark_reach import LandmarkReach, LookAlikes
from visloc_search.landmarks.recogniser import Recogniser, keep_likely_landmarks
from visloc_search.landmarks.text_likelihood import TextLikelihood
from visloc_search.landmarks.tokens import BACKGROUND, Float32

_MOST_TRIED = 8  # landmarks: a trial takes 2 ms, and where as many fail the image hardly shows the map
_RATIO = 0.95  # of the distances to the nearest and the second nearest point (Lowe 2004)
_MIN_TOKENS = 40  # of a landmark: fewer are matched with the help of all others
_AGREEING_LABELS = 0.5  # share of tokens, and of points, of labels that both have
_LIKELY_CLASSES = 3  # of a token: one of these should be the landmark of the point that it matches
_ENOUGH_INLIERS = 50  # by a learned matcher: more hardly make the pose more exact
_RIVAL_VOTES = 0.5  # of the votes for the landmark that is found: a place that looks the same gets as many


@dataclass(frozen=True, eq=False)
class Recognition:
    """Rows (N,) of the query's keypoints that may show a landmark, and their probabilities (N, C)."""

    keypoint_rows: NDArray[np.intp]
    probabilities: Float32

    @property
    def votes(self) -> Float32:
        """How many tokens are expected to show each landmark (C,)."""
        return np.asarray(self.probabilities.sum(axis=0))


class LandmarkSearcher:
    """Matches keypoints with the points of the landmarks that they are recognised as."""

    min_similarity = MIN_SIMILARITY_TO_MEAN
    """Its points have the means of their descriptors."""

    def __init__(
        self,
        landmarks: LandmarkMap,
        recogniser: Recogniser,
        config: AnchorConfig,
        matcher: Matcher,
        texts: TextLikelihood | None = None,
    ) -> None:
        self.map = landmarks.map
        self.overlap = ViewOverlap(landmarks.map)
        self.matcher = matcher
        self.landmarks, self._recogniser = landmarks, recogniser
        self._config = config
        self._nearest = NearestMatcher(ratio=_RATIO)
        self.reach, self.look_alikes = LandmarkReach(landmarks, texts), LookAlikes(landmarks)
        self._collector = _collector_around(landmarks.map, matcher, config)
        self._solver = EvidenceSolver(landmarks.map, config.pose)

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence of one landmark after the other, of those that more tokens show than by chance."""
        with query.watch("recognition"):
            recognition = self.recognise(query)
            ranked = list(rank_landmarks(recognition.probabilities))[:_MOST_TRIED]
        tried: dict[int, Evidence] = {}
        for landmark in self._attempts(recognition, ranked):
            if landmark.label in tried and len(landmark.token_rows):  # as a rival
                continue
            evidence = self._try(query, recognition, landmark, prior)
            tried[landmark.label] = max(tried.get(landmark.label, Evidence()), evidence, key=_strength)
            if not evidence.is_by_chance and self._agrees(recognition, evidence):
                self._try_rivals(query, recognition, landmark, tried)
                yield self._solver.with_rival(query, tried[landmark.label], list(tried.values()))
        best = max(tried.values(), key=_strength, default=Evidence())
        best = self._solver.with_rival(query, best, list(tried.values()))
        refusal = refusal_of(best, self._config.min_matches)
        yield replace(best, refusal=refusal)
        if refusal is None and query.is_thorough and not isinstance(self.matcher, NearestMatcher):
            yield self._collector.gather_around(query, best, self.overlap, prior)

    def recognise(self, query: Query) -> Recognition:
        """The query's keypoints and their landmarks; keypoints that are surely background are left out."""
        probabilities = self._recogniser.recognise(query.upright)
        if query.hint is not None:
            probabilities = self.reach.weigh(probabilities, query.hint)
        kept = keep_likely_landmarks(probabilities, self._recogniser.background_threshold)
        return Recognition(kept, probabilities[kept])

    def _attempts(self, recognition: Recognition, ranked: Sequence[RankedLandmark]) -> Iterator[RankedLandmark]:
        """Landmarks with the tokens that show them; where these find no pose, with all tokens, if there are more.

        Otherwise a network that assigns most of an image to wrong landmarks of the right place would hide it.
        """
        yield from ranked
        for landmark in ranked:
            if self._is_restricted(recognition, landmark):
                yield RankedLandmark(landmark.label, np.empty(0, np.intp))

    def _try(
        self, query: Query, recognition: Recognition, landmark: RankedLandmark, prior: SE3 | None = None
    ) -> Evidence:
        """Evidence of one landmark, with its pose where there is any."""
        frame = self.map.images[self.landmarks.frame_rows[landmark.label - 1]]
        with query.watch("matching"):
            tokens, points = self._chosen(recognition, landmark, frame)
            keypoint_rows = recognition.keypoint_rows[tokens]
            found = self._nearest.match(query.features.take(keypoint_rows), frame.features.take(points))
            pairs = np.column_stack((keypoint_rows[found.pairs[:, 0]], points[found.pairs[:, 1]])).astype(np.int32)
        correspondences = merge([lift(Matches(pairs, found.scores), frame)])
        evidence = Evidence(correspondences, len(pairs), (frame.name,))
        return self._with_text(query, self._solver.solve(query, evidence, prior))

    def _with_text(self, query: Query, evidence: Evidence) -> Evidence:
        """The evidence with how well the landmarks of its inliers go with the text that was read."""
        if query.hint is None or query.hint.text is None or evidence.solution is None:
            return evidence
        labels = self.landmarks.labels[evidence.correspondences.point_rows[evidence.solution.inliers]]
        return replace(evidence, log_likelihood=self.reach.log_likelihood_of_text(query.hint, labels))

    def _chosen(
        self, recognition: Recognition, landmark: RankedLandmark, frame: MapImage
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Tokens and points of the frame to match: those of the landmark, or all where labels do not suffice."""
        if self._is_restricted(recognition, landmark):
            return landmark.token_rows, np.flatnonzero(self.landmarks.labels[frame.point_rows] == landmark.label)
        return np.arange(len(recognition.keypoint_rows)), np.arange(len(frame.point_rows))

    def _is_restricted(self, recognition: Recognition, landmark: RankedLandmark) -> bool:
        """Whether only tokens and points of a landmark are matched: where it has enough, and labels mean something."""
        frame = self.map.images[self.landmarks.frame_rows[landmark.label - 1]]
        tokens, labels = recognition.probabilities.argmax(axis=1), self.landmarks.labels[frame.point_rows]
        common = np.intersect1d(tokens, labels)
        shares = np.isin(tokens, common).mean(), np.isin(labels, common).mean()
        return len(landmark.token_rows) >= _MIN_TOKENS and bool(min(shares) >= _AGREEING_LABELS)

    def _agrees(self, recognition: Recognition, evidence: Evidence) -> bool:
        """Whether inliers show the recognised landmarks: otherwise another landmark is tried first."""
        assert evidence.solution is not None
        found = evidence.correspondences
        inliers = evidence.solution.inliers
        tokens = np.searchsorted(recognition.keypoint_rows, found.keypoint_rows[inliers])
        likely = np.argpartition(-recognition.probabilities[tokens], _likely_places(recognition), axis=1)
        labels = self.landmarks.labels[found.point_rows[inliers]]
        return bool((likely[:, :_LIKELY_CLASSES] == labels[:, None]).any(axis=1).mean() >= _AGREEING_LABELS)

    def _try_rivals(
        self, query: Query, recognition: Recognition, found: RankedLandmark, tried: dict[int, Evidence]
    ) -> None:
        """Try landmarks that may look the same elsewhere: similar ones, and those with about as many votes."""
        votes = recognition.votes
        voted = np.flatnonzero(votes >= _RIVAL_VOTES * votes[found.label])
        elsewhere = {int(one) for one in voted if one > 0 and not self.look_alikes.covisible(found.label, int(one))}
        rivals = (elsewhere | set(self.look_alikes.of(found.label))) - tried.keys()
        for label in sorted(rivals):
            tried[label] = self._try_all_points(query, recognition, label)
        if rivals:  # otherwise more points would support the rivals than the pose that is found
            tried[found.label] = max(
                tried[found.label],
                self._try_all_points(query, recognition, found.label),
                key=lambda one: one.num_inliers,
            )

    def _try_all_points(self, query: Query, recognition: Recognition, label: int) -> Evidence:
        """Evidence of a landmark from all tokens, whichever landmark these are recognised as."""
        return self._try(query, recognition, RankedLandmark(label, np.empty(0, np.intp)))


def _collector_around(map_: Map, matcher: Matcher, config: AnchorConfig) -> EvidenceCollector:
    """The collector of evidence from frames around a pose, until that is sure.

    Frames show a part of the map's points: hardly one gives the inliers, and the spread, at which images suffice.
    """
    return EvidenceCollector(map_, matcher, replace(config, stop_inliers=_ENOUGH_INLIERS, stop_spread=0.0))


def _strength(evidence: Evidence) -> tuple[bool, int, int]:
    return not evidence.is_by_chance, evidence.num_inliers, len(evidence.correspondences)


def _likely_places(recognition: Recognition) -> int:
    return min(_LIKELY_CLASSES, int(recognition.probabilities.shape[1])) - 1


@dataclass(frozen=True, eq=False)
class RankedLandmark:
    """A landmark that the query may show, and the rows (K,) of the tokens that say so."""

    label: int
    token_rows: NDArray[np.intp]


def rank_landmarks(probabilities: Float32) -> Iterator[RankedLandmark]:
    """Landmarks in the order in which to try them, by probabilities (N, C) of tokens; class 0 is background.

    Those that are the most probable class of a token come first, then those that are second, and so on; of those of
    the same rank that of most tokens, and of as many that of the lower number.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    listed = {BACKGROUND}
    for classes in order.T:
        labels, counts = np.unique(classes, return_counts=True)
        for label in labels[np.argsort(-counts, kind="stable")]:
            if int(label) not in listed:
                listed.add(int(label))
                yield RankedLandmark(int(label), np.flatnonzero(classes == label))
