"""From the paper's recipe to ours, one change a line."""

import json
import pathlib

import pytest

from crnn_jax.config import flatten
from crnn_jax.errors import UserError
from crnn_jax.flags import resolve_config
from crnn_jax.studies import ablation

CONFIG = "configs/cifar10.py:crnn_small"


def test_from_the_papers_recipe_to_the_config_itself():
    lines, points = ablation.make_lines(CONFIG, {"duration": "2 epochs"})
    configs = [flatten(config) for config in points.values()]
    changes = {"duration": "2 epochs"}
    assert configs[0] == flatten(resolve_config(f"{CONFIG},recipe=paper", changes))
    assert configs[-1] == flatten(resolve_config(CONFIG, changes))
    assert len(lines) == len(configs)
    for (_, keys), before, after in zip(lines[1:], configs, configs[1:], strict=False):
        assert {key for key in after if before[key] != after[key]} == set(keys)
        assert all((before[key], after[key]) == pair for key, pair in keys.items())


def test_what_a_preset_leaves_as_the_paper_has_it_is_no_line():
    small, large = (
        [name for name, _ in ablation.make_lines(config, {})[0]]
        for config in (CONFIG, CONFIG.removesuffix("_small"))
    )
    assert "cutout" in large
    assert [name for name in large if name != "cutout"] == small


def test_changes_must_be_all_that_differs(tmp_path):
    path = tmp_path / "own.py"
    text = pathlib.Path("configs/cifar10.py").read_text()
    path.write_text(f"{text}\nCHANGES = (*CHANGES[1:], ('twice', ('model.dropout',)))\n")
    with pytest.raises(UserError, match=r"check model\.dropout, model\.norm$"):
        ablation.make_lines(f"{path}:crnn", {})
    with pytest.raises(UserError, match="with CHANGES"):
        ablation.make_lines("configs/digits.py:crnn", {})


def test_lines_and_gains(stub, tmp_path):
    stub.accuracy = lambda config: (
        0.5 + 0.2 * config.model.norm - 0.05 * (config.data.flip != "none") + 0.01 * config.seed
    )
    arguments = [f"--config={CONFIG}", "--duration=1 epochs", f"--results={tmp_path}"]
    ablation.main([*arguments, "--seeds=2", f"--workdir={tmp_path}/runs"])
    content = json.loads((tmp_path / "ablation_cifar10_crnn_small.json").read_text())
    rows = content["rows"]
    # The paper's recipe and every change but the cutout, which the small size does not have.
    assert len(stub.trained) == 2 * len(rows) == 2 * len(resolve_changes())
    assert rows[0]["gain"] is None
    assert rows[1]["gain"]["mean"] == pytest.approx(0.2)
    assert rows[1]["keys"]["model.norm"] == [False, True]
    assert rows[2]["gain"]["mean"] == pytest.approx(-0.05)
    assert content["sentences"][0].startswith("The largest gain: BatchNorm, +20.00 ± 0.00 points.")
    assert "translation and mirror (-5.00 ± 0.00 points)." in content["sentences"][1]
    table = (tmp_path / "ablation_cifar10_crnn_small.md").read_text()
    keys = "`model.norm` False -> True, `model.norm_momentum` 0.9 -> 0.8"
    assert f"| BatchNorm | {keys} | 70.50%" in table
    ablation.main([*arguments, "--seeds=2"])
    assert len(stub.trained) == 2 * len(rows)


def test_a_missing_line_is_named_and_gives_no_gain(stub, tmp_path):
    arguments = [f"--config={CONFIG}", f"--results={tmp_path}", f"--workdir={tmp_path}/runs"]
    ablation.main(arguments)
    (tmp_path / "ablation/cifar10_crnn_small/01_batchnorm_seed_0.json").unlink()
    ablation.main([*arguments, "--report"])
    content = json.loads((tmp_path / "ablation_cifar10_crnn_small.json").read_text())
    assert content["sentences"][-1] == "Not trained yet and left out: BatchNorm."
    assert [row["gain"] is None for row in content["rows"]][:3] == [True, True, False]


def resolve_changes():
    return ablation.load_config_module("configs/cifar10.py").CHANGES
