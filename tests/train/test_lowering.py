"""Every config's training step is lowered for TPU and CUDA, on a machine that has neither."""

import jax
import pytest
from jax import export

from crnn_jax.flags import resolve_config
from crnn_jax.models import CLASSIFIERS
from crnn_jax.train.experiment import build
from crnn_jax.train.step import make_train_step

SHAPES = {
    "digits": (8, 8, 1),
    "cifar10": (32, 32, 3),
    "cifar10_race": (32, 32, 3),
    "imagenet": (224, 224, 3),
}


def lowered(config_name, platform, **overrides):
    """Returns the exported step of the config, with the real widths: nothing is computed."""
    keys = {"mesh.data": "1", "batch_size": "8", **overrides}
    config = resolve_config(config_name, keys)
    shape = SHAPES[config_name.partition(".")[0].rpartition("/")[2]]
    experiment = build(config, shape, 10, 50_000)
    step = make_train_step(
        experiment.model,
        experiment.task,
        experiment.optimizer,
        lambda batch, step: batch,
        ema_decay=config.optim.ema_decay,
    )
    vector = {"label": "int32", "epoch_B": "int32", "example_B": "int32", "weight_B": "float32"}
    batch = {name: jax.ShapeDtypeStruct((8,), dtype) for name, dtype in vector.items()}
    batch["image"] = jax.ShapeDtypeStruct((8, *shape), "uint8")
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), experiment.abstract_state()
    )
    totals = jax.eval_shape(experiment.task.empty)
    # The call sets the memory layout of a gradient on a GPU; what is exported here is not kept.
    checks = [export.DisabledSafetyCheck.custom_call("LayoutConstraint")]
    program = export.export(jax.jit(step), platforms=[platform], disabled_checks=checks)
    return program(state, totals, batch)


ALL = [(data, model) for data in SHAPES for model in CLASSIFIERS]
FEW = {("digits", "crnn"), ("cifar10", "rnn")}  # in every run of the tests


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize(
    ("data", "model"),
    [pytest.param(*x, marks=() if x in FEW else pytest.mark.distributed) for x in ALL],
)
def test_every_config_lowers(data, model, platform):
    exported = lowered(f"configs/{data}.py:{model}", platform)
    assert exported.platforms == (platform,)
    text = exported.mlir_module()
    assert "stablehlo.dot_general" in text
    if data in ("digits", "cifar10"):  # Muon's iterations and mixup's draws are loops too
        # The chunked weight gradient is a loop, for the CPU alone: elsewhere only a scan is one.
        long = model in ("rnn", "rnn_deep", "sequencer") and data == "cifar10"
        assert ("stablehlo.while" in text) == long
