"""Settings of one config, compared with the first seed by seed."""

import json

import pytest

from crnn_jax.errors import UserError
from crnn_jax.studies import variants

VARIANTS = ["--variant=last state:", "--variant=attention:model.readout=attention"]


def run(tmp_path, *arguments, seeds=3):
    common = ["--config=configs/digits.py:crnn", "--name=readouts", f"--seeds={seeds}"]
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs"]
    variants.main([*common, *places, *VARIANTS, *arguments])
    return json.loads((tmp_path / "variants_readouts.json").read_text())


def test_variants_have_the_same_seeds_and_are_compared_by_them(stub, tmp_path):
    stub.accuracy = lambda config: (
        0.5 + 0.1 * config.seed + (0.02 if config.model.readout == "attention" else 0)
    )
    content = run(tmp_path)
    assert len(stub.trained) == 6
    assert [path.rpartition("/")[2] for path in stub.trained[:2]] == [
        "last_state_seed_0",
        "attention_seed_0",
    ]
    first, second = content["rows"]
    assert (first["row"], first["n"], first["difference"]) == ("last state", 3, None)
    assert second["difference"]["differences"] == pytest.approx([0.02] * 3)
    assert content["sentences"] == [
        "'attention' and 'last state' differ over 3 seeds: +2.00 ± 0.00 points."
    ]
    table = (tmp_path / "variants_readouts.md").read_text()
    assert "| attention | `model.readout=attention` | 62.00%" in table
    run(tmp_path)
    assert len(stub.trained) == 6  # what has a file is not trained again


def test_variants_of_another_task_are_compared_by_its_score(stub, tmp_path):
    stub.score, stub.accuracy = "mean_iou", lambda config: 0.5 + 0.1 * (config.batch_size == 20)
    places = [f"--results={tmp_path}", f"--workdir={tmp_path}/runs", "--name=iou", "--seeds=2"]
    reseg = ["--config=configs/digit_scenes.py:reseg", "--variant=as it is:"]
    variants.main([*reseg, *places, "--variant=small:batch_size=20"])
    first, second = json.loads((tmp_path / "variants_iou.json").read_text())["rows"]
    assert (first["mean_iou_mean"], second["mean_iou_mean"]) == (0.5, 0.6)
    assert second["difference"]["differences"] == pytest.approx([0.1] * 2)
    table = (tmp_path / "variants_iou.md").read_text()
    assert "test mean iou" in table
    assert "| small | `batch_size=20` | 60.00%" in table


def test_one_seed_tells_nothing_apart(stub, tmp_path):
    stub.accuracy = lambda config: 0.9 if config.model.readout == "attention" else 0.5
    (sentence,) = run(tmp_path, seeds=1)["sentences"]
    assert "cannot be told apart over 1 seeds" in sentence


@pytest.mark.parametrize("wrong", ["model.readout=mean", ":model.readout=mean", "attention:"])
def test_a_variant_needs_a_name_of_its_own(stub, tmp_path, capsys, wrong):
    with pytest.raises(SystemExit):
        run(tmp_path, f"--variant={wrong}")
    assert "--variant expects NAME:KEY=VALUE" in capsys.readouterr().err
    assert stub.trained == []
    with pytest.raises(UserError, match="--variant expects"):
        variants.parse_variants([wrong, wrong])
