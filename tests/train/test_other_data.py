"""A run whose data was changed, moved or renamed before it is resumed or evaluated."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from crnn_jax import evaluate, predict
from crnn_jax.config import override
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.run import open_run
from crnn_jax.studies import saliency
from crnn_jax.train.loop import train

pytestmark = pytest.mark.long

CLASSES = {"ant": 20, "bee": 120, "cow": 220}


def write_images(folder, part, name, count):
    for index in range(count):
        path = folder / part / name / f"{index}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        value = CLASSES.get(name, 0) + index
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


def make_config(source, cache):
    config = resolve_config("configs/digits.py:rnn", {})
    keys = {
        "model.hidden_units": "8",
        "batch_size": "24",
        "duration": "60 steps",
        "optim.learning_rate": "0.02",
        "optim.warmup": "0 steps",
        "data.crop_padding": "0",
        "checkpoint.every": "60 steps",
        "eval.every": "0 steps",
        "log.tracker": "none",
        "data.source": f"folder:{source}",
        "data.cache_dir": str(cache),
    }
    for key, value in keys.items():
        override(config, key, value)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of images, and the workdir of a run that has learned them."""
    root = tmp_path_factory.mktemp("other_data")
    for name in CLASSES:
        write_images(root / "photos", "train", name, 8)
        write_images(root / "photos", "test", name, 4)
    result = train(make_config(root / "photos", root / "cache"), str(root / "run"))
    assert result["test"]["accuracy"] == 1.0
    return root


@pytest.fixture
def root(trained, tmp_path):
    """A copy, whose run is not finished: the last step is saved, the result is not."""
    for name in ("photos", "run", "cache"):
        shutil.copytree(trained / name, tmp_path / name)
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(trained), str(tmp_path)))
    (tmp_path / "run" / "result.json").unlink()
    return tmp_path


def resume(root, source="photos"):
    return train(make_config(root / source, root / "cache"), str(root / "run"))


def evaluated(root, capsys, *flags):
    capsys.readouterr()
    evaluate.main([f"--workdir={root / 'run'}", *flags])
    return capsys.readouterr()


def rename_a_class(photos):
    for part in ("train", "test"):
        (photos / part / "bee").rename(photos / part / "bees")


def add_a_class(photos):
    for part in ("train", "test"):
        write_images(photos, part, "asp", 4)


def add_images(photos):
    write_images(photos, "train", "ant", 10)


def remove_images(photos):
    (photos / "train" / "cow" / "3.bmp").unlink()


def change_an_image(photos):
    path = photos / "train" / "cow" / "3.bmp"
    times = path.stat()
    Image.fromarray(np.full((8, 8, 3), 33, np.uint8)).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def exchange_classes(photos):
    for part in ("train", "test"):
        (photos / part / "ant").rename(photos / part / "x")
        (photos / part / "cow").rename(photos / part / "ant")
        (photos / part / "x").rename(photos / part / "cow")


CHANGES = [
    (rename_a_class, "class 'bee' is missing; class 'bees' is new"),
    (add_a_class, "class 'asp' is new; the train split has 28 examples, in training it had 24"),
    (add_images, "the train split has 26 examples, in training it had 24"),
    (remove_images, "the train split has 23 examples, in training it had 24"),
    (change_an_image, "the train split has other contents or file names"),
    (exchange_classes, "the train split has other contents or file names; the test split"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_resumed_run_refuses_other_data_and_writes_nothing(root, change, words):
    change(root / "photos")
    files = {p: p.read_bytes() for p in (root / "run").rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=words):
        resume(root)
    assert {p: p.read_bytes() for p in (root / "run").rglob("*") if p.is_file()} == files


def test_other_contents_can_be_accepted_and_other_numbers_cannot(root, capsys):
    def accept():
        config = make_config(root / "photos", root / "cache")
        return train(config, str(root / "run"), accept_data=True)

    add_images(root / "photos")
    with pytest.raises(
        UserError, match=r"26 examples, in training it had 24\. Put those data back, or"
    ):
        accept()
    for index in (8, 9):
        (root / "photos" / "train" / "ant" / f"{index}.bmp").unlink()
    change_an_image(root / "photos")
    with pytest.raises(UserError, match="Put those data back, resume with --accept_data, or"):
        resume(root)
    accept()
    assert "resuming on other data: the train split has other" in capsys.readouterr().err
    assert resume(root)["test"]["accuracy"] == 1.0  # it is the run's own now


def test_a_run_without_a_step_takes_any_data(root):
    shutil.rmtree(root / "run" / "checkpoints")
    add_a_class(root / "photos")
    resume(root)
    facts = json.loads((root / "run" / "dataset.json").read_text())
    assert facts["class_names"] == ["ant", "asp", "bee", "cow"]


def test_a_finished_run_is_not_that_of_other_data(root, capsys):
    result = resume(root)
    write_images(root / "others", "train", "ant", 8)
    write_images(root / "others", "test", "ant", 4)
    for other, words in (("others", "classes 'bee', 'cow' are missing"), ("none", "/none'$")):
        with pytest.raises(UserError, match=words):
            resume(root, other)
    shutil.copytree(root / "photos", root / "copy")
    assert resume(root, "copy") == result
    change_an_image(root / "photos")
    with pytest.raises(UserError, match="the train split has other contents"):
        resume(root)
    shutil.rmtree(root / "photos")  # the result stays what it was
    capsys.readouterr()
    assert resume(root) == result
    assert "the data of the finished run were not compared" in capsys.readouterr().err


def test_a_finished_run_gets_the_record_of_its_data_again(root):
    resume(root)
    path = root / "run" / "dataset.json"
    before = path.read_bytes()
    path.write_text("5")
    with pytest.raises(UserError, match="delete it and run the training's command once more"):
        open_run(str(root / "run"))
    path.unlink()
    resume(root)
    assert path.read_bytes() == before


def test_data_that_are_the_same_go_on(root):
    for path in (root / "photos").rglob("*.bmp"):
        os.utime(path)
    assert resume(root)["test"]["accuracy"] == 1.0


def test_a_record_of_an_older_version_is_compared_as_far_as_it_goes(root):
    path = root / "run" / "dataset.json"
    facts = json.loads(path.read_text())
    facts["image_shape"] = facts.pop("input_shape")
    old = json.dumps({key: value for key, value in facts.items() if key != "splits"})
    path.write_text(old)
    add_images(root / "photos")
    with pytest.raises(UserError, match="are 26 examples to train on, in training there were 24"):
        resume(root)
    for index in (8, 9):
        (root / "photos" / "train" / "ant" / f"{index}.bmp").unlink()
    change_an_image(root / "photos")
    resume(root)
    assert json.loads(path.read_text())["splits"]["train"]["num_examples"] == 24


def test_an_evaluation_takes_classes_by_name(root, capsys):
    found = evaluated(root, capsys)
    assert found.out == "test accuracy 1.0000 (12/12)\n"
    assert found.err == ""
    add_a_class(root / "photos")
    found = evaluated(root, capsys)
    assert found.out == "test accuracy 1.0000 (12/12)\n"
    (line,) = found.err.splitlines()
    assert line.startswith(
        f"'folder:{root / 'photos'}' is not as in training: class 'asp' is new; "
    )
    assert line.endswith("; examples of a new class are left out")
    for part in ("train", "test"):
        shutil.rmtree(root / "photos" / part / "ant")
    assert evaluated(root, capsys, "--split=train").out == "train accuracy 1.0000 (16/16)\n"


def test_an_evaluation_of_exchanged_classes_says_so(root, capsys):
    exchange_classes(root / "photos")
    found = evaluated(root, capsys)
    assert found.out == "test accuracy 0.3333 (4/12)\n"
    assert "the test split has other contents or file names" in found.err


def test_no_class_of_the_training(root):
    for part in ("train", "test"):
        for name in CLASSES:
            (root / "photos" / part / name).rename(root / "photos" / part / f"{name}s")
    with pytest.raises(UserError, match="expected a class that the run was trained on, such as"):
        open_run(root / "run").dataset()


def test_another_shape_is_refused(root):
    for path in (root / "photos").rglob("*.bmp"):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)
    with pytest.raises(UserError, match=r"shape \(8, 8, 3\), found \(6, 8, 3\)"):
        open_run(root / "run").dataset()


def test_data_that_have_moved_are_named_by_flags(root, tmp_path, capsys):
    (root / "photos").rename(root / "pictures")
    with pytest.raises(SystemExit) as ended:
        evaluated(root, capsys)
    assert ended.value.code == 2
    assert "photos" in capsys.readouterr().err
    moved = [f"--data_source=folder:{root / 'pictures'}", f"--cache_dir={root / 'new'}"]
    found = evaluated(root, capsys, *moved)
    assert found.out == "test accuracy 1.0000 (12/12)\n"
    assert found.err == ""
    assert (root / "new" / "decoded").is_dir()
    workdir = f"--workdir={root / 'run'}"
    image = str(root / "pictures" / "test" / "bee" / "0.bmp")
    predict.main([workdir, *moved, image])
    assert capsys.readouterr().out.split("\t")[1] == "bee"
    saliency.main([workdir, *moved, "--num=2", "--name=s", f"--results={tmp_path}"])
    predictions = json.loads((tmp_path / "s.json").read_text())["predictions"]
    assert [item["true"] for item in predictions] == ["ant", "ant"]


def test_a_relative_path_is_stored_as_an_absolute_one(root, monkeypatch):
    shutil.rmtree(root / "run")
    config, again = (make_config("photos/", "cache/../cache") for _ in range(2))
    config.data.dir = "~/data"
    again.data.source = f"folder:{root}/photos//"
    monkeypatch.chdir(root)
    result = train(config, "run")
    stored = json.loads((root / "run" / "config.json").read_text())["data"]
    assert stored["source"] == f"folder:{root / 'photos'}"
    assert stored["cache_dir"] == str(root / "cache")
    assert stored["dir"] == os.path.expanduser("~/data")
    monkeypatch.chdir("/")
    assert train(again, str(root / "run")) == result
    assert open_run(root / "run").evaluate("test")["accuracy"] == 1.0


def test_a_relative_path_of_an_older_version_resumes(root, monkeypatch):
    path = root / "run" / "config.json"
    stored = json.loads(path.read_text())
    stored["data"]["source"] = "folder:photos/"
    path.write_text(json.dumps(stored))
    config = make_config("photos", root / "cache")
    monkeypatch.chdir(root)
    assert train(config, "run")["test"]["accuracy"] == 1.0
    assert json.loads(path.read_text())["data"]["source"] == f"folder:{root / 'photos'}"
