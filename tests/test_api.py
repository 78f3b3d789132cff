"""What `import crnn_jax` offers."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.models import MODELS
from crnn_jax.run import Run
from crnn_jax.weight_files import WeightFile, write_weights


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    changes = {
        "model.width": 4,
        "model.num_conv_layers": 2,
        "model.hidden_units": 8,
        "duration": "4 steps",
        "batch_size": 64,
        "log.tracker": "none",
    }
    workdir = tmp_path_factory.mktemp("api")
    return crnn_jax.train("configs/digits.py:crnn", workdir, changes)


def test_the_import_is_instant_and_says_what_there_is():
    code = (
        "import sys, crnn_jax\n"
        "assert not {'numpy', 'jax', 'flax', 'ml_collections'} & set(sys.modules)\n"
        "assert {'load', 'train', 'list_models'} <= set(dir(crnn_jax))\n"
        "assert callable(crnn_jax.train)\n"
        "assert issubclass(crnn_jax.UserError, Exception)\n"
        "assert not {'numpy', 'jax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
    from crnn_jax import load  # what it names is there, whatever was imported before
    from crnn_jax.train import loop

    assert callable(load)
    assert callable(crnn_jax.train)
    assert crnn_jax.train.loop is loop
    with pytest.raises(AttributeError, match="has no attribute 'unheard'"):
        _ = crnn_jax.unheard  # pyright: ignore[reportAttributeAccessIssue]


def test_train_is_documented_as_the_function_that_it_is():
    """The package of this name takes its place."""
    from crnn_jax import api

    assert inspect.signature(crnn_jax.train) == inspect.signature(api.train)
    assert list(inspect.signature(crnn_jax.train).parameters) == ["config", "workdir", "changes"]
    assert inspect.getdoc(crnn_jax.train) == inspect.getdoc(api.train)


def test_what_it_returns_and_raises_can_be_named():
    from crnn_jax.predictor import Predictor

    names = (crnn_jax.Predictor, crnn_jax.Run, crnn_jax.UserError)
    assert names == (Predictor, Run, UserError)
    assert set(crnn_jax.__all__) <= set(dir(crnn_jax))
    assert all(hasattr(crnn_jax, name) for name in crnn_jax.__all__)


def test_a_training_is_a_run_that_opens_again(run):
    assert isinstance(run, Run)
    assert int(run.state.step) == 4
    again = crnn_jax.load(run.workdir)
    assert again.class_names == tuple("0123456789")
    with pytest.raises(UserError, match=r"lacks|expected|found"):
        crnn_jax.load(run.workdir, step=3)


def test_a_config_may_be_an_object(run, tmp_path):
    changed = crnn_jax.train(run.config, tmp_path / "b", {"duration": "2 steps"})
    assert int(changed.state.step) == 2
    assert run.config.duration == "4 steps"


def test_models_are_listed():
    assert crnn_jax.list_models()[: len(MODELS)] == list(MODELS)


def test_what_is_not_there_is_one_line(run, tmp_path):
    with pytest.raises(UserError, match="expected a workdir of a run or an exported file"):
        crnn_jax.load(tmp_path / "missing")
    (tmp_path / "a.onnx").write_text("x")
    with pytest.raises(UserError, match="step expects the workdir of a run"):
        crnn_jax.load(tmp_path / "a.onnx", step=1)


def test_what_is_not_trained_yet_says_what_to_do(tmp_path):
    """Weights of another project, and a model of `list_models` that has none."""
    keys = default_config("sequencer").model.to_dict()
    path = tmp_path / "sequencer2d_s.safetensors"
    about = {"source": "timm sequencer2d_s"}
    arrays = {"params/head/dense/bias": np.zeros(2, np.float32)}
    write_weights(path, WeightFile(arrays, keys, 2, None, (0.0,), (1.0,), about))
    expected = f"weights alone, .*'init.from'.*finetune.py:sequencer,init.from={path}"
    with pytest.raises(UserError, match=expected):
        crnn_jax.load(path)
    for name in set(crnn_jax.list_models()) - set(crnn_jax.list_models(trained=True)):
        with pytest.raises(UserError, match=rf"'{name}', a model that is to be trained.*:{name}'"):
            crnn_jax.load(name)


def test_inputs_of_every_kind_are_the_same_image(run, tmp_path):
    image_HW = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    path = tmp_path / "folder" / "a.png"
    path.parent.mkdir()
    Image.fromarray(image_HW).save(path)
    wanted = run.apply(image_HW[None, ..., None])["probability"]
    kinds = [
        str(path), path, path.parent, Image.open(path), image_HW, image_HW[..., None],
        image_HW[None, ..., None], [path], [image_HW], np.stack([image_HW] * 3, -1),
    ]  # fmt: skip
    for inputs in kinds:
        np.testing.assert_allclose(run.probabilities(inputs), wanted, atol=1e-6)
    (found,) = run.predict(path)
    assert found["path"] == str(path)
    assert found["class"] == run.class_names[int(wanted.argmax())]
    assert found["probability"] == pytest.approx(wanted.max(), abs=1e-6)
    assert len(found["top"]) == 5
    assert "path" not in run.predict(image_HW)[0]


def test_an_image_of_pil_is_as_its_file(run, tmp_path, monkeypatch):
    image_HWC = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    kinds = {"turned.jpg": turned, "turned.png": turned, "cmyk.jpg": Image.Exif()}
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, exif in kinds.items():
        image = Image.fromarray(image_HWC).convert("CMYK" if "cmyk" in name else "RGB")
        image.save(tmp_path / name, exif=exif, quality=95)
        found = run.probabilities(Image.open(tmp_path / name))
        np.testing.assert_allclose(found, run.probabilities(f"~/{name}"), atol=1e-6)
    plain = run.probabilities(image_HWC)
    assert np.abs(run.probabilities(tmp_path / "turned.png") - plain).max() > 1e-3
    for mode in ("YCbCr", "HSV", "RGBX", "LAB"):
        assert run.probabilities(Image.new(mode, (9, 9))).shape == (1, 10)


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        (crnn_jax.load, (None,), "found NoneType"),
        (crnn_jax.load, ("",), "found an empty text"),
        (
            crnn_jax.train,
            (
                None,
                "w",
            ),
            "config expects FILE:MODEL.*found NoneType",
        ),
        (
            crnn_jax.train,
            (
                "digits:cnn",
                None,
            ),
            "workdir expects a path, found NoneType",
        ),
        (
            crnn_jax.train,
            (
                "digits:cnn",
                "w",
                ["a"],
            ),
            "changes expects a dict.*found list",
        ),
        (
            crnn_jax.train,
            (
                "digits:cnn",
                "w",
                {3: 4},
            ),
            "config key '3'",
        ),
    ],
)
def test_arguments_of_another_type_are_one_line(call, arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=expected):
        call(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_inputs_keep_their_order_over_batches(run):
    random = np.random.default_rng(0)
    image_BHWC = random.integers(0, 256, (70, 8, 8, 1), np.uint8)
    found = run.probabilities(list(image_BHWC))
    assert found.shape == (70, 10)
    np.testing.assert_allclose(run.probabilities(image_BHWC[69:]), found[69:], atol=1e-6)
    assert run.probabilities([]).shape == (0, 10)
    assert run.predict([]) == []


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (3, "found int"),
        (np.zeros((8, 8, 1), np.float32), "expected to be uint8, found float32"),
        (np.zeros((2, 9, 9, 1), np.uint8), r"shape \(8, 8, 1\), .*found \(2, 9, 9, 1\)"),
        (np.zeros((8, 8, 2), np.uint8), r"found \(8, 8, 2\)"),
        ("no/such.png", "found no 'no/such.png'"),
        ("", "of images or of a folder, found an empty text"),
        (["no/such.png", ""], "found no 'no/such.png'"),
        (Image.new("F", (8, 8)), "image is expected of 8 or 16 bits .* mode F and size \\(8, 8\\)"),
        (Image.new("RGB", (0, 5)), "size \\(0, 5\\)"),
    ],
)
def test_other_inputs_are_refused_in_one_line(inputs, expected, run):
    with pytest.raises(UserError, match=expected):
        run.predict(inputs)


def test_features_are_what_the_head_reads(run):
    image_BHWC = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), np.uint8)
    feature_BN = run.features(image_BHWC)
    assert feature_BN.shape == (9, 8)
    head = run.weights["params"]["head"]["dense"]
    product = feature_BN @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    logits = run.config.model.logit_scale * product
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(run.probabilities(image_BHWC), expected, atol=1e-5)
    state_BTN = run.features(image_BHWC, layer="recurrent/layer_0")
    np.testing.assert_allclose(state_BTN[:, -1], feature_BN, atol=1e-6)
    assert run.features(image_BHWC, layer="trunk").ndim == 4
    with pytest.raises(UserError, match=r"one of trunk/.*found 'trnk' \(did you mean 'trunk'"):
        run.features(image_BHWC, layer="trnk")
    with pytest.raises(UserError, match="of one input or more"):
        run.features([])


def test_features_of_frames_stand_beside_each_other(tiny, start_run, tmp_path):
    experiment, dataset, _, _, state = start_run(tiny("lrcn", mesh__data=1))
    run = Run(tmp_path, experiment, state, dataset.source.class_names, {})
    image_BHWC = np.zeros((3, 8, 8, 1), np.uint8)
    num_frames = experiment.config.model.num_frames
    assert run.features(image_BHWC).shape == (3, num_frames, 8)
    assert run.features(image_BHWC, layer="trunk").shape[:2] == (3, num_frames)
