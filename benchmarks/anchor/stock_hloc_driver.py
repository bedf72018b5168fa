"""Stock hloc driven one query at a time: features, retrieval, ten pairs, pose, with files between the stages."""

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pycolmap

from visloc_ros.core.errors import SetupError
from visloc_ros.core.feature_files import read_keypoints, read_local_features
from visloc_ros.core.geometry import SE3
from visloc_ros.core.hloc_layout import features_file_name
from visloc_ros.core.map import Map
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.mapping.hloc_queries import pair_by_vlad, write_pairs

HOW_TO_INSTALL = (
    "stock hloc is not part of this project. Install it and LightGlue beside it: git clone --recursive "
    "https://github.com/cvg/Hierarchical-Localization && pip install ./Hierarchical-Localization (or name the folders "
    "of both clones in PYTHONPATH); torch.hub keeps their weights in $TORCH_HOME/hub/checkpoints"
)
RANSAC_THRESHOLD_PX = 12  # the default of localize_sfm


def import_hloc() -> tuple[Any, Any, Any, Any]:
    """The modules hloc, extract_features, match_features and localize_sfm of stock hloc, silenced.

    Raises SetupError that says how to install what is missing.
    """
    missing = [name for name in ("hloc", "lightglue") if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(f"no module named {' and '.join(missing)}: {HOW_TO_INSTALL}")
    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore", module=r"torch\.utils\.data")
    import hloc
    from hloc import extract_features, localize_sfm, match_features

    logging.getLogger("hloc").setLevel(logging.WARNING)
    return hloc, extract_features, match_features, localize_sfm


class StockHloc:
    """hloc's ``aliked-n16`` and ``aliked+lightglue`` confs on a map that ``visloc export-hloc`` wrote.

    ``keep_loaded``: the networks and the COLMAP model are loaded once and data is read in this process; otherwise every
    call is what hloc's ``main`` functions do, which load them each time and start reader processes.
    """

    def __init__(self, map_: Map, exported: Path, images: Path, scratch: Path, top_k: int, keep_loaded: bool) -> None:
        self.hloc, self.extract, self.match, self.localize_sfm = import_hloc()
        self.map, self.images, self.scratch, self.top_k = map_, images, scratch, top_k
        self.keep_loaded = keep_loaded
        self.map_features = exported / features_file_name("aliked-n16")
        self.model = exported / "sfm"
        self._loaded: dict[str, object] = {}
        self.reconstruction = pycolmap.Reconstruction(self.model) if keep_loaded else None

    def localize(self, frame: Frame) -> tuple[SE3 | None, dict[str, float]]:
        """``map_from_camera`` of a frame, None where hloc finds no pose, and milliseconds by stage."""
        watch = Stopwatch()
        files = {name: self.scratch / f"{name}.h5" for name in ("features", "matches")}
        for path in files.values():
            path.unlink(missing_ok=True)
        with self._models():
            with watch("features"):
                self._extract(frame, files["features"])
            with watch("retrieval"):
                pairs = self._retrieve(frame, files["features"])
            with watch("matching"):
                self._match(pairs, files["features"], files["matches"])
            with watch("pnp"):
                pose = self._solve(frame, pairs, files)
        return pose, watch.stage_ms

    def _extract(self, frame: Frame, path: Path) -> None:
        conf = self.extract.confs["aliked-n16"]
        self.extract.main(conf, self.images, image_list=[frame.name], feature_path=path)

    def _retrieve(self, frame: Frame, features: Path) -> Path:
        counts = [len(keypoints) for keypoints in read_keypoints(features, [frame.name]) if keypoints is not None]
        described = read_local_features(features, [frame.name], counts)
        pairs = pair_by_vlad(self.map, {frame.name: described[0]}, self.top_k)[1]
        path = self.scratch / "pairs.txt"
        write_pairs(path, pairs)
        return path

    def _match(self, pairs: Path, features: Path, matches: Path) -> None:
        conf = self.match.confs["aliked+lightglue"]
        self.match.main(conf, pairs, features, matches=matches, features_ref=self.map_features)

    def _solve(self, frame: Frame, pairs: Path, files: dict[str, Path]) -> SE3 | None:
        model = self.reconstruction or pycolmap.Reconstruction(self.model)
        ids = {image.name: image_id for image_id, image in model.images.items()}
        references = [ids[line.split()[1]] for line in pairs.read_text(encoding="utf-8").splitlines()]
        config = {"estimation": {"ransac": {"max_error": RANSAC_THRESHOLD_PX}}}
        localizer = self.localize_sfm.QueryLocalizer(model, config)
        found, _ = self.localize_sfm.pose_from_cluster(
            localizer, frame.name, frame.camera, references, files["features"], files["matches"]
        )
        return SE3.from_rigid3d(found["cam_from_world"]).inverse if found else None

    @contextmanager
    def _models(self) -> Iterator[None]:
        """Networks kept from call to call, and data read in this process, if chosen."""
        if not self.keep_loaded:
            yield
            return
        from torch.utils.data import DataLoader

        def read_here(dataset: Any, **options: Any) -> DataLoader[Any]:
            return DataLoader(dataset, **{**options, "num_workers": 0, "pin_memory": False})

        with (
            mock.patch.object(self.extract, "dynamic_load", self._load(self.extract.dynamic_load)),
            mock.patch.object(self.match, "dynamic_load", self._load(self.match.dynamic_load)),
            mock.patch("torch.utils.data.DataLoader", read_here),
        ):
            yield

    def _load(self, dynamic_load: Callable[..., Any]) -> Callable[..., Any]:
        def load_once(root: ModuleType, name: str) -> Callable[[Mapping[str, Any]], object]:
            def make(conf: Mapping[str, Any]) -> object:
                key = json.dumps([root.__name__, conf], sort_keys=True)
                if key not in self._loaded:
                    self._loaded[key] = dynamic_load(root, name)(dict(conf))
                return self._loaded[key]

            return make

        return load_once
