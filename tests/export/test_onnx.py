"""Graphs compute what the models compute, and look as a reader of them expects."""

import collections
import json
import os
import subprocess
import venv

import numpy as np
import pytest

from crnn_jax.errors import UserError

CELLS = ("elman", "gru", "gru_cho", "lstm", "mingru")
CLIP = (3, 6, 5, 2)

OTHERS = [
    ("cnn", {}),
    ("cnn", {"model__norm": False, "model__activation": "gelu", "model__logit_scale": 0.5}),
    ("cnn", {"model__whiten_size": 2, "model__norm_scale": False, "model__num_conv_layers": 5}),
    ("cnn", {"shape": (1, 1, 3)}),
    ("cnn", {"shape": CLIP}),
    ("rnn", {}),
    ("rnn", {"model__tokens": "patches", "model__bidirectional": True}),
    ("rnn", {"shape": CLIP, "model__cell": "lstm"}),
    ("rnn_deep", {"model__patch_sizes": (4, 2)}),
    ("rnn_deep", {"model__cell": "mingru"}),
    ("lrcn", {}),
    ("lrcn", {"model__readout": "attention", "model__bidirectional": True}),
    ("lrcn", {"shape": CLIP, "model__num_recurrent_layers": 2}),
    ("tsn", {}),
    ("tsn", {"model__consensus": "max"}),
    ("tsn", {"model__consensus": "learned", "shape": CLIP}),
    ("crnn", {"model__sequence": "columns"}),
    ("crnn", {"model__sequence": "raster", "model__cell": "mingru"}),
    ("crnn", {"shape": CLIP}),
    ("crnn", {"model__num_recurrent_layers": 2, "model__bidirectional": True}),
    ("sequencer", {}),
    (
        "sequencer",
        {
            "model__depths": (2, 1),
            "model__channels": (8, 12),
            "model__patch_sizes": (2, 2),  # 9 x 7 pixels: 5 x 4 cells, then 3 x 2
            "model__cell": "gru",
            "model__logit_scale": 0.5,
        },
    ),
]
READOUTS = ("last", "mean", "attention")
RECURRENCES = [
    pytest.param(
        "crnn",
        {"model__cell": cell, "model__bidirectional": both, "model__readout": readout},
        # In every run: each cell in both directions, and each readout with both.
        marks=() if (index + place + both) % 3 == 0 else pytest.mark.slow,
    )
    for index, cell in enumerate(CELLS)
    for both in (False, True)
    for place, readout in enumerate(READOUTS)
]


@pytest.mark.parametrize(("model", "changes"), OTHERS + RECURRENCES)
def test_a_graph_equals_the_model(model, changes, random_run, images, expected, reload):
    run = random_run(model, **changes)
    pixels = images(64, run.input_shape)
    wanted = expected(run, pixels)["probability"]
    file = reload("onnx", run)
    assert wanted.std(axis=0).max() > 1e-4  # the images are told apart
    found = file.program(pixels)["probability"]
    np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0)
    np.testing.assert_allclose(file.program(pixels[:1])["probability"], wanted[:1], atol=1e-5)


def nodes_of(run):
    from crnn_jax.export import onnx as onnx_format

    return list(onnx_format.make(run).graph.node)


@pytest.mark.parametrize(
    ("cell", "op", "before"),
    [("elman", "RNN", None), ("gru", "GRU", 1), ("gru_cho", "GRU", 0), ("lstm", "LSTM", None)],
)
def test_a_sequence_is_one_node(cell, op, before, random_run):
    run = random_run("crnn", model__cell=cell, model__bidirectional=True)
    nodes = nodes_of(run)
    counts = collections.Counter(node.op_type for node in nodes)
    assert counts[op] == 1
    assert not {"Loop", "Scan", "If"} & counts.keys()
    (node,) = (node for node in nodes if node.op_type == op)
    attributes = {attribute.name: attribute for attribute in node.attribute}
    assert node.name == "recurrent/layer_0"
    assert attributes["direction"].s == b"bidirectional"
    if before is not None:
        assert attributes["linear_before_reset"].i == before


def test_a_sequencer_is_two_nodes_a_block(random_run):
    changes = {"model__depths": (2, 1), "model__channels": (8, 12), "model__patch_sizes": (2, 2)}
    nodes = nodes_of(random_run("sequencer", **changes))
    counts = collections.Counter(node.op_type for node in nodes)
    assert not {"Loop", "Scan", "If"} & counts.keys()
    assert (counts["LSTM"], counts["LayerNormalization"], counts["Gelu"]) == (6, 7, 3)
    epsilons = {
        round(attribute.f, 9)
        for node in nodes
        for attribute in node.attribute
        if attribute.name == "epsilon"
    }
    assert epsilons == {1e-6}
    names = {node.name for node in nodes if node.op_type == "LSTM"}
    assert {"block_1_0/sweeps/columns/layer_0", "block_1_0/sweeps/rows/layer_0"} <= names


def test_a_graph_has_no_loop_for_mingru_and_no_dead_ends(random_run):
    nodes = nodes_of(random_run("crnn", model__cell="mingru", model__bidirectional=True))
    assert not {"Loop", "Scan", "If"} & {node.op_type for node in nodes}
    read = {name for node in nodes for name in node.input} | {"probability"}
    assert all(read & set(node.output) for node in nodes)


def test_a_file_says_what_it_takes_and_gives(random_run, reload, tmp_path):
    import onnx

    reload("onnx", random_run("crnn"))
    model = onnx.load(tmp_path / "model.onnx")
    (taken,), (given,) = model.graph.input, model.graph.output

    def dims(value):
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert (taken.name, dims(taken)) == ("image", ["batch", 9, 7, 3])
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert (given.name, dims(given)) == ("probability", ["batch", 5])
    found = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert found["class_names"] == [f"class {index}" for index in range(5)]
    assert found["mean"] == [90.0, 110.0, 130.0]
    assert found["std"] == [50.0, 60.0, 70.0]


def test_what_has_no_graph_is_refused_in_one_line(random_run, monkeypatch):
    from crnn_jax.export import onnx, onnx_recurrent

    scenes = random_run("reseg", shape=(8, 8, 3))
    with pytest.raises(UserError, match=r"'model\.name' to be one of cnn, .*found 'reseg'"):
        onnx.make(scenes)
    for order in ("fixed", "per_image"):
        with pytest.raises(UserError, match=rf"'model\.step_order' natural, found '{order}'"):
            onnx.make(random_run("rnn", model__step_order=order))
    monkeypatch.setattr(onnx_recurrent, "CELLS", ("lstm",))
    with pytest.raises(UserError, match=r"'model\.cell' to be one of lstm, found 'gru'"):
        onnx.make(random_run("crnn"))
    monkeypatch.setattr(onnx, "_LARGEST", 100)
    with pytest.raises(UserError, match="weights of at most 100 bytes"):
        onnx.make(random_run("crnn"))


STREAMED = [
    ("rnn", {"model__cell": "lstm", "model__num_recurrent_layers": 2}),
    ("rnn", {"model__cell": "mingru"}),
    ("rnn", {"model__cell": "gru_cho", "shape": CLIP}),
    ("lrcn", {"shape": CLIP}),
    ("crnn", {"shape": CLIP}),
]


@pytest.mark.parametrize(("model", "changes"), STREAMED)
def test_steps_that_are_fed_one_by_one_equal_the_model(
    model, changes, random_run, images, expected, reload, tmp_path
):
    import onnxruntime

    run = random_run(model, **changes)
    pixels = images(4, run.input_shape)
    file = reload("onnx", run, streaming=True)
    wanted = expected(run, pixels)["probability"]
    np.testing.assert_allclose(file.apply(pixels)["probability"], wanted, atol=1e-5)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_inputs()[0].shape == ["batch", *run.input_shape[1:]]
    assert len(session.get_inputs()) == len(session.get_outputs()) > 1


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        ("cnn", {}, "a recurrent model"),
        ("crnn", {}, "clips, or"),
        ("rnn", {"model__tokens": "patches"}, "clips, or"),
        ("rnn", {"model__bidirectional": True}, "bidirectional' False"),
        ("rnn", {"model__readout": "mean"}, "readout' last"),
    ],
)
def test_what_needs_all_of_its_input_is_not_streamed(model, changes, reason, random_run):
    from crnn_jax.export import onnx

    with pytest.raises(UserError, match=f"--streaming expects .*{reason}"):
        onnx.make(random_run(model, **changes), streaming=True)


_ALONE = """
import json, sys
import numpy as np, onnxruntime
assert "jax" not in sys.modules
session = onnxruntime.InferenceSession("model.onnx")
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
(found,) = session.run(["probability"], {"image": np.load("pixels.npy")})
assert found.shape == (3, len(names))
np.save("found.npy", found)
"""


@pytest.mark.slow
def test_a_file_runs_with_onnxruntime_and_numpy_alone(
    random_run, images, expected, reload, tmp_path
):
    run = random_run("crnn", model__bidirectional=True)
    reload("onnx", run)
    pixels = images(3)
    np.save(tmp_path / "pixels.npy", pixels)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    constraints = os.path.abspath("constraints.txt")
    install = [python, "-m", "pip", "install", "-q", "-c", constraints, "onnxruntime", "numpy"]
    subprocess.run(install, check=True, timeout=300)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-c", _ALONE], check=True, cwd=tmp_path, env=env, timeout=60)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, expected(run, pixels)["probability"], atol=1e-5)


def test_a_changed_file_is_found_and_an_older_one_opens(random_run, reload, tmp_path):
    from onnx import load_from_string

    from crnn_jax.export.formats import load_file

    file = reload("onnx", random_run("cnn"))
    assert not any(name.startswith("crnn_jax_s") for name in file.metadata)
    path = tmp_path / "model.onnx"
    whole = path.read_bytes()
    for place in (100, len(whole) // 2, len(whole) - 40, len(whole) - 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"model\.onnx' is damaged, its checksum differs"):
            load_file(path)
    graph = load_from_string(whole)
    ours = [p for p in graph.metadata_props if p.key in ("crnn_jax_sealed", "crnn_jax_crc32")]
    graph.metadata_props.remove(ours[1])  # the end of the file is missing
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(UserError, match="is damaged"):
        load_file(path)
    graph.metadata_props.remove(ours[0])
    path.write_bytes(graph.SerializeToString())
    assert load_file(path).class_names == file.class_names
