"""How stock hloc is asked for the models that this package calls by other names: Python text for its confs."""

from __future__ import annotations

from visloc_ros.core.hloc_layout import HLOC, features_file_name

_EXTRACTOR_CONFS = {"aliked-n16": "aliked-n16", "disk": "disk", "superpoint": "superpoint_aachen"}
_LIGHTGLUE_FAMILIES = ("aliked", "disk", "superpoint")


def hloc_extractor_conf(extractor: str) -> str:
    """Python expression of the conf that makes hloc extract like ``extractor``; empty where hloc cannot."""
    if extractor.startswith("aliked-") and extractor not in _EXTRACTOR_CONFS:
        output = features_file_name(extractor).removesuffix(".h5")
        model, preprocessing = {"name": "aliked", "model_name": extractor}, {"resize_max": 1024}
        return repr({"output": output, "model": model, "preprocessing": preprocessing})
    conf = extractor.removeprefix(HLOC) if extractor.startswith(HLOC) else _EXTRACTOR_CONFS.get(extractor)
    return f"extract_features.confs[{conf!r}]" if conf else ""


def hloc_matcher_conf(extractor: str) -> str:
    """Python expression of the conf that matches such features in hloc: LightGlue where it has weights for them."""
    family = extractor.removeprefix(HLOC).replace("_", "-").split("-")[0]
    name = f"{family}+lightglue" if family in _LIGHTGLUE_FAMILIES else "NN-mutual"
    return f"match_features.confs[{name!r}]"
