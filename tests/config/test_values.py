"""Defaults, overrides, durations and the messages of config mistakes."""

import pytest

from crnn_jax import config as cfg
from crnn_jax.errors import UserError
from crnn_jax.validation import validate


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("10 epochs", 100),
        ("0.1 epochs", 1),
        ("1 epoch", 10),
        ("7 steps", 7),
        ("7steps", 7),
        ("101 examples", 2),
        ("1e3 examples", 10),
        ("0 steps", 0),
    ],
)
def test_steps_of_a_duration(duration, expected):
    assert cfg.steps(duration, num_examples=1000, batch_size=100) == expected


@pytest.mark.parametrize(
    "duration", ["1e999 steps", "9" * 400 + " steps", "3e9 steps", "1e9 epochs"]
)
def test_a_duration_that_cannot_be_counted(duration):
    with pytest.raises(UserError, match=r"'duration' expects at most 2147483647 steps, found '"):
        cfg.steps(duration, 1000, 100)


@pytest.mark.parametrize(
    ("text", "expected"), [("32", 32), ("(32, 48)", (32, 48)), ("[8,9]", (8, 9)), ("0", 0)]
)
def test_a_size_may_be_a_pair(text, expected):
    config = cfg.default_config("crnn")
    cfg.override(config, "data.image_size", "(5, 6)")  # and what was a pair may be a number
    cfg.override(config, "data.image_size", text)
    validate(config)
    assert config.data.image_size == expected
    assert cfg.config_of_flat(cfg.flatten(config)).to_dict() == config.to_dict()


def test_a_whole_number_in_a_stored_config_is_the_float_that_its_key_expects():
    flat = cfg.flatten(cfg.default_config("crnn"))
    config = cfg.config_of_flat({**flat, "optim.clip_norm": 5, "seed": 5})
    assert isinstance(config.optim.clip_norm, float)
    assert isinstance(config.seed, int)
    config = cfg.config_of_flat({**flat, "optim.clip_norm": 10**400})
    with pytest.raises(UserError, match=r"'optim\.clip_norm'"):
        validate(config)


@pytest.mark.parametrize("text", ["(32,)", "(1, 2, 3)", "(0, 4)", "(4, 99999)", "(4, 5.0)", "()"])
def test_other_pairs_are_refused(text):
    config = cfg.default_config("crnn")
    cfg.override(config, "data.image_size", text)
    with pytest.raises(UserError, match=r"or two such above 0, as \(32, 48\) for height and width"):
        validate(config)


def test_no_other_key_takes_a_pair():
    config = cfg.default_config("crnn")
    with pytest.raises(UserError, match="expects int"):
        cfg.override(config, "data.cutout", "(3, 4)")
    with pytest.raises(UserError, match="expects int"):
        cfg.override(config, "data.image_size", "x")
    cfg.override(config, "data.image_size", "(32, 48)")
    cfg.override(config, "data.crop", "paper")
    cfg.override(config, "data.pipeline", "streaming")
    with pytest.raises(UserError, match=r"expects one number with data\.crop"):
        validate(config)


def test_round_up():
    assert [cfg.round_up(n, 4) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]
    assert cfg.round_up(7, 1) == 7


@pytest.mark.parametrize(
    "duration", ["10", "epochs", "ten epochs", "10 epochs 5 steps", "-1 steps", "1.2.3 steps", ""]
)
def test_a_duration_is_exactly_one_number_and_unit(duration):
    with pytest.raises(UserError, match=r"'optim\.warmup' expects one number of epochs"):
        cfg.steps(duration, 1000, 100, "optim.warmup")


def test_override_parses_by_the_type_of_the_default():
    config = cfg.default_config("crnn")
    for key, text in {
        "optim.learning_rate": "1",
        "data.skip_corrupt": "true",
        "model.stage_multipliers": "(1,4)",
        "seed": "3",
        "duration": "5 steps",
    }.items():
        cfg.override(config, key, text)
    assert config.optim.learning_rate == 1.0
    assert type(config.optim.learning_rate) is float
    assert config.data.skip_corrupt is True
    assert config.model.stage_multipliers == (1, 4)
    assert config.seed == 3
    assert config.duration == "5 steps"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trunk/*", ("trunk/*",)),
        ("trunk/*, head/*", ("trunk/*", "head/*")),
        ("('trunk/*', 'head/*')", ("trunk/*", "head/*")),
        ("'trunk/*'", ("trunk/*",)),
        ("", ()),
        ("()", ()),
    ],
)
def test_texts_are_separated_by_commas(text, expected):
    config = cfg.default_config("crnn")
    for _ in range(2):  # over what is there, too
        cfg.override(config, "init.freeze", text)
        assert config.init.freeze == expected


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("optim.learning_rat", "1", "did you mean 'optim.learning_rate'"),
        ("optim", "1", "unknown"),
        ("model.num_frames", "1", "unknown for model 'crnn'; it is a key of lrcn"),
        ("model.hidden_unit", "1", "did you mean 'model.hidden_units'"),
        ("batch_size", "big", "expects int"),
        ("batch_size", "2.5", "expects int"),
        ("seed", "None", "expects int"),
        ("data.skip_corrupt", "1", "expects bool"),
        ("model.stage_multipliers", "5", "expects tuple"),
    ],
)
def test_override_mistakes(key, text, message):
    with pytest.raises(UserError, match=message):
        cfg.override(cfg.default_config("crnn"), key, text)


def test_unknown_model_names_the_closest():
    with pytest.raises(UserError, match="did you mean 'crnn'"):
        cfg.default_config("crn")


def test_argument():
    assert cfg.parse_argument("crnn_small,seed=1,data.flip=none", sizes=("small", "medium")) == (
        "crnn",
        "small",
        {"seed": "1", "data.flip": "none"},
    )
    assert cfg.parse_argument("rnn_deep_medium", sizes=("small", "medium"))[:2] == (
        "rnn_deep",
        "medium",
    )
    assert cfg.parse_argument("rnn_deep", sizes=("small",)) == ("rnn_deep", "", {})
    with pytest.raises(UserError, match="key=value"):
        cfg.parse_argument("crnn,seed")
    with pytest.raises(UserError, match=r"'crnn_small' has no preset in this config; one of: cnn,"):
        cfg.parse_argument("crnn_small")
    with pytest.raises(UserError, match=r"'tsn' has no preset.*: cnn, each also as MODEL_small"):
        cfg.parse_argument("tsn", ["cnn"], sizes=("small",))
    with pytest.raises(UserError, match="each also as MODEL_small or MODEL_medium"):
        cfg.parse_argument("crnn_large", sizes=("small", "medium"))


def test_profile_window():
    assert cfg.profile_window("") is None
    assert cfg.profile_window("3:12") == (3, 12)
    for text in ("3", "0:3", "4:3", "a:b", "1:2:3", "1:" + "9" * 5000):
        with pytest.raises(UserError, match=r"'log\.profile' expects FIRST:LAST"):
            cfg.profile_window(text)


def test_hash_ignores_placement_only():
    config = cfg.default_config("crnn")
    before = cfg.config_hash(config)
    config.data.dir = "/elsewhere"
    config.log.seconds = 1.0
    assert cfg.config_hash(config) == before
    config.seed = 1
    assert cfg.config_hash(config) != before
