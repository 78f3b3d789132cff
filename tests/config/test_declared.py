"""Every declared key: its default, its range or choices, and what is refused, in a loop."""

import math

import pytest

from crnn_jax import config as cfg
from crnn_jax.config import registries
from crnn_jax.config.key import Key, Range, as_float32, check_type, check_value
from crnn_jax.errors import UserError
from crnn_jax.validation import check_task, validate

KEYS = [
    pytest.param(model, name, key, id=f"{model}-{name}")
    for model in cfg.MODEL_DEFAULTS
    for name, key in cfg.keys_of(model).items()
    if name != "model.name" and (model == "crnn" or name.startswith("model."))
]


def set_key(config, name, value):
    *parents, leaf = name.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    with node.ignore_type():
        node[leaf] = value


def refused(model, name, value):
    """Asserts that `validate` answers in one line that names the key."""
    config = cfg.default_config(model)
    set_key(config, name, value)
    with pytest.raises(UserError, match=f"'{name}'") as caught:
        validate(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def outside(within):
    """Returns numbers just below and above a range, and those that are none."""
    low = within.low if within.above else within.low - max(1, abs(within.low))
    high = within.high if within.below else within.high * 2 + 1
    return [low, high]


@pytest.mark.parametrize(("model", "name", "key"), KEYS)
def test_what_a_key_declares_is_what_is_checked(model, name, key):
    check_type(name, key, key.default)
    assert key.meaning
    default = key.default
    wrong_type = 3 if isinstance(default, str) else "text"
    for value in (wrong_type, None):
        refused(model, name, value)
    if key.choices:
        assert default in key.valid_choices()  # `check_value` relies on it
        refused(model, name, default + "x")
        for choice in key.valid_choices():
            check_value(name, key, choice)
    elif key.check is not None:
        key.check(name, default)
        refused(model, name, "no such form")
    elif isinstance(default, str):
        refused(model, name, "a\0b")
    elif isinstance(default, tuple) and key.within is None:
        for values in ((3,), ("",), ("a\0",), ("a",) * 17):
            refused(model, name, values)
        check_value(name, key, ("a/*", "b"))
    elif isinstance(default, tuple):
        assert key.within is not None
        for number in [*outside(key.within), "a", True, math.nan]:
            refused(model, name, (number,))
        for values in ((), (default[0],) * 17):
            refused(model, name, values)
    elif not isinstance(default, bool):
        assert key.within is not None, f"{name} is a number of any size"
        assert default in key.within
        assert math.isfinite(key.within.low)
        assert math.isfinite(key.within.high)
        for number in outside(key.within):
            refused(model, name, type(default)(number))
        extremes = (math.nan, math.inf, -math.inf) if isinstance(default, float) else (10**400,)
        for number in extremes:
            refused(model, name, number)
        edges = [e for e in (key.within.low, key.within.high) if e in key.within]
        for edge in edges:
            check_value(name, key, type(default)(edge))


def test_a_message_is_one_line_whatever_the_value():
    for text in ("a\nb", "\x1b[2J", "a\r" * 200, "9" * 5000):
        with pytest.raises(UserError) as error:
            check_value("x", Key("a", "", choices=("a", "b")), text)
        assert str(error.value).isprintable()
        for name in ("duration", "log.profile"):
            key = cfg.EVERY_KEY[name]
            with pytest.raises(UserError) as error:
                check_value(name, key, text)
            assert str(error.value).isprintable()
            assert len(str(error.value)) < 250


def test_a_share_that_rounds_to_one_is_refused():
    refused("crnn", "optim.ema_decay", 0.99999999)
    refused("crnn", "optim.b2", 1 - 1e-12)
    refused("crnn", "optim.learning_rate", 1e39)
    assert 0.9999 in Range(0, 1, below=True)
    assert as_float32(1e-40) == 0.0
    assert as_float32(-1e39) == -math.inf
    with pytest.raises(UserError, match=r"below 1, found 0\.99999999 \(1 in float32\)"):
        check_value("x", Key(0.5, "", within=Range(0, 1, below=True)), 0.99999999)


def test_a_number_that_rounds_to_0_is_refused():
    refused("crnn", "optim.clip_norm", 1e-300)  # 0 is "none" there
    refused("crnn", "data.mixup", 1e-39)
    assert 0.0 in Range(0, 1)
    assert 2.0**-126 in Range(0, 1)
    with pytest.raises(UserError, match=r"at most 1, found 1e-50 \(0 in float32\)"):
        check_value("x", Key(0.5, "", within=Range(0, 1)), 1e-50)


def test_the_choices_are_those_of_the_registries():
    from crnn_jax import models, optim
    from crnn_jax.models.recurrent.cells import CELLS

    assert set(cfg.MODEL_DEFAULTS) == set(models.MODELS)
    assert set(cfg.keys_of("rnn_deep")["model.cell"].valid_choices()) == set(CELLS)
    assert cfg.keys_of("cnn")["optim.name"].valid_choices() == tuple(optim.OPTIMIZERS)
    assert cfg.keys_of("cnn")["optim.schedule"].valid_choices() == tuple(optim.SCHEDULES)
    assert cfg.keys_of("cnn")["task"].valid_choices() == tuple(registries.task_keys())


def test_a_new_cell_is_one_edit(monkeypatch):
    from crnn_jax.models.recurrent import cells

    config = cfg.default_config("crnn")
    config.model.cell = "new"
    with pytest.raises(UserError, match=r"'model\.cell' expects one of"):
        validate(config)
    monkeypatch.setitem(cells.CELLS, "new", cells.CELLS["elman"])
    validate(config)


def test_every_choice_of_a_layout_builds():
    """Those choices whose registry is a tuple beside the code that reads it."""
    import jax
    import jax.numpy as jnp

    from crnn_jax.models import build_model

    small = {"width": 4, "hidden_units": 4, "num_conv_layers": 3, "implementation": "scan"}
    for model, name in (("crnn", "sequence"), ("rnn", "tokens"), ("tsn", "consensus")):
        seen = set()
        for choice in cfg.keys_of(model)[f"model.{name}"].valid_choices():
            config = cfg.default_config(model).model
            config.update({k: v for k, v in small.items() if k in config} | {name: choice})
            module = build_model(config, 10, jnp.float32)
            image_BHWC = jnp.ones((1, 8, 12, 3))
            run = lambda x, module=module: module.init_with_output(  # noqa: E731
                jax.random.key(0), x, train=False
            )
            seen.add(str(jax.make_jaxpr(run)(image_BHWC)))
        assert len(seen) == len(cfg.keys_of(model)[f"model.{name}"].valid_choices())


def test_keys_that_may_change_in_a_run():
    changes = {}
    for name, key in cfg.EVERY_KEY.items():
        changes.setdefault(key.changes, set()).add(name)
    sections = {
        key for key in cfg.keys_of("cnn") if key.startswith(("mesh.", "log.", "checkpoint."))
    }
    others = {"data.dir", "data.cache_dir", "data.num_workers", "compile_cache"}
    assert changes["always"] == sections | others | {"eval.every", "eval.batch_size"}
    assert set(cfg.PLACEMENT_KEYS) == changes["always"]
    assert changes["moved"] == {"data.source"}
    assert changes["gone"] == {"init.from"}
    assert changes["longer"] == {"duration"}
    rates = {"optim.learning_rate", "optim.muon_adamw_learning_rate"}
    assert changes["rescue"] == rates | {"optim.clip_norm", "optim.skip_nonfinite"}
    assert set(cfg.PROGRAM_KEYS) == {"model.implementation", "steps_per_dispatch"}


def test_a_key_of_another_task_must_be_at_its_default():
    keys = {"classification": ("data.mixup", "optim.label_smoothing"), "segmentation": ()}
    defaults = {name: key.default for name, key in cfg.keys_of("cnn").items()}
    flat = {**defaults, "data.mixup": 0.2}
    check_task(flat, defaults, keys)
    check_task({**defaults, "task": "segmentation"}, defaults, keys)
    message = (
        r"'data\.mixup' is not read by task 'segmentation': expected its default 0\.0, found 0\.2"
    )
    with pytest.raises(UserError, match=message):
        check_task({**flat, "task": "segmentation"}, defaults, keys)
