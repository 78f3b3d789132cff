"""What a cache is named by: another limit on pixels makes other examples corrupt."""

import copy

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data import decode
from crnn_jax.data.cache import decoded
from crnn_jax.data.sources import load_source
from tests.data.test_mask_folder import save
from tests.data.test_video_folder import write_video
from tests.data.toy_tfds import png, write_toy


def load(source, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    config.update({"source": source, "image_size": 8, **changes})
    return load_source(config, 0)


def folder(root):
    for part in ("train", "test"):
        for side in (8, 40):
            path = root / part / "cat" / f"{side}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((side, side, 3), side, np.uint8)).save(path)
    return f"folder:{root}"


def csv(root):
    folder(root)
    rows = [f"{part}/cat/8.png,cat,{part}" for part in ("train", "test")]
    (root / "table.csv").write_text("\n".join(["path,label,split", *rows]))
    return f"csv:{root / 'table.csv'}"


def masks(root):
    for part in ("train", "test"):
        save(root, part, "a", np.eye(8))
    return f"masks:{root}"


def video(root):
    for part in ("train", "test"):
        write_video(root / part / "cat" / "a.avi")
    return f"video:{root}"


def tfds(root):
    write_toy(root / "toy/1.0.0", {"train": [(png(9), 0)], "test": [(png(9), 1)]})
    return "tfds:toy"


@pytest.mark.parametrize("make", [folder, csv, masks, video, tfds])
def test_the_limit_on_pixels_is_part_of_the_name(tmp_path, make):
    source, where = make(tmp_path), {"dir": str(tmp_path)}
    found = [
        load(source, max_pixels=most, **where).fingerprint
        for most in (decode.MAX_PIXELS, 10_000, 20_000)
    ]
    assert len(set(found)) == 3
    assert load(source, **where).fingerprint == found[0]


def test_the_default_limit_leaves_older_names_as_they_are():
    config = copy.deepcopy(default_config("crnn").data)
    assert decode.decoding(config) == decode.DECODING
    config.bit_depth = 12
    assert decode.decoding(config) == [decode.DECODING, 12]


def test_a_cache_of_another_limit_is_not_used(tmp_path):
    """Where a small limit made an image corrupt, the default one has it back."""
    source, found = folder(tmp_path / "photos"), []
    for limit in ({"max_pixels": 1000}, {}):
        loaded = load(source, skip_corrupt=True, **limit)
        keep = {"cache_dir": tmp_path / "cache", "fingerprint": loaded.fingerprint}
        found.append(decoded(loaded.train, **keep, skip_corrupt=True).weight_N.tolist())
    assert found == [[0, 1], [1, 1]]
