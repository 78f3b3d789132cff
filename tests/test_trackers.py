"""Each tracker gets every number once, and a resumed run goes on with its record.

Stand-ins with the interface of wandb, MLflow and Trackio keep what they are told; TensorBoard is
tested for real in test_writers.py.
"""

import json
import os
import subprocess
import sys
import types

import pytest

from crnn_jax import trackers
from crnn_jax.config import config_of_flat, default_config, flatten, override, with_absent
from crnn_jax.errors import UserError
from crnn_jax.trackers import TRACKERS, check_installed
from crnn_jax.validation import validate
from crnn_jax.writers import Writers


class Store:
    """The records of a stand-in: record -> [(step, name, value)], and how often one was begun."""

    def __init__(self):
        self.points, self.configs, self.ended, self.begun = {}, {}, [], 0

    def begin(self, record, config):
        self.begun += 1
        self.points.setdefault(record, [])
        self.configs[record] = config

    def add(self, record, step, numbers):
        self.points[record] += [(step, name, value) for name, value in numbers.items()]


def fake_wandb(store):
    class Run:
        def __init__(self, record):
            self.record = record

        def log(self, numbers, *, step):
            store.add(self.record, step, numbers)

        def finish(self):
            store.ended.append(self.record)

    def init(*, id, resume, mode, project, name, dir, config, settings):
        assert (resume, mode) == ("allow", "offline")
        assert os.environ["WANDB_ERROR_REPORTING"] == "false"
        store.begin(id, config)
        return Run(id)

    return {"wandb": module("wandb", init=init, Settings=lambda silent: None)}


def fake_trackio(store):
    def init(*, project, name, resume, config, auto_log_gpu, auto_log_cpu):
        assert os.environ["TRACKIO_DIR"].endswith("trackio")
        assert (resume, auto_log_gpu, auto_log_cpu) == ("allow", False, False)
        print("a line among those of the training")
        store.begin(name, config)

    def current():
        return [*store.points][-1]

    def log(numbers, *, step):
        store.add(current(), step, numbers)

    def finish():
        print("another one")
        store.ended.append(current())

    return {"trackio": module("trackio", init=init, log=log, finish=finish)}


def fake_mlflow(store):
    class Client:
        def __init__(self, uri):
            assert uri.startswith("sqlite:////")
            assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "1"

        def create_run(self, experiment, run_name):
            store.begin("run 1", {})
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="run 1"))

        def update_run(self, record, status):
            store.begin(record, store.configs[record])

        def log_batch(self, record, *, params=(), metrics=()):
            store.configs[record] |= dict(params)
            for name, value, _, step in metrics:
                store.add(record, step, {name: value})

        def set_terminated(self, record):
            store.ended.append(record)

    def values(*given):
        return given

    entities = module("mlflow.entities", Metric=values, Param=values)
    return {
        "mlflow": module("mlflow", MlflowClient=Client, entities=entities),
        "mlflow.entities": entities,
    }


def module(name, **content):
    found = types.ModuleType(name)
    vars(found).update(content)
    return found


FAKES = {"wandb": fake_wandb, "mlflow": fake_mlflow, "trackio": fake_trackio}


@pytest.fixture
def installed(monkeypatch):
    """Returns install(name) -> the store of a stand-in that is imported as that package."""
    for name in [*os.environ]:
        if name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_")):
            monkeypatch.delenv(name)
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "TRACKIO_DIR"):
        monkeypatch.setenv(name, "")  # so that what is set in the test is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)

    def install(name):
        store = Store()
        for full, fake in FAKES[name](store).items():
            monkeypatch.setitem(sys.modules, full, fake)
        return store

    return install


@pytest.mark.parametrize("name", FAKES)
def test_a_resumed_run_continues_its_record_without_a_number_twice(
    installed, tmp_path, capsys, name
):
    store = installed(name)
    config = {"seed": 3, "optim.learning_rate": 0.5}
    with Writers(tmp_path, tracker=name, config=config) as file:
        file.write(10, {"train/loss": 1.0, "note": "a text", "none": float("nan")})
        file.write(10, {"validation/loss": 1.5})
        file.write(20, {"train/loss": 0.5})
    with Writers(tmp_path, tracker=name, config=config, start_step=10) as file:  # killed after 20
        file.write(20, {"train/loss": 0.5})
        file.write(20, {"validation/loss": 0.75})
        file.write(30, {"train/loss": 0.25})
    ((record, points),) = store.points.items()
    assert points == [
        (10, "train/loss", 1.0),
        (10, "validation/loss", 1.5),
        (20, "train/loss", 0.5),
        (20, "validation/loss", 0.75),
        (30, "train/loss", 0.25),
    ]
    as_told = str if name == "mlflow" else lambda value: value
    assert store.configs[record] == {key: as_told(value) for key, value in config.items()}
    assert store.ended == [record, record]
    assert store.begun == 2
    assert json.loads((tmp_path / "trackers.json").read_text()) == {name: record}
    assert capsys.readouterr().out == ""


def test_a_run_that_begins_again_has_a_record_of_its_own(installed, tmp_path):
    """Before its first checkpoint a workdir is nobody's: the next config may be another."""
    store = installed("wandb")
    with Writers(tmp_path, tracker="wandb", config={"optim.learning_rate": 9.0}) as file:
        file.write(10, {"train/loss": 99.0})
    with Writers(tmp_path, tracker="wandb", config={"optim.learning_rate": 0.1}) as file:
        file.write(10, {"train/loss": 1.0})
    first, second = store.points
    assert store.points[second] == [(10, "train/loss", 1.0)]
    assert store.configs[second] == {"optim.learning_rate": 0.1}
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": second}
    assert store.points[first] == [(10, "train/loss", 99.0)]


@pytest.mark.parametrize("name", FAKES)
def test_two_runs_are_two_records(installed, tmp_path, name):
    if name == "mlflow":
        pytest.skip("MLflow makes the names itself")
    store = installed(name)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Writers(tmp_path / folder, tracker=name).close()
    assert len(store.points) == 2


def test_a_tracker_that_fails_does_not_end_the_training(installed, tmp_path, capsys):
    store = installed("wandb")

    def fail(*_):
        raise RuntimeError("the database is locked\nsecond line")

    store.add = fail
    with Writers(tmp_path, tracker="wandb") as file:
        file.write(1, {"x": 1.0})
        file.write(2, {"x": 2.0})
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "step 1 (RuntimeError: the database is locked); the run goes on without it" in err
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_one_that_cannot_start_is_one_line(installed, tmp_path, monkeypatch):
    installed("wandb")

    def fail(**_):
        raise OSError("no room\nand more")

    monkeypatch.setattr(sys.modules["wandb"], "init", fail)
    with pytest.raises(UserError, match=r"'wandb'.*OSError: no room; 'none' goes on without"):
        Writers(tmp_path, tracker="wandb")


@pytest.mark.parametrize("name", FAKES)
def test_one_that_is_not_installed_says_what_to_install(monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf'pip install -e "\.\[{name}\]"'):
        check_installed(name)


def test_a_training_asks_before_anything_is_made(tiny, tmp_path, monkeypatch):
    from crnn_jax.train.loop import train

    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="expects the package 'wandb'"):
        train(tiny("crnn", log__tracker="wandb"), str(tmp_path / "a"))
    assert not (tmp_path / "a" / "config.json").exists()


def test_no_package_is_imported_before_it_is_chosen():
    code = "import crnn_jax.writers, crnn_jax.trackers, sys; print(sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "crnn_jax.trackers" in out.stdout
    for name in ("'wandb'", "'mlflow'", "'trackio'", "'tensorboardX'"):
        assert name not in out.stdout


def test_each_package_is_an_extra():
    import tomllib

    with open("pyproject.toml", "rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    packages = {kind.package for kind in TRACKERS.values() if kind.package}
    assert packages == set(FAKES)
    assert packages <= extras.keys()


@pytest.mark.parametrize(("old", "new"), [(True, "tensorboard"), (False, "none")])
def test_a_stored_config_with_the_former_key_opens(old, new):
    flat = flatten(default_config("crnn"))
    del flat["log.tracker"]
    config = config_of_flat(with_absent({**flat, "log.tensorboard": old}))
    validate(config)
    assert config.log.tracker == new
    assert "tensorboard" not in config.log


def test_the_former_key_is_read_on_a_command_line_and_named_in_a_config_file():
    config = default_config("crnn")
    override(config, "log.tensorboard", "False")
    assert config.log.tracker == "none"
    with pytest.raises(UserError, match=r"'log.tensorboard' expects bool"):
        override(config, "log.tensorboard", "wandb")
    config.log.tensorboard = True
    with pytest.raises(UserError, match=r"'log.tensorboard' is now 'log.tracker'"):
        validate(config)


def test_a_misspelt_tracker_is_refused():
    config = default_config("crnn")
    config.log.tracker = "wandbb"
    with pytest.raises(UserError, match=r"log.tracker.*did you mean 'wandb'"):
        validate(config)
