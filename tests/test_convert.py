"""Weights of timm's Sequencer2D: every array has its place, and the network is the same."""

import pathlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from crnn_jax import convert
from crnn_jax.config import default_config
from crnn_jax.flags import resolve_config
from crnn_jax.models import build_model
from crnn_jax.weight_files import nested_arrays, read_weights

FIXTURE = pathlib.Path(__file__).parent / "data_files" / "sequencer_timm.npz"
TINY = {"depths": (2, 1, 1), "channels": (8, 16, 12), "patch_sizes": (3, 2, 1), "mlp_ratio": 2.5}
SIZES = ("sequencer2d_s", "sequencer2d_m", "sequencer2d_l")


def keys_of(**changes):
    return convert.model_keys("sequencer2d_s") | changes


def build(keys, num_classes):
    config = default_config("sequencer").model
    config.update({**keys, "implementation": "hoisted"})
    return build_model(config, num_classes, jnp.float32)


def run_ours(content, image_BHWC) -> tuple[Any, Any]:
    """Returns (the map after the last norm, logits) of the converted weights."""
    model = build(content.model, content.num_classes)

    @jax.jit
    def run(variables, image_BHWC):
        applied: Any = model.apply(
            variables,
            image_BHWC,
            train=False,
            capture_intermediates=lambda module, _: module.name == "norm",
            mutable=["intermediates"],
        )
        output, state = applied
        return state["intermediates"]["norm"]["__call__"][0], output.logits_BK

    return run(nested_arrays(content.arrays), image_BHWC)


def arrays_of(keys, num_classes=7):
    """Random arrays of timm's names and shapes, as large as such a network's are."""
    random = np.random.default_rng(0)
    found = {}
    for part in convert.timm_parts(keys, num_classes):
        for name in part.theirs:
            scale = np.float32(1 / np.sqrt(max(1, np.prod(part.shape[1:]))))
            found[name] = scale * random.standard_normal(part.shape, np.float32)
    return found


@pytest.fixture(scope="module")
def small():
    """Arrays of sequencer2d_s; not to be changed."""
    return arrays_of(convert.model_keys("sequencer2d_s"))


def test_the_same_features_and_logits_as_timm():
    """tests/data_files/make_sequencer_timm.py makes the file with timm and PyTorch."""
    with np.load(FIXTURE) as file:
        arrays = dict(file)
    image_BHWC, *expected = (arrays.pop(n) for n in ("image_BHWC", "feature_BHWC", "logits_BK"))
    content = convert.from_timm(arrays, keys_of(**TINY), "the file")
    assert content.num_classes == 5
    for ours, theirs in zip(run_ours(content, image_BHWC), expected, strict=True):
        assert np.std(theirs) > 0.3
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_timm_itself_computes_the_same(size):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    model, keys = timm.create_model(size, num_classes=7).eval(), convert.model_keys(size)
    weights = {name: torch.tensor(array) for name, array in arrays_of(keys).items()}
    model.load_state_dict(weights, strict=True)
    image_BHWC = np.random.default_rng(1).normal(size=(2, 56, 84, 3)).astype(np.float32)
    with torch.no_grad():
        feature = model.forward_features(torch.tensor(image_BHWC).permute(0, 3, 1, 2))
        expected = feature.numpy(), model.forward_head(feature).numpy()
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    content = convert.from_timm(arrays, keys, "timm")
    for ours, theirs in zip(run_ours(content, image_BHWC), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_every_array_of_the_model_is_made_and_no_other():
    keys = keys_of(**TINY)
    model = build(keys, 7)
    shapes = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), jnp.zeros((1, 12, 12, 3))
    )
    expected = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    found = convert.from_timm(arrays_of(keys), keys, "the file").arrays
    assert {name: array.shape for name, array in found.items()} == expected


@pytest.mark.parametrize(("size", "blocks"), list(zip(SIZES, (18, 24, 36), strict=True)))
def test_the_size_is_found_by_the_names(size, blocks):
    names = set(arrays_of(convert.model_keys(size)))
    assert len(names) == 4 * 2 + 2 + 2 + blocks * (2 * 2 + 2 * 8 + 2 + 2 * 2)
    assert convert.nearest_model(names) == size
    assert convert.nearest_model(names - {"stages.3.blocks.2.norm1.weight"}) == size


def test_gates_and_biases_lie_where_our_cell_reads_them(small):
    """PyTorch stacks i, f, g, o along the rows, and adds two biases."""
    content = convert.from_timm(small, keys_of(), "the file")
    theirs, ours = "stages.1.blocks.2.rnn_tokens.rnn_h.", "params/block_1_2/sweeps/rows/layer_0"
    for direction in ("", "_reverse"):
        forget = small[f"{theirs}weight_ih_l0{direction}"][96 : 2 * 96]
        kernel = content.arrays[f"{ours}{direction}/kernel_x"]
        np.testing.assert_array_equal(kernel[:, 96 : 2 * 96], forget.T)
        both = [small[f"{theirs}bias_{end}_l0{direction}"] for end in ("ih", "hh")]
        np.testing.assert_array_equal(content.arrays[f"{ours}{direction}/bias"], sum(both))


def call(capsys, *arguments):
    """Returns (exit code, out, err) of the command."""
    code = 0
    try:
        convert.main(list(arguments))
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_the_command_writes_a_weight_file(tmp_path, capsys, small):
    path, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(small, path)
    code, text, _ = call(capsys, "timm", str(path), f"--out={out}")
    assert code == 0
    assert "sequencer2d_s, 480 arrays, " in text
    assert "7 classes" in text
    content = read_weights(out)
    assert content.model == convert.model_keys("sequencer2d_s")
    assert content.model["depths"] == (4, 3, 8, 3)
    assert (content.num_classes, content.class_names) == (7, None)
    assert content.mean == pytest.approx((123.675, 116.28, 103.53))
    assert content.std == pytest.approx((58.395, 57.12, 57.375))
    assert content.about["source"] == "timm sequencer2d_s"
    config = resolve_config(f"finetune:sequencer,init.from={out}", {})
    assert config.data.image_size == 224
    assert tuple(config.model.depths) == (4, 3, 8, 3)
    # As any file of the user's: others may read it.
    path.chmod(0o600)
    (tmp_path / "usual").touch()
    assert out.stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("name", ["a.safetensors", "notes.txt"])
def test_no_file_is_overwritten(tmp_path, capsys, small, name):
    save_file(small, tmp_path / "a.safetensors")
    (tmp_path / "notes.txt").write_text("precious")
    before = (tmp_path / name).read_bytes()
    file = str(tmp_path / "a.safetensors")
    code, _, error = call(capsys, "timm", file, f"--out={tmp_path / name}")
    assert (code, (tmp_path / name).read_bytes()) == (2, before)
    expected = "that is not there yet" if name == "a.safetensors" else "ends with .safetensors"
    assert expected in error
    assert len(list(tmp_path.iterdir())) == 2


def without(name):
    return lambda arrays: arrays.pop(name)


def reshaped(name):
    return lambda arrays: arrays.update({name: arrays[name][:-1]})


LSTM = "stages.3.blocks.2.rnn_tokens.rnn_v.bias_hh_l0_reverse"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(LSTM), f"expected an array '{LSTM}', found none in "),
        (without("head.fc.weight"), "expected an array 'head.fc.weight', found none in "),
        (without("stem.proj.bias"), "expected an array 'stem.proj.bias', found none in "),
        (reshaped("norm.weight"), r"'norm.weight' of shape \(384,\), found \(383,\) in "),
        (
            lambda arrays: arrays.update({"stages.0.blocks.4.norm1.weight": np.ones(3)}),
            r"found one more in '.*', 'stages.0.blocks.4.norm1.weight', which has no place",
        ),
    ],
)
def test_a_file_that_is_not_timms_is_refused_by_name(
    tmp_path, capsys, monkeypatch, small, change, message
):
    arrays, out = dict(small), tmp_path / "b.safetensors"
    change(arrays)
    monkeypatch.setattr(convert, "read_arrays", lambda path: (arrays, {}))
    code, _, error = call(capsys, "timm", "a.safetensors", f"--out={out}")
    assert code == 2
    (line,) = error.splitlines()
    assert re.search(message, line)
    assert "is it timm's sequencer2d_s (--model)?" in line
    assert not out.exists()


def test_another_size_is_refused_by_what_it_lacks(tmp_path, capsys, monkeypatch, small):
    monkeypatch.setattr(convert, "read_arrays", lambda path: (small, {}))
    out = f"--out={tmp_path / 'b.safetensors'}"
    code, _, error = call(capsys, "timm", "a.safetensors", out, "--model=sequencer2d_m")
    assert code == 2
    assert "expected an array 'stages.2.blocks.8.norm1.weight', found none" in error
