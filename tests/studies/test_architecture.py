"""The stages of every model add up to it, and the files say what the stages are."""

import json

import jax.numpy as jnp
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.errors import UserError
from crnn_jax.models import MODELS, build_model
from crnn_jax.report.architecture import shape_text
from crnn_jax.studies import architecture
from crnn_jax.studies.module_calls import module_calls


def stages_of(name, shape=(16, 16, 3), **keys):
    config = default_config(name).model
    config.update({key: value for key, value in keys.items() if key in config})
    model = build_model(config, 10, jnp.float32)
    return model, architecture.stages(model, shape)


@pytest.mark.parametrize("name", MODELS)
def test_stages_add_up_to_the_model(name):
    model, stages = stages_of(name, consensus="learned", readout="attention", whiten_size=2,
                              patch_sizes=(4,), depths=(1,), channels=(8,))  # fmt: skip
    whole = module_calls(model, (16, 16, 3))[-1]
    assert sum(stage["parameters"] for stage in stages) == whole.num_parameters
    assert sum(stage["flops"] for stage in stages) == whole.flops
    assert stages[0]["output"] == [16, 16, 3]


def test_a_crnn_is_named_part_by_part():
    keys = {"width": 4, "stage_multipliers": (1, 2), "num_conv_layers": 3, "hidden_units": 5}
    _, stages = stages_of("crnn", (8, 8, 1), **keys, sequence="columns", dropout=0.25)
    assert [(s["title"], s["output"], s["steps"]) for s in stages] == [
        ("input", [8, 8, 1], None),
        ("2 × conv 3×3", [4, 4, 4], None),
        ("1 × conv 3×3", [2, 2, 8], None),
        ("GRU 5", [2, 5], 2),
        ("readout: last", [5], None),
        ("fully connected", [10], None),
    ]
    assert stages[1]["notes"] == ["max pool", "BatchNorm"]
    assert stages[3]["notes"] == ["a step: a column", "2 steps of 16"]
    assert stages[5]["notes"] == ["dropout 0.25"]
    assert stages[1]["parameters"] == 9 * 1 * 4 + 9 * 4 * 4 + 4 * 4


def test_frames_both_ways_and_layers_are_said():
    _, stages = stages_of("lrcn", num_frames=3, frame_height=0.5, bidirectional=True)
    assert stages[1]["title"] == "3 bands"
    assert stages[1]["output"] == [3, 8, 16, 3]
    (recurrence,) = [stage for stage in stages if stage["kind"] == "recurrence"]
    assert recurrence["steps"] == 3
    assert "both ways" in recurrence["notes"]
    assert stages[-1]["output"] == [3, 10]  # a prediction at each step
    assert "of the map's mean" in stages_of("cnn")[1][-1]["notes"]
    _, stages = stages_of("rnn", num_recurrent_layers=2)
    assert "2 layers" in stages[1]["notes"]


def test_equal_blocks_in_a_row_are_one_stage():
    keys = {"depths": (3, 2), "channels": (8, 16), "patch_sizes": (2, 2)}
    model, stages = stages_of("sequencer", (16, 12, 3), **keys)
    assert [(s["kind"], s["title"], s["output"], s["steps"]) for s in stages] == [
        ("input", "input", [16, 12, 3], None),
        ("map", "linear embedding", [8, 6, 8], None),
        ("block", "3 × block", [8, 6, 8], 8),
        ("map", "linear embedding", [4, 3, 16], None),
        ("block", "2 × block", [4, 3, 16], 4),
        ("head", "fully connected", [10], None),
    ]
    read = ["LSTM 2, both ways", "columns: 8 steps of 8", "rows: 6 steps of 8"]
    assert stages[2]["notes"] == read
    assert stages[4]["notes"][-1] == "then LayerNorm"
    assert stages[5]["notes"] == ["of the map's mean"]
    blocks = [c for c in module_calls(model, (16, 12, 3)) if c.path == ("block_0_0",)]
    assert stages[2]["parameters"] == 3 * blocks[0].num_parameters
    assert stages[2]["flops"] == 3 * blocks[0].flops


@pytest.mark.parametrize(
    "config",
    ["configs/digits.py:crnn", "configs/imagenet.py:lrcn", "configs/digit_scenes.py:reseg"],
)
def test_files_are_written_without_data(config, tmp_path, capsys):
    argv = [f"--config={config}", "--input=64x48x3", "--classes=7", f"--results={tmp_path}"]
    architecture.main([*argv, "--name=a"])
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["stages"][0]["output"] == [64, 48, 3]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 800
    assert "<svg" in (tmp_path / "a.svg").read_text()
    table = (tmp_path / "a.md").read_text()
    assert f"| all | | | {content['parameters']:,} |" in table
    assert "64 × 48 × 3" in capsys.readouterr().out


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in "ab":
        architecture.main(
            ["--config=configs/digits.py:rnn", "--input=8x8x1", "--classes=10", f"--name={name}",
             f"--results={tmp_path}"]
        )  # fmt: skip
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_shapes_as_text():
    assert architecture.parse_shape("8x64x48x3") == (8, 64, 48, 3)
    assert shape_text([32, 32, 3]) == "32 × 32 × 3"
    with pytest.raises(UserError, match=r"--input expects HEIGHTxWIDTHxCHANNELS .* found '32x0x3'"):
        architecture.parse_shape("32x0x3")
