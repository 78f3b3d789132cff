"""config.json names the run; a workdir of another run is refused and left alone."""

import copy
import json
import os
import pathlib
import unicodedata

import numpy as np
import pytest

from crnn_jax import config as cfg
from crnn_jax import workdir as workdirs
from crnn_jax.config.declared import FORMER_NAMES
from crnn_jax.data import record
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError
from tests.data.test_mask_folder import save
from tests.data.toy_tfds import png, write_toy


def begin(path, config):
    """Does what a new run does up to its first checkpoint."""
    folder, stored = workdirs.open_workdir(str(path))
    workdirs.check_same_run(folder, config, stored)
    workdirs.write_config(folder, config)
    (folder / "checkpoints" / "4").mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("model", cfg.MODEL_DEFAULTS)
def test_config_round_trip(tmp_path, model):
    config = cfg.default_config(model)
    config.optim.learning_rate = 0.25
    begin(tmp_path / "new" / "run", config)
    loaded = workdirs.load_config(tmp_path / "new" / "run")
    assert loaded.to_dict() == config.to_dict()


def test_placement_keys_may_change_and_are_stored(tmp_path):
    config = cfg.default_config("crnn")
    begin(tmp_path, config)
    config.data.dir = "/elsewhere"
    begin(tmp_path, config)
    assert workdirs.load_config(tmp_path).data.dir == "/elsewhere"


def test_the_stored_config_of_a_new_run_is_none(tmp_path):
    assert workdirs.open_workdir(str(tmp_path))[1] is None
    begin(tmp_path, cfg.default_config("cnn"))
    stored = workdirs.open_workdir(str(tmp_path))[1]
    assert stored is not None
    assert stored.model.name == "cnn"
    (tmp_path / "checkpoints" / "4").rmdir()  # it was killed before it saved anything
    assert workdirs.open_workdir(str(tmp_path))[1] is None


def test_a_finished_run_may_lie_where_nothing_can_be_written(tmp_path, monkeypatch):
    begin(tmp_path, cfg.default_config("cnn"))

    def refuse(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(workdirs.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system"):
        workdirs.open_workdir(str(tmp_path))
    (tmp_path / "result.json").write_text("{}")
    assert workdirs.open_workdir(str(tmp_path))[1] is not None


def test_all_differing_keys_are_named(tmp_path):
    config = cfg.default_config("crnn")
    begin(tmp_path, config)
    before = (tmp_path / "config.json").read_bytes()
    config.seed, config.model.hidden_units = 3, 7
    with pytest.raises(UserError, match=r"model\.hidden_units is 256 there and 7 here; seed is 0"):
        begin(tmp_path, config)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found no such file"),
        ("{", "cannot be read"),
        ("{}", "no section 'model'"),
        ("[]", "no section"),
    ],
)
def test_a_folder_that_is_no_run(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        workdirs.load_config(tmp_path)


def test_no_folder_is_not_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--workdir expects a folder, found an empty text"):
        workdirs.open_workdir("")


def test_a_folder_that_orbax_cannot_name_is_refused_before_the_first_save(tmp_path):
    with pytest.raises(UserError, match="--workdir expects a path in UTF-8"):
        workdirs.open_workdir(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    for char in "*?[\\":
        with pytest.raises(UserError, match="--workdir expects a path without the characters"):
            workdirs.open_workdir(str(tmp_path / f"lr={char}" / "a"))
    assert not list(tmp_path.iterdir())
    workdirs.open_workdir(str(tmp_path / "lr=0.1] {a} #1 %20 $x ~ 'é' & ;"))


def test_a_file_or_a_name_too_long_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/config.json', found no such file: check --workdir"):
        workdirs.load_config(tmp_path / "file")
    with pytest.raises(UserError, match=r"File name too long\): check --workdir"):
        workdirs.load_config(tmp_path / ("a" * 300))


def test_checkpoints_without_a_config_are_not_touched(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="but no config"):
        workdirs.open_workdir(str(tmp_path))
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


OLD = pathlib.Path(__file__).parent / "data_files" / "config_2026_11.json"


def stored_in(folder, change=lambda content: None):
    content = json.loads(OLD.read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))
    return workdirs.load_config(folder)


def test_a_run_of_an_older_version_opens(tmp_path):
    config = stored_in(tmp_path)
    old = json.loads(OLD.read_text())
    flat = cfg.flatten(config)
    for section, values in old.items():
        for key, value in values.items() if isinstance(values, dict) else [("", values)]:
            name = f"{section}.{key}".rstrip(".")
            name, now = FORMER_NAMES.get(name, (name, {}))
            assert flat[name] == (now[value] if now else value)


def test_a_key_that_a_stored_run_lacks_is_what_it_was_before_it_existed(tmp_path):
    def before(content):
        del content["steps_per_dispatch"], content["optim"]["lookahead_ramp"], content["mesh"]

    config = stored_in(tmp_path, before)
    assert config.steps_per_dispatch == 1  # not the default, which leaves it to be chosen
    assert config.optim.lookahead_ramp == 0.0
    assert config.mesh.data == -1
    workdirs.check_same_run(tmp_path, config, workdirs.load_config(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(sed=1), r"config.json': config key 'sed' is unknown.*'seed'"),
        (lambda c: c.update(optim=3), "config key 'optim' is unknown"),
        (lambda c: c["optim"].update({"a.b": 3}), r"config key 'optim\.a\.b' is unknown"),
        (lambda c: c.update(seed={"a": 1}), r"config key 'seed\.a' is unknown"),
        (lambda c: c["model"].update(name=["crnn"]), "is unknown; one of"),
        (lambda c: c["model"].pop("name"), r"'model\.name' is missing"),
        (lambda c: c["optim"].update(b1=1.5), r"'optim\.b1' expects"),
    ],
)
def test_a_stored_config_that_is_not_valid_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        stored_in(tmp_path, change)


DAMAGED = ["[]", "null", "5", '"text"', "{}", "{", "[" * 100_000, "\xff", '{"class_names": 3}']


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize("read", [workdirs.load_config, workdirs.read_dataset])
def test_records_of_another_shape_are_refused_in_one_line(tmp_path, read, content):
    name = {"load_config": "config.json", "read_dataset": "dataset.json"}[read.__name__]
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=name) as error:
        read(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": [8, 8]},
        {"input_shape": [8, 8, 0]},
        {"input_shape": [8, "8", 1]},
        {"class_names": []},
        {"class_names": [1, 2]},
        {"num_train": None},
        {"num_train": 0},
    ],
)
def test_a_record_of_data_has_a_shape_classes_and_a_count(tmp_path, change):
    good = {"input_shape": [8, 8, 1], "class_names": ["a", "b"], "num_train": 3}
    (tmp_path / "dataset.json").write_text(json.dumps(good))
    assert workdirs.read_dataset(tmp_path) == good
    (tmp_path / "dataset.json").write_text(json.dumps({**good, **change}))
    with pytest.raises(UserError, match=r"dataset\.json' expects 'input_shape'"):
        workdirs.read_dataset(tmp_path)


def test_lines_of_metrics_of_another_shape_are_passed_over(tmp_path):
    lines = [*DAMAGED, '{"step": 1, "seconds/train": "x", "seconds/setup": 2.0}', '{"step": []}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert workdirs.last_seconds(tmp_path, 5) == {"setup": 2.0}
    assert workdirs.logged_names(tmp_path, 1) == {"step", "seconds/train", "seconds/setup"}


@pytest.mark.parametrize("kind", ["masks", "tfds"])
def test_names_of_classes_in_decomposed_letters_are_the_same_data(tmp_path, kind):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    data_config = copy.deepcopy(cfg.default_config("crnn").data)
    if kind == "masks":
        for part in ("train", "test"):
            save(tmp_path, part, "a", np.eye(8))
        (tmp_path / "classes.txt").write_text(f"{decomposed}\ntea\n")
        data_config.source = f"masks:{tmp_path}"
    else:
        write_toy(tmp_path / "toy/1.0.0", {"train": [(png(9), 0)], "test": [(png(9), 1)]})
        (tmp_path / "toy/1.0.0/label.labels.txt").write_text(f"{decomposed}\ntea\n")
        data_config.update({"source": "tfds:toy", "dir": str(tmp_path)})
    facts = record.describe(load_source(data_config, 0), 1, tmp_path / "cache")
    assert facts["class_names"] == [composed, "tea"]
    folder = tmp_path / "run"
    (folder / "checkpoints/1").mkdir(parents=True)
    workdirs.write_dataset(folder, facts)
    workdirs.check_same_data(folder, facts, accept=False)


def test_data_may_move(tmp_path):
    config = cfg.default_config("crnn")
    config.data.source = "folder:/a/images"
    begin(tmp_path, config)
    config.data.source = "folder:/b/images"
    begin(tmp_path, config)
    assert workdirs.load_config(tmp_path).data.source == "folder:/b/images"
    for other in ("digits", "video:/b/images"):
        config.data.source = other
        with pytest.raises(UserError, match=r"data\.source is 'folder:/b/images' there"):
            begin(tmp_path, config)


def test_rates_may_change_after_a_stop_by_numbers_that_are_not_finite(tmp_path):
    config = cfg.default_config("crnn")
    begin(tmp_path, config)
    config.optim.learning_rate, config.optim.clip_norm = 1e-5, 1.0
    with pytest.raises(UserError, match=r"optim\.clip_norm is 0\.0 there and 1\.0 here; optim\.l"):
        begin(tmp_path, config)
    (tmp_path / workdirs.NONFINITE).mkdir()
    begin(tmp_path, config)
    (tmp_path / "result.json").write_text("{}")  # of a finished run nothing of that may change
    config.optim.learning_rate = 1e-4
    with pytest.raises(UserError, match=r"optim\.learning_rate is 1e-05 there"):
        begin(tmp_path, config)


def test_a_run_may_be_longer_only_if_it_is_asked_for(tmp_path):
    config = cfg.default_config("crnn")
    begin(tmp_path, config)
    longer = cfg.default_config("crnn")
    longer.duration = "20 epochs"
    with pytest.raises(UserError, match="with --extend 'duration' may be longer"):
        workdirs.check_same_run(tmp_path, longer, config)
    workdirs.check_same_run(tmp_path, longer, config, extend=True)
