"""Config files, overrides, and the messages of mistakes in them."""

import sys

import pytest

from crnn_jax import flags as cli
from crnn_jax.errors import UserError
from crnn_jax.models import CLASSIFIERS

DIGITS = "configs/digits.py:crnn"


@pytest.mark.smoke
def test_overrides_apply():
    overrides = cli.parse_overrides(["--config.seed=3", "--config.optim.learning_rate", "0.5"])
    config = cli.resolve_config(DIGITS, overrides)
    assert config.seed == 3
    assert config.optim.learning_rate == 0.5


def test_argument_overrides_apply():
    assert cli.resolve_config(DIGITS + ",model.hidden_units=7", {}).model.hidden_units == 7


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("file", ["digits", "cifar10", "cifar10_race", "imagenet"])
def test_shipped_configs_are_valid(file, model):
    config = cli.resolve_config(f"configs/{file}.py:{model}", {})
    assert config.model.name == model
    if file == "cifar10":
        for size in ("small", "medium"):
            sized = cli.resolve_config(f"configs/{file}.py:{model}_{size}", {})
            assert sized.precision == "auto"
    else:
        with pytest.raises(UserError, match=f"model '{model}_small' has no preset in this config"):
            cli.resolve_config(f"configs/{file}.py:{model}_small", {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("configs/digit.py:crnn", "did you mean 'configs/digits.py'"),
        ("configs/digits.py:crn", "did you mean 'crnn'"),
        ("configs/cifar10.py:crnn,recipe=papr", "recipe expects one of best, adamw, paper"),
        ("configs/cifar10.py:crnnn", "'crnnn' has no preset.*did you mean 'crnn'"),
        ("configs/imagenet.py:crnn,batch_size=x", "'batch_size' expects int"),
        ("configs/imagenet.py:crnn,batch_size=-4", "'batch_size' expects 0 or more"),
        ("crnn_jax/errors.py:crnn", "get_config"),
        ("~/no_such_file.py:crnn", "found no '/"),
        ("configs:crnn", "found no 'configs'"),
    ],
)
def test_config_file_mistakes(name, message):
    with pytest.raises(UserError, match=message):
        cli.resolve_config(name, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(argument): return {}", "to return a ConfigDict.*found dict"),
        ("def get_config(argument): pass", "to return a ConfigDict.*found NoneType"),
        ("def get_config(): pass", r"expects get_config\(argument\).*found get_config\(\)"),
        ("get_config = 3", "found none in"),
        ("\ndef get_config(argument): return 1 / 0", r"ZeroDivisionError in '.*', line 2: "),
        ("import sys\nsys.exit(7)", "SystemExit in '.*', line 2: 7"),
        ("import no_such_module", "ModuleNotFoundError in '.*', line 1: "),
        ("\n\ndef get_config(argument:", "SyntaxError in '.*', line 3: "),
    ],
)
def test_a_config_file_that_does_not_run_is_one_line(tmp_path, text, message):
    (tmp_path / "my.py").write_text(text)
    with pytest.raises(UserError, match=message):
        cli.resolve_config(f"{tmp_path}/my.py:crnn", {})


def test_a_path_may_have_colons_and_a_home(tmp_path, monkeypatch):
    folder = tmp_path / "a:b.py:c"
    folder.mkdir()
    (folder / "my.py").write_text(
        "from crnn_jax import config as c\n"
        "def get_config(argument='cnn'):\n"
        "    return c.default_config(argument)\n"
    )
    assert cli.resolve_config(f"{folder}/my.py:rnn", {}).model.name == "rnn"
    assert cli.resolve_config(f"{folder}/my.py", {}).model.name == "cnn"
    monkeypatch.setenv("HOME", str(folder))
    assert cli.resolve_config("~/my.py:tsn", {}).model.name == "tsn"
    assert cli.split_name("no.py:crnn,data.dir=a.py:b") == ("no.py", "crnn,data.dir=a.py:b")


def test_a_folder_is_no_config_and_is_not_offered(tmp_path):
    (tmp_path / "my.py").mkdir()
    with pytest.raises(UserError, match=r"found no '.*/my\.py'$"):
        cli.resolve_config(f"{tmp_path}/my.py:rnn", {})


def test_presets_have_names(tmp_path, monkeypatch):
    expected = cli.resolve_config("configs/cifar10.py:crnn_small,seed=3", {})
    monkeypatch.chdir(tmp_path)
    for name in ("cifar10:crnn_small,seed=3", "configs/cifar10.py:crnn_small,seed=3"):
        assert cli.resolve_config(name, {}).to_dict() == expected.to_dict()
    assert cli.resolve_config("digits", {}).data.source == "digits"
    with pytest.raises(UserError, match=r"one of cifar10, .*found no 'cifr10' \(did you mean 'ci"):
        cli.resolve_config("cifr10:crnn", {})
    (tmp_path / "configs").mkdir()
    own = tmp_path / "configs" / "digits.py"
    own.write_text(
        "from crnn_jax import config as c\n"
        "def get_config(argument): return c.default_config('rnn')\n"
    )
    assert cli.resolve_config("configs/digits.py:crnn", {}).model.name == "rnn"
    assert cli.resolve_config("digits:crnn", {}).model.name == "crnn"


def test_a_config_file_imports_what_lies_beside_it(tmp_path):
    for folder, model in (("a", "rnn"), ("b", "tsn")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shared_part.py").write_text(f"MODEL = {model!r}\n")
        (tmp_path / folder / "late").mkdir()
        (tmp_path / folder / "late" / "__init__.py").write_text("")
        (tmp_path / folder / "late" / "seeds.py").write_text("SEED = 7\n")
        (tmp_path / folder / "my.py").write_text(
            "import shared_part\n"
            "from crnn_jax import config as c\n"
            "def get_config(argument=''):\n"
            "    from late.seeds import SEED\n"
            "    config = c.default_config(shared_part.MODEL)\n"
            "    config.seed = SEED\n"
            "    return config\n"
        )
        config = cli.resolve_config(f"{tmp_path}/{folder}/my.py", {})
        assert (config.model.name, config.seed) == (model, 7)
    assert not {"shared_part", "late", "late.seeds"} & set(sys.modules)
    assert not any(path.startswith(str(tmp_path)) for path in sys.path)


@pytest.mark.parametrize("argument", ["--seed=1", "--config.seed", "config.seed=1"])
def test_wrong_flags(argument):
    with pytest.raises(UserError, match="expected"):
        cli.parse_overrides([argument])


def test_the_papers_recipe():
    config = cli.resolve_config("configs/cifar10.py:crnn,recipe=paper,optim.learning_rate=0.5", {})
    assert config.model.cell == "gru_cho"
    assert config.optim.name == "adam"
    assert config.optim.learning_rate == 0.5  # what is written after it wins
    assert cli.resolve_config("configs/cifar10.py:cnn,recipe=paper", {}).optim.name == "adam"


def test_the_papers_recipe_is_the_same_on_both_data_sets_where_it_says_nothing_of_the_data():
    cifar10, imagenet = (
        cli.resolve_config(f"configs/{name}.py:crnn,recipe=paper", {})
        for name in ("cifar10", "imagenet")
    )
    for key in ("cell", "sequence", "norm", "dropout"):
        assert cifar10.model[key] == imagenet.model[key]
    assert (imagenet.model.sequence, imagenet.data.flip) == ("raster", "none")
    assert cifar10.data.flip == imagenet.data.flip
    assert imagenet.data.crop == "paper"  # which the paper says of ImageNet alone


def test_what_fast_trainings_want_is_off_in_the_plain_recipe():
    """benchmarks/step.py copies this network to PyTorch."""
    config = cli.resolve_config("configs/cifar10.py:crnn_small,recipe=adamw,model.width=32", {})
    assert (config.optim.name, config.optim.schedule) == ("adamw", "cosine")
    assert (config.model.whiten_size, config.model.conv_init) == (0, "he_normal")
