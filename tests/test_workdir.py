"""config.json names the run; a workdir of another run is refused and left alone."""

import json

import pytest

from crnn_jax import config as cfg
from crnn_jax import workdir as workdirs
from crnn_jax.errors import UserError


@pytest.mark.parametrize("model", cfg.MODEL_DEFAULTS)
def test_config_round_trip(tmp_path, model):
    config = cfg.default_config(model)
    config.optim.learning_rate = 0.25
    workdirs.open_workdir(str(tmp_path / "new" / "run"), config)
    loaded = workdirs.load_config(tmp_path / "new" / "run")
    assert loaded.to_dict() == config.to_dict()


def test_placement_keys_may_change_and_are_stored(tmp_path):
    config = cfg.default_config("crnn")
    workdirs.open_workdir(str(tmp_path), config)
    config.data.dir = "/elsewhere"
    workdirs.open_workdir(str(tmp_path), config)
    assert workdirs.load_config(tmp_path).data.dir == "/elsewhere"


def test_the_stored_config_of_a_new_run_is_none(tmp_path):
    assert workdirs.stored_config(tmp_path / "new") is None
    workdirs.open_workdir(str(tmp_path), cfg.default_config("cnn"))
    stored = workdirs.stored_config(tmp_path)
    assert stored is not None
    assert stored.model.name == "cnn"


def test_all_differing_keys_are_named(tmp_path):
    config = cfg.default_config("crnn")
    workdirs.open_workdir(str(tmp_path), config)
    before = (tmp_path / "config.json").read_bytes()
    config.seed, config.model.hidden_units = 3, 7
    with pytest.raises(UserError, match=r"model\.hidden_units is 256 there and 7 here; seed is 0"):
        workdirs.open_workdir(str(tmp_path), config)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "found no such file"), ("{", "cannot be read"), ("{}", "no section 'model'")],
)
def test_a_folder_that_is_no_run(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        workdirs.load_config(tmp_path)


def test_checkpoints_without_a_config_are_not_touched(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="but no config"):
        workdirs.open_workdir(str(tmp_path), cfg.default_config("cnn"))
    assert not (tmp_path / "config.json").exists()


def test_seconds_of_the_last_line_up_to_a_step(tmp_path):
    lines = [
        {"step": 4, "seconds/train": 1.5, "train/loss": 1.0},
        {"step": 6, "validation/accuracy": 0.5},
        {"step": 8, "seconds/train": 3.0},
    ]
    torn = '{"step": 9, "sec'
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), torn]))
    assert workdirs.last_seconds(tmp_path, 7) == {"train": 1.5}
    assert workdirs.last_seconds(tmp_path, 8) == {"train": 3.0}
    assert workdirs.last_seconds(tmp_path, 3) == {}


def test_auto_is_what_the_run_began_with(tmp_path):
    config = cfg.default_config("crnn")
    folder, opened = workdirs.open_workdir(str(tmp_path), config)
    assert opened.model.implementation == "auto"
    opened.model.implementation = "scan"
    workdirs.write_config(folder, opened)
    again = cfg.default_config("crnn")
    assert workdirs.open_workdir(str(tmp_path), again)[1].model.implementation == "scan"
    assert workdirs.load_config(tmp_path).model.implementation == "scan"
    again.model.implementation = "hoisted"
    with pytest.raises(UserError, match="implementation is 'scan' there and 'hoisted' here"):
        workdirs.open_workdir(str(tmp_path), again)
