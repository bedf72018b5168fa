"""Files as stock hloc writes them, made with h5py and pycolmap alone: half precision, (D, N), subfolders as groups."""

import h5py
import numpy as np
import pycolmap


def write_features(path, features, scores="keypoint_scores", extra=()):
    """hloc's extract_features: keypoints in half precision with their uncertainty; ``extra`` images are in no model."""
    with h5py.File(path, "w", libver="latest") as file:
        for name, one in {**features, **dict.fromkeys(extra, next(iter(features.values())))}.items():
            group = file.create_group(name)
            group["keypoints"] = (one.keypoints - 0.5).astype(np.float16)
            group["keypoints"].attrs["uncertainty"] = 1.0
            group[scores] = one.scores.astype(np.float16)
            group["descriptors"] = one.descriptors.T.astype(np.float16)
            group["image_size"] = np.array(one.image_size)


def write_global(path, descriptors):
    """hloc's global descriptors."""
    with h5py.File(path, "w", libver="latest") as file:
        for name, one in descriptors.items():
            file.create_group(name)["global_descriptor"] = one.astype(np.float16)


def write_matches(path, names):
    """hloc's match_features, of one pair."""
    with h5py.File(path, "w", libver="latest") as file:
        pair = file.create_group("/".join(name.replace("/", "-") for name in names[:2]))
        pair["matches0"] = np.full(3, -1, np.int16)


def write_hloc_folder(folder, parts, conf="aliked-n16", model="sfm_aliked+lightglue", text=False):
    """A whole output folder of hloc's pipelines."""
    reconstruction, features, descriptors, _ = parts
    (folder / model).mkdir(parents=True)
    write = reconstruction.write_text if text else reconstruction.write_binary
    write(folder / model)
    (folder / model / "database.db").write_bytes(b"")
    write_features(folder / f"feats-{conf}.h5", features, extra=["query/night.jpg"])
    write_global(folder / "global-feats-netvlad.h5", descriptors)
    write_matches(folder / f"feats-{conf}_matches-aliked-lightglue_pairs-db-covis20.h5", sorted(features))
    for pairs in ("pairs-db-covis20.txt", "pairs-query-netvlad20.txt"):
        (folder / pairs).write_text("")
    return folder


def in_subfolder(parts, prefix="db/"):
    """The same parts with image names that hold a folder."""
    reconstruction, features, descriptors, centroids = parts
    renamed = pycolmap.Reconstruction(reconstruction)
    for image in renamed.images.values():
        image.name = prefix + image.name
    return (
        renamed,
        {prefix + name: one for name, one in features.items()},
        {prefix + name: one for name, one in descriptors.items()},
        centroids,
    )
