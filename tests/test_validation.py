"""What a config may hold, and the messages of what it may not."""

import pytest

from crnn_jax import config as cfg
from crnn_jax.errors import UserError
from crnn_jax.validation import validate


@pytest.mark.smoke
@pytest.mark.parametrize("model", cfg.MODEL_DEFAULTS)
def test_defaults_are_valid(model):
    config = cfg.default_config(model)
    validate(config)
    assert config.model.name == model


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 0, "above 0"),
        ("batch_size", -4, "0 or more"),
        ("batch_size", 0, "one above 0 and the other 0, found 0 and 0"),
        ("batch_size_per_device", 8, "one above 0 and the other 0, found 128 and 8"),
        ("model.hidden_units", 0, "1 or more"),
        ("model.dropout", 1.0, "below 1"),
        ("data.validation", -0.1, "0 or more"),
        ("optim.learning_rate", float("nan"), "1e-18 or more and at most 1e\\+18, found nan"),
        ("seed", -1, "0 or more"),
        ("seed", 2**32, "at most 4294967295"),
        ("duration", "0 steps", "more than 0"),
        ("optim.name", "adamm", "did you mean 'adam'"),
        ("model.num_conv_layers", 2, "at least one a stage"),
        ("model.stage_multipliers", (1, 0), "numbers above 0"),
        ("eval.weights", "ema", "optim.ema_decay"),
        ("model.activation", "glu", "did you mean 'gelu'"),
        ("model.conv_init", "identity", "he_normal, dirac"),
        ("model.norm_momentum", 1.0, "below 1"),
        ("model.logit_scale", 0.0, "above 0"),
        ("model.whiten_size", -1, "0 or more"),
        ("optim.muon_iterations", 0, "1 or more"),
        ("optim.bias_learning_rate_multiplier", 0.0, "above 0"),
        ("optim.lookahead_steps", -1, "0 or more"),
        ("optim.lookahead_alpha", 1.5, "at most 1"),
        ("eval.tta", "miror", "did you mean 'mirror'"),
        ("data.flip", "randon", "did you mean 'random'"),
        ("data.cutout", -1, "0 or more"),
        ("data.pipeline", "streamin", "did you mean 'streaming'"),
        ("data.crop", "paper", "'data.pipeline' to 'streaming', found 'resident'"),
        ("data.erase", 1.5, "at most 1, found 1.5"),
        ("data.rand_augment_magnitude", 11.0, "at most 10"),
        ("data.mixup", -0.1, "0 or more"),
        ("data.crop", "papier", "did you mean 'paper'"),
        ("data.crop_min_area", 0.0, "above 0"),
        ("model.cell", "grru", "did you mean 'gru'"),
        ("model.implementation", "associative", "'model.cell' to 'mingru', found 'gru'"),
        ("model.implementation", "fusd", "did you mean 'fused'"),
        ("optim.learning_rate", None, "expects float"),
        ("steps_per_dispatch", -1, "0 or more"),
        ("log.profile", "20:10", "FIRST:LAST"),
        ("init.skip", ("head/*",), "'init.from': set that to the workdir of a run, found ''"),
        ("init.freeze", (3,), r"texts, such as 'a,b', found \[3\]"),
        ("init.layer_decay", 0.0, "0.001 or more and at most 1"),
    ],
)
def test_validate_names_the_key(key, value, message):
    config = cfg.default_config("crnn")
    node = config
    *parents, leaf = key.split(".")
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    with pytest.raises(UserError, match=message) as error:
        validate(config)
    assert key in str(error.value)


def test_fused_is_a_kernel_of_the_gru_that_keeps_its_gates():
    config = cfg.default_config("crnn")
    config.model.implementation = "fused"
    validate(config)
    for key, value in (("cell", "lstm"), ("remat", True)):
        config = cfg.default_config("crnn")
        config.model.implementation, config.model[key] = "fused", value
        with pytest.raises(UserError, match=r"'model.implementation' is 'fused'.*found"):
            validate(config)


def test_several_steps_a_program_need_resident_data():
    config = cfg.default_config("crnn")
    config.steps_per_dispatch = 4
    validate(config)
    config.data.pipeline = "streaming"
    with pytest.raises(UserError, match=r"'steps_per_dispatch' expects 0 or 1.*found 4"):
        validate(config)


def test_adam_has_no_weight_decay():
    config = cfg.default_config("crnn")
    config.optim.name, config.optim.weight_decay = "adam", 0.1
    with pytest.raises(UserError, match="choose 'adamw'"):
        validate(config)


@pytest.mark.parametrize("sizes", [(), (2, 0), (2.0,)])
def test_patch_sizes_are_whole_numbers(sizes):
    config = cfg.default_config("rnn_deep")
    config.model.patch_sizes = sizes
    with pytest.raises(
        UserError, match=r"'model\.patch_sizes' expects 1 to 16 whole numbers 1 or more"
    ):
        validate(config)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.image_size", 0, "set 'data.image_size', found 0"),
        ("data.short_side", 200, r"at least 'data.image_size' \(224\) or 0, found 200"),
        ("data.crop_min_area", 1.5, "at most 1, found 1.5"),
    ],
)
def test_crops_need_sizes_that_fit(key, value, message):
    config = cfg.default_config("crnn")
    config.data.update(crop="random_resized", pipeline="streaming", image_size=224)
    validate(config)
    config.data[key.removeprefix("data.")] = value
    with pytest.raises(UserError, match=f"'{key}'|{message}") as caught:
        validate(config)
    assert caught.match(message)


@pytest.mark.parametrize("depths", [(65, 1, 1, 1), (16, 16, 16, 17), (4, 3, 8, 0)])
def test_blocks_are_few_enough_to_be_compiled(depths):
    config = cfg.default_config("sequencer")
    config.model.depths = (16, 16, 16, 16)
    validate(config)
    config.model.depths = depths
    with pytest.raises(UserError, match=r"'model\.depths' expects .*at most 64.*, found"):
        validate(config)


def test_keys_of_another_model_are_unknown():
    config = cfg.default_config("crnn")
    config.model.name = "cnn"
    with pytest.raises(UserError, match=r"'model\.\w+' is unknown for model 'cnn'"):
        validate(config)
