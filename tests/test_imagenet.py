"""The ImageNet configs: sizes, and a step of each at 224 pixels (pytest -m slow runs those)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.models import CLASSIFIERS
from crnn_jax.train.experiment import build
from crnn_jax.train.step import make_eval_step, make_train_step

RESNET50_FLOPS = 2 * 4.1e9  # He et al. 2016, table 1: multiply-adds, which count 2 here


@pytest.mark.parametrize("recipe", ["best", "paper", "low_resolution"])
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_every_recipe_is_valid(model, recipe):
    config = resolve_config(f"configs/imagenet.py:{model},recipe={recipe}", {})
    assert config.data.image_size == (160 if recipe == "low_resolution" else 224)
    assert config.data.crop == ("paper" if recipe == "paper" else "random_resized")
    assert config.eval.weights == ("last" if recipe == "paper" else "ema")


def test_the_learning_rate_follows_the_batch():
    base = resolve_config("configs/imagenet.py:crnn", {})
    large = resolve_config("configs/imagenet.py:crnn,hardware=tpu_v4_32", {})
    own = resolve_config("configs/imagenet.py:crnn,batch_size=256", {})
    assert (base.batch_size, base.optim.learning_rate) == (1024, 1e-3)
    assert (large.batch_size, large.optim.learning_rate) == (4096, 2e-3)
    assert (own.batch_size, own.optim.learning_rate) == (256, 5e-4)
    for argument in ("crnn,hardware=tpu", "crnn,recipe=beste"):
        with pytest.raises(UserError, match="expects one of"):
            resolve_config(f"configs/imagenet.py:{argument}", {})


def experiment_of(model):
    config = resolve_config(
        f"configs/imagenet.py:{model},hardware=cpu,batch_size=2", {"mesh.data": "1"}
    )
    return build(config, (224, 224, 3), 1000, 1_281_167)


def test_crnn_computes_no_more_than_resnet50():
    facts = experiment_of("crnn").describe()
    assert 0.7 * RESNET50_FLOPS < facts["flops_per_image"] <= RESNET50_FLOPS


@pytest.mark.slow
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_a_step_and_an_evaluation_at_full_resolution(model):
    experiment = experiment_of(model)
    config = experiment.config
    state = experiment.init_state({"mean_C": np.full(3, 120.0), "std_C": np.full(3, 60.0)})
    index_B = jnp.arange(2, dtype=jnp.int32)
    image_BHWC = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    batch = {
        "image": jnp.asarray(image_BHWC),
        "label": jnp.array([3, 999], jnp.int32),
        "weight_B": jnp.ones(2),
        "epoch_B": index_B * 0,
        "example_B": index_B,
    }

    def assemble(inputs, step):
        return inputs

    ema = config.optim.ema_decay
    step = make_train_step(
        experiment.model, experiment.task, experiment.optimizer, assemble, ema_decay=ema
    )
    trained, totals = jax.jit(step)(state, experiment.task.empty(), batch)
    loss = totals.loss()
    assert 0.5 * math.log(1000) < loss < 2 * math.log(1000)
    assert int(trained.step) == 1
    # The weights stay, since the warm-up begins at 0; the optimizer has seen a gradient.
    before, after = (jax.tree.leaves(s.opt_state) for s in (state, trained))
    assert sum(bool(jnp.any(a != b)) for a, b in zip(before, after, strict=True)) > 10
    evaluate = make_eval_step(
        experiment.model, experiment.task, assemble, weights="ema", ema_decay=ema, tta="none"
    )
    totals, _ = jax.jit(evaluate)(trained, experiment.task.empty(), batch, jnp.uint32(0))
    assert math.isfinite(totals.loss())
