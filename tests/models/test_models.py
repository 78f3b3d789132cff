"""What all models have in common, built from the config as training builds them."""

import contextlib
import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from crnn_jax import models
from crnn_jax.config import MODEL_DEFAULTS, default_config
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.models import CLASSIFIERS, MODELS, build_model, choose_implementation
from crnn_jax.models.heads import Output
from crnn_jax.models.readout import READOUTS
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.models.recurrent.implementations import IMPLEMENTATIONS
from crnn_jax.validation import validate


def tiny(name, **changes):
    config = default_config(name).model
    small = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 3, "hidden_units": 8}
    if name == "sequencer":
        small = {"depths": (1, 1), "channels": (8, 12), "patch_sizes": (2, 1)}
    config.update({key: value for key, value in small.items() if key in config} | changes)
    return build_model(config, 10, jnp.float32)


def fields_of(module):
    names = set(module.__dataclass_fields__) - {"parent", "name"}
    return {name: getattr(module, name) for name in names}


def paths_of(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves}


def images(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_every_model_of_the_config_can_be_built_and_has_its_keys_as_fields():
    assert MODELS.keys() == MODEL_DEFAULTS.keys()
    given = {"num_classes", "dtype"}
    # The deep RNN's layers have no keys for these; what a readout is depends on its key.
    unkeyed = {"num_recurrent_layers", "bidirectional", "remat"}
    fixed = {"rnn_deep": unkeyed, "reseg": unkeyed}
    for name in MODELS:
        own, parts = set(), tiny(name)
        for field, part in fields_of(parts).items():
            part = part[0] if field in ("columns", "rows") else part
            if field == "readout":
                own.add(field)
            else:
                own |= set(fields_of(part)) if isinstance(part, nn.Module) else {field}
        assert own - given - fixed.get(name, set()) == set(MODEL_DEFAULTS[name])


def test_lists_of_a_config_read_from_json_become_tuples():
    config = default_config("crnn").model
    with config.ignore_type():
        config.stage_multipliers = [1, 2, 4]
    assert hash(build_model(config, 10, jnp.float32)) == hash(
        build_model(default_config("crnn").model, 10, jnp.float32)
    )


def test_fused_is_hoisted_where_there_is_no_gpu(monkeypatch):
    assert tiny("crnn", implementation="fused").recurrent.implementation == "hoisted"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert tiny("crnn", implementation="fused").recurrent.implementation == "fused"


TRUNK = {
    f"params/trunk/{layer}"
    for name in ("0_0", "0_1", "1_0")
    for layer in (f"conv_{name}/kernel", f"norm_{name}/bias", f"norm_{name}/scale")
} | {
    f"batch_stats/trunk/norm_{name}/{value}"
    for name in ("0_0", "0_1", "1_0")
    for value in ("mean", "var")
}
HEAD = {"params/head/dense/kernel", "params/head/dense/bias"}
LSTM = {f"params/recurrent/layer_0/{name}" for name in ("kernel_x", "kernel_h", "bias")}
GRU = LSTM | {"params/recurrent/layer_0/bias_h"}
ATTENTION = {f"params/readout/{name}" for name in ("kernel", "bias", "score")}
SWEEPS = {
    f"params/{sweep}_{index}/layer_0{direction}/{path.rpartition('/')[2]}"
    for sweep in ("columns", "rows")
    for index in (0, 1)
    for direction in ("", "_reverse")
    for path in GRU
}
EMBED = {f"params/embed_{stage}/{leaf}" for stage in (0, 1) for leaf in ("kernel", "bias")}
BLOCKS = {
    f"params/block_{stage}_0/{path}"
    for stage in (0, 1)
    for path in (
        *(f"{layer}/{leaf}" for layer in ("norm_sweeps", "norm_mlp") for leaf in ("scale", "bias")),
        *(f"{dense}/{leaf}" for dense in ("mlp_in", "mlp_out") for leaf in ("kernel", "bias")),
        *(f"sweeps/fuse/{leaf}" for leaf in ("kernel", "bias")),
        *(
            f"sweeps/{sweep}/layer_0{direction}/{path.rpartition('/')[2]}"
            for sweep in ("columns", "rows")
            for direction in ("", "_reverse")
            for path in LSTM
        ),
    )
}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("cnn", {}, TRUNK | HEAD),
        ("rnn", {}, GRU | HEAD),
        ("rnn", {"readout": "mean"}, GRU | HEAD),
        ("rnn", {"readout": "attention"}, GRU | ATTENTION | HEAD),
        ("rnn_deep", {}, SWEEPS | HEAD),
        (
            "sequencer",
            {},
            EMBED | BLOCKS | {"params/norm/scale", "params/norm/bias"} | HEAD,
        ),
        ("lrcn", {}, TRUNK | LSTM | HEAD),
        ("lrcn", {"readout": "attention"}, TRUNK | LSTM | ATTENTION | HEAD),
        ("tsn", {}, TRUNK | HEAD),
        ("tsn", {"consensus": "learned"}, TRUNK | HEAD | {"params/consensus_weight"}),
        ("crnn", {}, TRUNK | GRU | HEAD),
        ("crnn", {"readout": "attention"}, TRUNK | GRU | ATTENTION | HEAD),
        (
            "crnn",
            {"whiten_size": 2},
            TRUNK | GRU | HEAD | {"batch_stats/trunk/whiten/kernel", "params/trunk/whiten/bias"},
        ),
    ],
)
def test_old_checkpoints_find_every_array_where_it_was(name, changes, expected):
    """A path that changes makes every checkpoint of before unreadable: add a migration then."""
    model = tiny(name, **changes)
    variables = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), images(1, 8, 8, 1)
    )
    assert paths_of(variables) == expected


def test_a_task_may_bring_its_own_head():
    class Scaled(nn.Module):
        def __call__(self, feature, *, train):
            return 2 * feature

    for name in ("rnn", "crnn"):
        model = build_model(default_config(name).model, 10, jnp.float32, head=Scaled())
        output, variables = jax.eval_shape(
            lambda x, model=model: model.init_with_output(jax.random.key(0), x, train=False),
            images(1, 8, 8, 1),
        )
        assert output.logits_BK.shape == (1, 256)
        assert "head" not in variables["params"]


def test_choices_are_the_registries():
    """The validation of a config's keys and the tables of the models agree."""
    choices = {
        "cell": tuple(CELLS),
        "implementation": ("auto", *IMPLEMENTATIONS),
        "readout": tuple(READOUTS),
    }
    for key, expected in choices.items():
        config = default_config("crnn")
        for value in expected:
            config.model[key] = value
            with contextlib.suppress(UserError):  # of another key, that does not go with this one
                validate(config)
        config.model[key] = "unheard"
        with pytest.raises(UserError, match=f"model.{key}' expects one of {', '.join(expected)};"):
            validate(config)


@pytest.mark.parametrize(
    ("name", "input_shape", "steps", "rows"),
    [
        ("crnn", (16, 16, 3), 2, 4),
        ("crnn", (5, 16, 16, 3), 5, 4),
        ("lrcn", (6, 16, 16, 3), 6, 4),
        ("rnn", (7, 16, 16, 3), 7, 4),
        ("rnn_deep", (16, 16, 3), 8, 4 * 8),
        ("sequencer", (28, 42, 3), 4, 4 * 6),  # columns first
    ],
)
def test_the_implementation_is_chosen_for_what_the_layer_reads(
    name, input_shape, steps, rows, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        models, "fastest", lambda *shape, remat: asked.append((*shape, remat)) or "scan"
    )
    config = default_config(name).model
    if name == "sequencer":
        config.depths = (1, 1, 1, 1)
    units = 48 if name == "sequencer" else config.hidden_units
    found = choose_implementation(config, input_shape, 4, jnp.bfloat16)
    assert found == "scan"
    assert asked == [(config.cell, steps, units, rows, jnp.bfloat16, False)]


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (3, 33, 31, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_shapes_for_any_image_size(name, shape):
    model = tiny(name)
    output, _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), images(*shape)
    )
    batch = shape[0]
    assert (output.logits_BK.shape, output.logits_BK.dtype) == ((batch, 10), jnp.float32)
    assert (output.step_logits_BTK is not None) == (name == "lrcn")
    if name == "lrcn":
        assert output.step_logits_BTK.shape == (batch, 4, 10)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cnn", {}),
        ("rnn", {}),
        ("rnn_deep", {}),
        ("sequencer", {}),
        ("lrcn", {}),
        ("lrcn", {"readout": "attention"}),
        ("tsn", {"consensus": "learned"}),
        ("crnn", {}),
        ("crnn", {"readout": "mean"}),
        ("crnn", {"readout": "attention"}),
    ],
)
def test_a_training_step_is_finite_and_moves_every_parameter(name, changes, draw):
    image_BHWC = images(8, 6, 6, 1)
    model = tiny(name, **changes)

    variables = draw(model, image_BHWC, train=False)
    keys = {"snippet": jax.random.key(2)}

    @jax.jit
    @jax.value_and_grad
    def step(params):
        output, _ = model.apply(
            variables | {"params": params},
            image_BHWC,
            train=True,
            rngs=keys,
            mutable=["batch_stats"],
        )
        return -nn.log_softmax(output.logits_BK)[:, 0].sum()

    value, gradients = step(variables["params"])
    assert 0 < value < 100
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_evaluation_treats_each_image_alone_and_equals_no_jit(name, draw):
    image_BHWC, model = images(3, 8, 8, 1), tiny(name)
    variables = draw(model, image_BHWC, train=False)

    def evaluate(image_BHWC):
        return cast(Output, model.apply(variables, image_BHWC, train=False)).logits_BK

    run = jax.jit(evaluate)
    logits_BK = run(image_BHWC)
    np.testing.assert_allclose(run(image_BHWC[::-1])[::-1], logits_BK, rtol=1e-5, atol=1e-5)
    if name == "crnn":  # one is enough: without jit every operation is compiled by itself
        np.testing.assert_allclose(evaluate(image_BHWC), logits_BK, rtol=1e-5, atol=1e-5)


def test_a_bfloat16_cnn_is_near_the_float32_one():
    """Compiled by XLA's defaults, which once fused the last layers into what is not a number."""
    config = resolve_config("configs/cifar10.py:cnn_small", {"model.whiten_size": "0"})
    random = np.random.default_rng(0)
    image_BHWC = jnp.asarray(random.normal(size=(100, 32, 32, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(96, 10)), jnp.float32)  # it starts as zeros
    logits = {}
    for dtype in ("float32", "bfloat16"):
        model = build_model(config.model, 10, jnp.dtype(dtype))
        start = functools.partial(model.init, train=False)
        variables = jax.jit(start)(jax.random.key(0), image_BHWC[:2])
        variables["params"]["head"]["dense"]["kernel"] = kernel
        program = jax.jit(functools.partial(model.apply, train=False))
        logits[dtype] = cast(Output, program(variables, image_BHWC)).logits_BK
    largest = np.abs(logits["float32"]).max()
    assert largest > 0.1
    np.testing.assert_allclose(logits["bfloat16"], logits["float32"], atol=0.02 * largest)
