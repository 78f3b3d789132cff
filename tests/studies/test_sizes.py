import json

import pytest

from crnn_jax.studies import sizes


def test_counts_of_every_model_are_written(tmp_path, capsys):
    config = tmp_path / "own.py"
    config.write_text(
        "from crnn_jax import config as c\n"
        "def get_config(argument):\n"
        "    config = c.default_config(argument)\n"
        "    config.data.image_size = 16\n"
        "    for key, value in (('width', 4), ('hidden_units', 8), ('num_conv_layers', 3),\n"
        "                       ('patch_sizes', (4,)), ('depths', (1,)), ('channels', (8,))):\n"
        "        if key in config.model:\n"
        "            config.model[key] = value\n"
        "    return config\n"
    )
    sizes.main([f"--config={config}", "--classes=7", f"--results={tmp_path}"])
    content = json.loads((tmp_path / "sizes_own.json").read_text())
    rows = {row["model"]: row for row in content["models"]}
    assert list(rows) == ["cnn", "rnn", "rnn_deep", "lrcn", "tsn", "crnn", "sequencer"]
    # RNN by hand: 16 rows of 48 numbers into 3 x 8, 8 into 3 x 8 at each, 8 into 7 at the end.
    assert rows["rnn"]["flops_per_image"] == 2 * (16 * 48 * 24 + 16 * 8 * 24 + 8 * 7)
    assert rows["crnn"]["parameters"] > rows["cnn"]["parameters"]


def test_presets_of_a_config_are_named(tmp_path):
    config = tmp_path / "own.py"
    config.write_text(
        "from crnn_jax import config as c\n"
        "def get_config(argument):\n"
        "    config = c.default_config(argument.removesuffix('_wide'))\n"
        "    config.data.image_size = 16\n"
        "    config.model.hidden_units = 16 if argument.endswith('_wide') else 8\n"
        "    return config\n"
    )
    flags = [f"--config={config}", "--classes=7", f"--results={tmp_path}"]
    sizes.main([*flags, "--models=rnn,rnn_wide"])
    rows = json.loads((tmp_path / "sizes_own.json").read_text())["models"]
    assert [row["model"] for row in rows] == ["rnn", "rnn_wide"]
    assert rows[1]["flops_per_image"] == 2 * (16 * 48 * 48 + 16 * 16 * 48 + 16 * 7)


def test_an_image_size_is_needed(capsys):
    with pytest.raises(SystemExit):
        sizes.main(["--config=configs/digits.py"])
    assert "expects one with 'data.image_size'" in capsys.readouterr().err
