"""Videos whose pixels say the number of the frame: exactly the right ones are read."""

import copy
import json
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from crnn_jax import config as cfg
from crnn_jax import evaluate, main, predict
from crnn_jax.config import default_config
from crnn_jax.data.dataset import load_dataset
from crnn_jax.data.frames import Frames, frame_size
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import Encoded
from crnn_jax.data.views import make_view
from crnn_jax.errors import CorruptImageError, UserError
from crnn_jax.flags import resolve_config
from crnn_jax.mesh import make_mesh

CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".mkv": "VP80"}


def make_frame(number, size=32):
    """Returns RGB stripes that are the bits of `number`; red says that channels are in order."""
    frame_HWC = np.zeros((size, size, 3), np.uint8)
    for bit in range(8):
        frame_HWC[:, bit * 4 : bit * 4 + 4, 0] = 255 * (number >> bit & 1)
    return frame_HWC


def number_of(frame_HWC):
    assert frame_HWC[..., 1:].mean() < 60  # stripes are red
    stripe_S = frame_HWC[..., 0].reshape(-1, 8, 4).mean((0, 2))
    return sum(1 << bit for bit in range(8) if stripe_S[bit] > 100)


def write_video(path, num_frames=40, first=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [make_frame(first + number) for number in range(num_frames)]
    if path.suffix == ".gif":
        images = [Image.fromarray(frame) for frame in frames]
        durations = [30 + 10 * (i % 7) for i in range(num_frames)]  # a variable rate
        images[0].save(path, save_all=True, append_images=images[1:], duration=durations)
        return path
    fourcc = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), fourcc, 25, (32, 32))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def read(path, num_frames, view, epoch=0, example=0):
    out = np.empty((num_frames, 32, 32, 3), np.uint8)
    clip = view.decode(Encoded(path, {}, str(path)), epoch, example, out.shape, out)
    return [number_of(frame) for frame in clip]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for part, count in (("train", 4), ("test", 2)):
        for index in range(count):
            write_video(folder / part / "high" / f"{index}.avi", 24, first=100)
            write_video(folder / part / "low" / f"{index}.mp4", 17 + index)
    return folder


def video_config(root, model="crnn", **changes):
    config = resolve_config(f"configs/moving_digits.py:{model}", {})
    flags = {"data.source": f"video:{root}", "data.num_frames": 4, "model.width": 4}
    flags |= {"model.hidden_units": 8, "batch_size": 8, "eval.batch_size": 8}
    for key, value in {**flags, **{k.replace("__", "."): v for k, v in changes.items()}}.items():
        cfg.override(config, key, str(value))
    return config


def load(location, **changes):
    config = copy.deepcopy(default_config("crnn").data)
    for key, value in {"source": f"video:{location}", "num_frames": 4, **changes}.items():
        config[key] = value
    return load_source(config, 0)


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".mkv", ".gif"])
def test_exactly_the_chosen_frames_are_read(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", 41)
    assert read(path, 4, Frames("center")) == [4, 14, 24, 35]
    assert read(path, 41, Frames("center")) == list(range(41))
    view = Frames("random", 7)
    for epoch in range(3):
        assert read(path, 5, view, epoch, 2) == view.choose(41, 5, epoch, 2)


def test_segments_cover_a_video_and_random_frames_lie_in_theirs():
    assert Frames("center").choose(4, 4, 0, 0) == [0, 1, 2, 3]
    assert Frames("center").choose(9, 3, 5, 5) == [1, 4, 7]
    view = Frames("random", 1)
    drawn = np.array([view.choose(10, 4, epoch, 0) for epoch in range(300)])
    segments = [set(column.tolist()) for column in drawn.T]
    assert segments == [{0, 1}, {2, 3, 4}, {5, 6}, {7, 8, 9}]
    counts = np.bincount(drawn[:, 1])[2:]
    assert counts.min() > 70  # of 100
    assert view.choose(10, 4, 1, 0) == drawn[1].tolist()
    others = [Frames("random", 2), view]
    assert any(others[0].choose(999, 4, 0, 0) != v.choose(999, 4, 0, 1) for v in others)
    assert view.evaluation() == Frames("center", 1)


def test_source(root):
    source = load(root)
    assert source.class_names == ("high", "low")
    assert source.input_shape == (4, 32, 32, 3)
    assert (len(source.train), len(source.test)) == (8, 4)
    example = source.train.read(0)
    assert [number_of(frame) for frame in example["clip"]] == [102, 108, 114, 120]
    assert example["label"] == 0
    assert source.train.group_N is not None
    assert source.train.group_N.tolist() == [0] * 4 + [1] * 4
    copied = pickle.loads(pickle.dumps(source.train))
    np.testing.assert_array_equal(copied.read(5)["clip"], source.train.read(5)["clip"])
    small = load(root, image_size=8)
    assert small.input_shape == small.train.read(0)["clip"].shape == (4, 8, 8, 3)
    assert len({source.fingerprint, small.fingerprint, load(root, num_frames=5).fingerprint}) == 3


def test_val_beside_test_is_the_validation_part(root, tmp_path):
    for part in ("train", "test", "val"):
        write_video(tmp_path / part / "high" / "0.avi", 8)
    source = load(tmp_path)
    assert source.validation is not None
    assert len(source.validation) == 1


def test_a_part_is_held_out_where_there_is_no_test_split(tmp_path):
    for index in range(12):
        write_video(tmp_path / "one" / f"{index}.avi", 6)
        write_video(tmp_path / "two" / f"{index}.avi", 6, first=50)
    source = load(tmp_path, test_fraction=0.3)
    assert len(source.train) + len(source.test) == 24
    assert len(source.test) > 0


def test_random_frames_stream_and_an_evaluation_sees_the_centres(root):
    config = video_config(root, data__frames="random", data__pipeline="streaming", seed=3)
    dataset = load_dataset(config)
    pipeline = dataset.pipeline("train", 8, make_mesh())
    view = Frames("random", 3)
    for _, batch in zip(range(2), pipeline.train_inputs(0), strict=False):
        triples = zip(batch["clip"], batch["epoch_B"], batch["example_B"], strict=True)
        for clip, epoch, example in triples:
            count = 24 if example < 4 else 17 + int(example) - 4
            first = 100 if example < 4 else 0
            expected = [first + n for n in view.choose(count, 4, int(epoch), int(example))]
            assert [number_of(np.asarray(frame)) for frame in clip] == expected
    (batch, _), *_ = dataset.pipeline("train", 8, make_mesh()).eval_inputs()
    for example in range(8):
        np.testing.assert_array_equal(
            batch["clip"][example], dataset.source.train.read(example)["clip"]
        )


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(b"no video"), "no format"),
        (lambda path: path.write_bytes(b""), "no format"),
        (
            lambda path: write_video(path, 3),
            r"'data.num_frames' \(4\), found 3: leave it out, or train with a lower one",
        ),
        (lambda path: path.unlink(), "no such file"),
    ],
)
def test_unreadable_videos_are_named(tmp_path, damage, found, suffix):
    path = write_video(tmp_path / f"a{suffix}")
    damage(path)
    with pytest.raises(CorruptImageError, match=found) as error:
        read(path, 4, Frames("center"))
    assert str(path) in str(error.value)


def test_a_truncated_video_is_unreadable(tmp_path):
    path = write_video(tmp_path / "a.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorruptImageError, match=r"a\.avi"):
        read(path, 40, Frames("center"))


def test_a_video_without_its_end_is_found_before_random_frames_are_drawn(tmp_path):
    for part in ("train", "test"):
        write_video(tmp_path / part / "a" / "0.avi", 40)
    path = tmp_path / "train" / "a" / "0.avi"
    path.write_bytes(path.read_bytes()[:-1500])  # of the index, and the last three frames
    assert read(path, 4, Frames("center")) == [4, 14, 24, 34]
    load_dataset(video_config(tmp_path)).norm()  # the centres are there
    streaming = {"data__pipeline": "streaming", "data__frames": "random"}
    with pytest.raises(CorruptImageError, match=r"40 frames, as the file says, found 37"):
        load_dataset(video_config(tmp_path, **streaming)).norm()


def test_skip_corrupt_keeps_the_place_with_weight_0(root, tmp_path):
    for part in ("train", "test"):
        for index in range(2):
            write_video(tmp_path / part / "a" / f"{index}.avi", 8)
    write_video(tmp_path / "train" / "a" / "1.avi", 2)
    with pytest.raises(CorruptImageError, match=r"1\.avi.*skip_corrupt"):
        load_dataset(video_config(tmp_path)).norm()
    for changes in ({}, {"data__pipeline": "streaming", "data__frames": "random"}):
        dataset = load_dataset(video_config(tmp_path, data__skip_corrupt=True, **changes))
        (inputs, first), *_ = (pipeline := dataset.pipeline("train", 8, make_mesh())).eval_inputs()
        weight_B = np.asarray(pipeline.eval_assemble(inputs, first)["weight_B"])
        assert weight_B.tolist() == [1, 0] + [0] * 6


def test_a_folder_of_images_is_no_folder_of_videos(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        Image.fromarray(make_frame(1)).save(tmp_path / part / "a" / "x.png")
    with pytest.raises(UserError, match=r"expected videos \(.mp4 .* class 'a', found none"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__frames": "random"}, "'data.pipeline' to 'streaming'"),
        ({"data__frames": "random", "data__source": "digits"}, "'data.source' to video:PATH"),
        (
            {"data__crop": "paper", "data__pipeline": "streaming", "data__image_size": 16},
            "'data.crop' expects 'none'",
        ),
    ],
)
def test_views_that_do_not_fit(root, changes, words):
    with pytest.raises(UserError, match=words):
        make_view(video_config(root, **changes))


def test_size_of_frames(root):
    path = root / "train" / "high" / "0.avi"
    assert frame_size(path, 32 * 32) == (32, 32)
    with pytest.raises(CorruptImageError, match=r"1 to 1023 pixels .'data.max_pixels'.*32x32"):
        frame_size(path, 32 * 32 - 1)


@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_large_frames_are_refused(root, tmp_path, pipeline):
    for part in ("train", "test"):
        write_video(tmp_path / part / "high" / "0.avi", 8)
    config = video_config(tmp_path, data__max_pixels=1000, data__image_size=32)
    config.data.pipeline = pipeline
    with pytest.raises(CorruptImageError, match=r"0\.avi: expected frames of 1 to 1000 pixels"):
        load_dataset(config).norm()


@pytest.mark.long
def test_train_evaluate_and_predict(root, tmp_path, capsys):
    config = video_config(root)
    keys = ("data.source", "data.num_frames", "model.width", "model.hidden_units", "batch_size")
    flat = cfg.flatten(config)
    argv = [f"--config.{key}={flat[key]}" for key in keys]
    argv += ["--config.data.pipeline=streaming", "--config.data.frames=random"]
    argv += ["--config.duration=4 steps", "--config.checkpoint.every=2 steps"]
    workdir = f"--workdir={tmp_path / 'run'}"
    main.main(["--config=configs/moving_digits.py:lrcn", workdir, *argv])
    assert "test accuracy" in capsys.readouterr().out.splitlines()[-1]
    evaluate.main([workdir])
    assert "test accuracy" in capsys.readouterr().out.splitlines()[-1]
    predict.main([workdir, "--json", str(root / "test")])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"][-10:] for line in lines] == [
        "high/0.avi", "high/1.avi", "/low/0.mp4", "/low/1.mp4",
    ]  # fmt: skip
    assert {line["class"] for line in lines} <= {"high", "low"}
    write_video(tmp_path / "short.avi", 2)
    with pytest.raises(SystemExit) as stopped:
        predict.main([workdir, str(tmp_path / "short.avi")])
    assert stopped.value.code == 2
    assert "short.avi: expected at least as many frames" in capsys.readouterr().err
