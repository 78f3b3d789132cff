import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data import dataset
from crnn_jax.data.dataset import make_pipeline
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import subset
from crnn_jax.errors import UserError


def make(kind, split, cache_dir, batch_size=16):
    return make_pipeline(
        kind,
        split,
        batch_size=batch_size,
        seed=1,
        mesh=mesh_lib.make_mesh(),
        cache_dir=cache_dir,
        skip_corrupt=True,
        num_workers=0,
        fingerprint="f1",
    )


@pytest.mark.parametrize("start", [0, 5])
def test_both_pipelines_show_every_class_as_often(start, tmp_path):
    config = default_config("crnn")
    config.data.update(source="digits", sampling="balanced", cache_dir=str(tmp_path))
    config.batch_size = 40
    batches = {}
    for kind in ("resident", "streaming"):
        config.data.pipeline = kind
        data = dataset.load_dataset(config)
        rare = np.flatnonzero((data.splits["train"].group_N != 3) | (np.arange(1437) < 90))
        data.splits["train"] = subset(data.splits["train"], rare)  # of class 3 a few are left
        pipeline = data.pipeline("train", 40, mesh_lib.make_mesh())
        inputs = next(pipeline.train_inputs(start))
        batches[kind] = jax.device_get(jax.jit(pipeline.assemble)(inputs, jnp.int32(start)))
    first, second = batches["resident"], batches["streaming"]
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    np.testing.assert_array_equal(np.bincount(first["label"]), [4] * 10)


def digits(folder):
    return load_source(default_config("crnn").data, 0).test


def png_folder(folder):
    """30 images in 2 classes, one of them truncated."""
    random = np.random.default_rng(0)
    for part, name, index in itertools.product(("train", "test"), ("cat", "dog"), range(15)):
        path = folder / part / name / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 7, 3), np.uint8)).save(path)
    damaged = folder / "train" / "dog" / "11.png"
    damaged.write_bytes(damaged.read_bytes()[:80])
    data_config = default_config("crnn").data
    data_config.source = f"folder:{folder}"
    return load_source(data_config, 0).train


@pytest.mark.smoke
@pytest.mark.parametrize("make_split", [digits, png_folder])
def test_both_pipelines_give_the_same_batches(make_split, tmp_path):
    split = make_split(tmp_path / "data")
    runs = []
    for kind in ("resident", "streaming"):
        pipeline = make(kind, split, tmp_path)
        assemble, eval_assemble = jax.jit(pipeline.assemble), jax.jit(pipeline.eval_assemble)
        train_inputs = pipeline.train_inputs(20)
        train = [assemble(next(train_inputs), jnp.int32(step)) for step in range(20, 25)]
        evaluation = [eval_assemble(*inputs) for inputs in pipeline.eval_inputs()]
        runs.append(jax.device_get((train, evaluation)))
    jax.tree.map(np.testing.assert_array_equal, *runs)
    jax.tree.map(lambda a, b: a.dtype == b.dtype or pytest.fail(f"{a.dtype} {b.dtype}"), *runs)
    num_read = sum(batch["weight_B"].sum() for batch in runs[0][1])
    assert num_read == split.num_examples - (make_split is png_folder)


@pytest.mark.parametrize("kind", ["resident", "streaming"])
def test_an_empty_split(memory_split, tmp_path, kind):
    with pytest.raises(UserError, match="split 'train' expects at least one example"):
        make(kind, memory_split(0), tmp_path)
