"""The places of the benchmarks: real ones at known poses, and simulated rooms."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.program import run_visloc
from visloc_ros.core.camera import guess_camera
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Map, open_map
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.localization import AnchorEngine
from visloc_ros.localization.multi_map import MultiMapEngine
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.simulation.living_room import make_living_room
from visloc_ros.sources import FrameSource, SourceConfig, open_source

DEMO_MAP = Path(__file__).parents[1] / "maps" / "demo_room.tar.gz"
SIMULATED = "simulated_room"  # the place of "visloc demo" without data
PAINTED_SEED = 401
PAINTED_CONFIG = SimulationConfig(rate_hz=1.0)
ROOM_CONFIG = SimulationConfig(rate_hz=2.0)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Place:
    """A folder of frames with truth: which of them are mapped, and which are searched for, ``query_fps`` a second."""

    name: str
    map_folder: Path
    mapped: SourceConfig
    query_folder: Path
    queries: SourceConfig
    query_fps: float

    def open_map(self, maps: Path, config: Path | None = None) -> Map:
        """The place's map below the folder ``maps``, built at the true poses if missing, with a file of options."""
        path = maps / self.name
        if not path.exists():
            truth = next(self.map_folder.glob("groundtruth*.txt"))
            frames = [f"--{name}={getattr(self.mapped, name)}" for name in ("first", "last", "every")]
            options = [*frames, f"--reference-poses={truth}", *([] if config is None else [f"--config={config}"])]
            run_visloc("build-map", self.map_folder, "-o", path, *options)
        return replace(open_map(path), name=self.name)

    def frames(self) -> list[Frame]:
        """The frames searched for."""
        return list(open_source(self.query_folder, self.queries))

    def truth(self) -> Trajectory:
        """True ``map_from_camera`` of the frames searched for. Raises SourceError."""
        return known_truth(open_source(self.query_folder, self.queries))


def demo_folder(name: str, work: Path, data: Path | None = None) -> Path:
    """The folder of ``visloc demo`` with map and bag of a place, below ``work``; made where it is missing."""
    if not (work / name).exists():
        run_visloc("demo", *([] if data is None or name == SIMULATED else ["--data", data / name]), "--output", work)
    return work / name


def real_places(data: Path) -> list[Place]:
    """Red kitchen seen again from other places, and a flight of which every tenth frame is mapped."""
    kitchen, flight = data / "7scenes_redkitchen", data / "euroc_mh05"
    return [
        Place("redkitchen", kitchen, SourceConfig(last=499, every=10), kitchen, SourceConfig(first=500, every=5), 6.0),
        Place("euroc", flight, SourceConfig(every=10), flight, SourceConfig(first=5, every=10), 2.0),
    ]


def simulated_room(work: Path) -> Place:
    """The simulated room, mapped by day and searched in the evening; rendered if missing."""
    folders = {name: work / f"room_{name}" for name in ("map", "localize")}
    for name, folder in folders.items():
        if not folder.exists():
            write_folder(simulate(ROOM_CONFIG, name), folder)
    return Place("room", folders["map"], SourceConfig(), folders["localize"], SourceConfig(), 2.0)


def unseen_places(data: Path, work: Path) -> list[Place]:
    """Places by which no setting was chosen: a drive, and a room with other paint."""
    drive = data / "kitti_00_small"
    folders = {name: work / f"painted_{name}" for name in ("map", "localize")}
    for name, folder in folders.items():
        if not folder.exists():
            write_folder(simulate(PAINTED_CONFIG, name, make_living_room(PAINTED_SEED)), folder)
    painted = Place("painted", folders["map"], SourceConfig(), folders["localize"], SourceConfig(), 1.0)
    return [
        Place("drive", drive, SourceConfig(last=199, every=4), drive, SourceConfig(first=2, last=197, every=8), 1.25),
        painted,
    ]


def all_places(data: Path, work: Path) -> list[Place]:
    """Those by which settings of the engine were chosen, then the others."""
    return [*real_places(data), simulated_room(work), *unseen_places(data, work)]


def all_queries(place: Place) -> Place:
    """The place with all of its images searched for: of the red kitchen others take every fifth only."""
    return replace(place, queries=replace(place.queries, every=1)) if place.name == "redkitchen" else place


def known_truth(source: FrameSource) -> Trajectory:
    """True poses ``world_from_camera`` of a source. Raises SourceError where it has none."""
    if source.ground_truth is None:
        raise SourceError(f"'{source.name}' has no true poses to compare with")
    return source.ground_truth


def true_pose(truth: Trajectory, stamp_ns: int) -> SE3:
    """The true pose of exactly this stamp. Raises SourceError where there is none."""
    pose = truth.nearest(stamp_ns, 0)
    if pose is None:
        raise SourceError(f"there is no true pose at {stamp_ns} ns")
    return pose


def photos(folder: Path) -> Iterator[Frame]:
    """Every image below a folder, each with a guessed camera."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    for index, path in enumerate(paths):
        image = read_rgb(path)
        height, width = image.shape[:2]
        yield Frame(index, image, guess_camera(width, height), f"{folder.name}/{path.name}")


def read_rgb(path: Path) -> Image:
    """An image file in colour. Raises SourceError."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SourceError(f"{path} is not an image that can be read")
    return np.asarray(image, np.uint8)


class FeatureCache:
    """Features of images by name, kept in a folder so that another run need not extract them again."""

    def __init__(self, folder: Path, engine: AnchorEngine | MultiMapEngine) -> None:
        config = engine.config.features
        self.engine = engine
        self.folder = folder / f"{config.name}-{config.max_keypoints}-{config.resize_max}"

    def __call__(self, key: str, frame: Frame) -> LocalFeatures:
        """Features of a frame; ``key`` names it among all frames."""
        path = (self.folder / key).with_suffix(".npz")
        if not path.exists():
            features = self.engine.extractor.extract(frame.image)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")  # another process may want, or write, the same features
            with temporary.open("wb") as file:
                np.savez(file, keypoints=features.keypoints, scores=features.scores, descriptors=features.descriptors)
            temporary.replace(path)
        with np.load(path) as values:
            size = (frame.camera.width, frame.camera.height)
            return LocalFeatures(values["keypoints"], values["scores"], values["descriptors"], size)
