"""Clips: what augmentation does to their frames, and tiny runs of every model."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import config as cfg
from crnn_jax import evaluate, main, predict
from crnn_jax.data.mixing import Mixing
from crnn_jax.flags import resolve_config
from crnn_jax.studies import saliency
from crnn_jax.tasks import TASKS, make_task
from crnn_jax.tasks.augmentation import Augmentation
from crnn_jax.tasks.classification import Classification
from crnn_jax.tasks.video import Video

pytestmark = pytest.mark.long

NORM = {"mean_C": jnp.array([10.0, 20.0, 30.0]), "std_C": jnp.array([2.0, 3.0, 4.0])}
AUGMENTATIONS = {
    "placement": {"crop_padding": 2, "flip": "random"},
    "cutout": {"cutout": 3},
    "mixup": {"mixing": Mixing(0.5, 0.0, 0.0)},
    "cutmix": {"mixing": Mixing(0.0, 1.0, 0.0)},
    "erase": {"mixing": Mixing(0.0, 0.0, 0.9)},
}
TINY = {
    "model.width": 4,
    "model.hidden_units": 8,
    "batch_size": 64,
    "data.test_fraction": 0.05,
    "duration": "8 steps",
    "optim.warmup": "2 steps",
    "checkpoint.every": "4 steps",
    "eval.every": "0 steps",
    "log.every": "4 steps",
    "log.tracker": "none",
}


def tiny_video(model, **changes):
    config = resolve_config(f"configs/moving_digits.py:{model}", {})
    for key, value in {**TINY, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        if not key.startswith("model.") or key.removeprefix("model.") in config.model:
            cfg.override(config, key, str(value))
    return config


def flags_of(model, **changes):
    changes = {**TINY, **{k.replace("__", "."): v for k, v in changes.items()}}
    has = tiny_video(model).model
    keep = {
        k: v
        for k, v in changes.items()
        if not k.startswith("model.") or k.removeprefix("model.") in has
    }
    return [
        f"--config=configs/moving_digits.py:{model}",
        *(f"--config.{key}={value}" for key, value in keep.items()),
    ]


def make_batch(size=6, frames=5):
    image_BHWC = np.random.default_rng(0).integers(0, 256, (size, 12, 10, 3), np.uint8)
    batch = {
        "label": jnp.arange(size, dtype=jnp.int32) % 3,
        "weight_B": jnp.ones(size),
        "epoch_B": jnp.zeros(size, jnp.int32),
        "example_B": jnp.arange(size, dtype=jnp.int32),
    }
    clip_BFHWC = np.repeat(image_BHWC[:, None], frames, axis=1)
    return {**batch, "image": jnp.asarray(image_BHWC)}, {**batch, "clip": jnp.asarray(clip_BFHWC)}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_all_frames_of_a_clip_are_augmented_alike_to_the_pixel(name):
    of_images, of_clips = make_batch()
    off = {"crop_padding": 0, "flip": "none", "cutout": 0, "dtype": jnp.float32}
    augmentation = Augmentation(**{**off, **AUGMENTATIONS[name]})
    image_BHWC, _ = Classification(augmentation).prepare(of_images, NORM, jnp.uint32(3), train=True)
    clip_BFHWC, _ = Video(augmentation).prepare(of_clips, NORM, jnp.uint32(3), train=True)
    plain, _ = Video(augmentation).prepare(of_clips, NORM, jnp.uint32(3), train=False)
    assert not np.array_equal(clip_BFHWC, plain)
    for frame in range(clip_BFHWC.shape[1]):
        np.testing.assert_array_equal(clip_BFHWC[:, frame], image_BHWC)


def test_the_task_is_chosen_by_name():
    assert TASKS["video"] is Video
    task = make_task(tiny_video("cnn"), 4)
    assert (task.pixels, task.score) == ("clip", "accuracy")
    assert list(task.fields((8, 16, 16, 1))) == ["clip", "label"]


@pytest.mark.parametrize("model", ["cnn", "tsn", "lrcn"])
def test_a_model_trains_on_clips(model, start_run):
    experiment, _, pipeline, step, state = start_run(tiny_video(model))
    inputs = pipeline.train_inputs(0)
    program = jax.jit(step)
    losses = []
    for _, batch in zip(range(3), inputs, strict=False):
        state, totals = program(state, experiment.task.empty(), batch)
        losses.append(totals.loss())
    assert np.all(np.isfinite(losses))
    assert experiment.input_shape == (8, 16, 16, 1)


def read_losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["train/loss"] for r in map(json.loads, lines) if "train/loss" in r}


@pytest.mark.slow
def test_runs_are_equal_streamed_on_eight_devices_and_go_on_where_they_were(tmp_path, capsys):
    base = flags_of("crnn")
    main.main([*base, f"--workdir={tmp_path / 'a'}"])
    assert "test accuracy" in capsys.readouterr().out.splitlines()[-1]
    streamed = ["--config.data.pipeline=streaming", "--config.steps_per_dispatch=1"]
    main.main([*base, *streamed, f"--workdir={tmp_path / 'b'}"])
    a, b = read_losses(tmp_path / "a"), read_losses(tmp_path / "b")
    assert a.keys() == b.keys()
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-4)
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "checkpoints" / "8")  # as a run that was killed after step 4
    (tmp_path / "c" / "result.json").unlink()
    capsys.readouterr()
    main.main([*base, f"--workdir={tmp_path / 'c'}"])
    assert "resuming at step 4/8" in capsys.readouterr().out
    assert read_losses(tmp_path / "c") == a
    for devices in (1, 8):
        mesh = [f"--config.mesh.data={devices}", f"--workdir={tmp_path / str(devices)}"]
        main.main([*base, *mesh])
    one, eight = read_losses(tmp_path / "1"), read_losses(tmp_path / "8")
    assert one.keys() == eight.keys() == a.keys()
    np.testing.assert_allclose(list(one.values()), list(eight.values()), rtol=1e-4)
    evaluate.main([f"--workdir={tmp_path / 'a'}", "--report"])
    evaluated = capsys.readouterr().out.splitlines()[-1]
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert f"({result['test']['num_correct']}/{result['test']['num_examples']})" in evaluated
    report = json.loads((tmp_path / "a" / "report_test" / "report.json").read_text())
    assert report["summary"] == result["test"]
    assert (tmp_path / "a" / "report_test" / report["mistakes"][0]["picture"]).is_file()


def run_expecting_one_line(call, argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        call(argv)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_a_deep_rnn_reads_no_clips(tmp_path, capsys):
    argv = ["--config=configs/moving_digits.py:rnn_deep", f"--workdir={tmp_path / 'a'}"]
    assert "rnn_deep" in run_expecting_one_line(main.main, argv, capsys)


@pytest.mark.parametrize(
    ("task", "source", "words"),
    [
        ("video", "digits", ("clip, label", "image, label")),
        ("classification", "moving_digits", ("image, label", "clip, label")),
    ],
)
def test_a_source_without_the_tasks_fields(tmp_path, capsys, task, source, words):
    argv = [*flags_of("crnn"), f"--workdir={tmp_path / 'a'}"]
    argv += [f"--config.task={task}", f"--config.data.source={source}"]
    line = run_expecting_one_line(main.main, argv, capsys)
    assert all(word in line for word in words)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.flip=random", "'data.flip' expects none for 'moving_digits'"),
        ("data.flip=alternating", "found 'alternating': set it to none"),
        ("data.crop_padding=9", "'data.crop_padding' expects at most 8 for 'moving_digits'"),
        ("eval.tta=mirror", "test-time augmentation expects none for 'moving_digits'"),
        ("eval.tta=mirror_shift", "found 'mirror_shift': change 'eval.tta' or --tta"),
    ],
)
def test_what_shows_another_motion_than_the_class_says_is_refused(tmp_path, capsys, setting, words):
    argv = [*flags_of("cnn"), f"--workdir={tmp_path / 'a'}", f"--config.{setting}"]
    assert words in run_expecting_one_line(main.main, argv, capsys)
    assert not (tmp_path / "a" / "config.json").exists()


def test_a_run_that_had_mirrors_opens_and_is_not_evaluated_by_them(tmp_path, capsys):
    workdir = tmp_path / "a"
    main.main([*flags_of("cnn"), f"--workdir={workdir}"])
    config = json.loads((workdir / "config.json").read_text())
    config["data"]["flip"], config["eval"]["tta"] = "random", "mirror"
    (workdir / "config.json").write_text(json.dumps(config))
    evaluate.main([f"--workdir={workdir}"])
    assert "test accuracy 0." in capsys.readouterr().out
    line = run_expecting_one_line(evaluate.main, [f"--workdir={workdir}", "--tta=mirror"], capsys)
    assert "of which a mirrored example is of another class, found 'mirror'" in line


def test_images_given_to_a_run_on_clips(tmp_path, capsys):
    from PIL import Image

    main.main([*flags_of("cnn"), f"--workdir={tmp_path / 'a'}"])
    capsys.readouterr()
    path = tmp_path / "x.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    argv = [f"--workdir={tmp_path / 'a'}"]
    line = run_expecting_one_line(predict.main, [*argv, str(path)], capsys)
    assert "x.png" in line
    line = run_expecting_one_line(predict.main, [*argv, str(tmp_path)], capsys)
    assert "expected videos, which this run reads, below" in line
    line = run_expecting_one_line(saliency.main, argv, capsys)
    assert "expected a run of task classification, found one of task 'video'" in line
