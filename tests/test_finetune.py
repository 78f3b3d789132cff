"""The preset for small folders: sizes from the run whose weights it takes."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.models import CLASSIFIERS
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long

FILE = "configs/finetune.py"


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_the_sizes_are_those_of_cifar10_where_no_run_is_named(model):
    config = resolve_config(f"{FILE}:{model}", {"init.from": "runs/a"})
    small = resolve_config(f"configs/cifar10.py:{model}_small", {})
    sizes = "width stage_multipliers num_conv_layers whiten_size hidden_units patch_sizes depths"
    for key in [*sizes.split(), "channels"]:
        if key in config.model:
            assert config.model[key] == small.model[key]
    assert config.init.skip == ("head/*",)
    probe = resolve_config(f"{FILE}:{model},recipe=probe", {"init.from": "runs/a"})
    assert probe.init.freeze


@pytest.mark.parametrize(("stored", "expected"), [("bfloat16", "auto"), ("float32", "float32")])
def test_the_precision_of_a_faster_machine_is_left_to_the_start(stored, expected, monkeypatch):
    from crnn_jax import weights

    model = resolve_config("configs/cifar10.py:cnn_small", {}).model.to_dict()
    found = weights.Sizes(model, stored, (32, 32, 3))
    monkeypatch.setattr(weights, "sizes", lambda source: found)
    config = resolve_config(f"{FILE}:cnn,init.from=runs/a", {})
    assert config.precision == expected


@pytest.fixture
def folder(tmp_path):
    """Two classes of eight images, bright and dark."""
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        for name, brightness in (("bright", 200), ("dark", 40)):
            for index in range(count):
                path = tmp_path / "images" / part / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(brightness - 30, brightness + 30, (10, 12, 3), np.uint8)
                Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def test_a_folder_from_a_run_on_other_images(tiny, folder, tmp_path, capsys):
    """A run of other sizes on images of another size: nothing but the weights' place is named."""
    source = tiny(
        "crnn",
        data__source=f"folder:{folder}",
        data__image_size=12,
        duration="2 steps",
        batch_size=8,
    )
    train(source, str(tmp_path / "source"))
    argument = f"crnn,recipe=probe,init.from={tmp_path / 'source'}"
    overrides = {"data.source": f"folder:{folder}", "duration": "2 epochs", "batch_size": "8"}
    config = resolve_config(f"{FILE}:{argument}", {**overrides, "optim.warmup": "0 steps"})
    assert (config.model.width, config.model.hidden_units, config.data.image_size) == (4, 8, 12)
    result = train(config, str(tmp_path / "run"))
    assert result["test"]["num_examples"] == 4
    out = capsys.readouterr().out
    assert "skipped     2 arrays" in out
    arrays = json.loads((tmp_path / "run" / "init.json").read_text())["arrays"]
    loaded = {name for name, entry in arrays.items() if entry["state"] == "loaded"}
    assert {name.partition("/")[0] for name in arrays.keys() - loaded} == {"head"}


def test_a_resumed_run_does_not_need_the_weights_that_it_began_with(tiny, folder, tmp_path):
    data = {"data.source": f"folder:{folder}", "optim.warmup": "0 steps", "batch_size": "8"}
    keys = {"data__source": f"folder:{folder}", "data__image_size": 12, "duration": "2 steps"}
    train(tiny("crnn", batch_size=8, **keys), str(tmp_path / "source"))
    command = f"{FILE}:crnn,recipe=probe,init.from={tmp_path / 'source'}"
    overrides = {**data, "duration": "2 epochs", "log.tracker": "none"}
    workdir = str(tmp_path / "run")
    result = train(resolve_config(command, overrides, workdir), workdir)
    shutil.rmtree(tmp_path / "source")
    (tmp_path / "run" / "result.json").unlink()
    again = train(resolve_config(command, overrides, workdir), workdir)
    assert again["test"] == result["test"]
    missing = rf"^config key 'init\.from': .* found nothing there: '{tmp_path / 'source'}'"
    for other in ("", str(tmp_path / "new")):
        with pytest.raises(UserError, match=missing):
            resolve_config(command, overrides, other)
    (tmp_path / "run" / "result.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # nothing of the run is kept: it begins anew
    with pytest.raises(UserError, match=missing):
        resolve_config(command, overrides, workdir)


def test_the_sizes_may_be_those_of_a_model_of_the_package():
    config = resolve_config("finetune:crnn,init.from=digits_crnn", {})
    assert (config.model.width, config.model.hidden_units, config.data.image_size) == (48, 128, 8)
    with pytest.raises(UserError, match=r"of model 'cnn', found 'crnn' in 'digits_crnn'"):
        resolve_config("finetune:cnn,init.from=digits_crnn", {})


def test_mistakes(tiny, tmp_path):
    with pytest.raises(UserError, match=r"'init\.skip' .* set that to the workdir of a run"):
        resolve_config(f"{FILE}:crnn", {})
    with pytest.raises(UserError, match="recipe expects one of finetune, probe, found 'prob'"):
        resolve_config(f"{FILE}:crnn,recipe=prob", {})
    with pytest.raises(UserError, match="found nothing there"):
        resolve_config(f"{FILE}:crnn,init.from=/nonexistent", {})
    train(tiny("cnn", duration="1 steps"), str(tmp_path))
    with pytest.raises(UserError, match=r"of model 'crnn', found 'cnn' .*finetune\.py:cnn"):
        resolve_config(f"{FILE}:crnn,init.from={tmp_path}", {})
