"""Features of other classes: half of the digits, then a few images of the other half."""

import json
import shutil

import pytest

from crnn_jax.studies import transfer

SOURCE = ["--config=configs/digits.py:cnn,model.width=4", "--config.duration=6 steps"]
SOURCE += ["--config.model.num_conv_layers=2", "--config.optim.warmup=0 steps"]
SOURCE += ["--config.batch_size=64", "--config.log.tracker=none", "--images=8"]
TARGET = "--target=data.cutout=2,duration=2 epochs,batch_size=8,optim.warmup=0 steps"


def run(tmp_path, *arguments, seeds=1):
    places = [f"--results={tmp_path}/results", f"--workdir={tmp_path}/runs", "--name=t"]
    transfer.main([*SOURCE, TARGET, f"--seeds={seeds}", *places, *arguments])
    return json.loads((tmp_path / "results" / "transfer_t.json").read_text())


@pytest.mark.slow
def test_through_the_loop(tmp_path, capsys):
    content = run(tmp_path)
    assert [row["row"] for row in content["rows"]] == list(transfer.ROWS)
    images = tmp_path / "runs" / "images"
    assert sorted(p.name for p in (images / "source" / "train").iterdir()) == list("01234")
    assert sorted(p.name for p in (images / "target_0_of_8" / "test").iterdir()) == list("56789")
    assert len(list((images / "target_0_of_8" / "train" / "7").iterdir())) == 8
    facts = {
        row: json.loads((tmp_path / "runs" / f"{row}_seed_0" / "config.json").read_text())
        for row in transfer.ROWS
    }
    assert {facts[row]["duration"] for row in facts} == {"2 epochs"}
    assert facts["finetune"]["init"]["from"] == facts["probe"]["init"]["from"]
    assert facts["scratch"]["init"]["from"] == facts["scratch_source"]["init"]["from"] == ""
    assert facts["scratch_source"]["optim"]["learning_rate"] == 0.004  # of the digits
    assert content["sentences"][0].startswith("'finetune' and 'scratch")
    table = (tmp_path / "results" / "transfer_t.md").read_text()
    assert "| probe | `init.from=the source`, `recipe=probe` |" in table
    # What is kept is not trained again, even if nothing else is there.
    shutil.rmtree(tmp_path / "runs")
    assert run(tmp_path)["rows"] == content["rows"]
    assert not (tmp_path / "runs").exists()


def test_rows_are_compared_by_seed_with_the_better_scratch(stub, tmp_path):
    accuracy = {"scratch": 0.4, "scratch_source": 0.5, "finetune": 0.7, "probe": 0.6}

    def answer(config):
        point = stub.trained[-1]
        name = point.rpartition("/")[2].rpartition("_seed_")[0]
        return accuracy.get(name, 0.9) + 0.01 * config.seed

    stub.accuracy = answer
    content = run(tmp_path, seeds=2)
    assert len(stub.trained) == 9
    differences = [row["difference"] and row["difference"]["mean"] for row in content["rows"]]
    assert differences == [None, *(pytest.approx(x) for x in (0.1, 0.3, 0.2))]
    (sentence,) = content["sentences"]
    assert "'scratch_source', the better" in sentence
    assert "differ over 2 seeds: +20.00 ± 0.00 points, in 100 and 100 seconds" in sentence
    draws = [
        {p.name for p in (tmp_path / "runs/images" / f"target_{seed}_of_8" / "train/9").iterdir()}
        for seed in (0, 1)
    ]
    assert draws[0] != draws[1]


def test_some_rows_and_another_number_of_images(stub, tmp_path, capsys):
    assert [row["row"] for row in run(tmp_path, "--rows=finetune")["rows"]] == ["finetune"]
    assert [path.rpartition("/")[2] for path in stub.trained] == [
        "source_seed_0",
        "finetune_seed_0",
    ]
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, "--images=9")
    assert stop.value.code == 2
    assert "target_0_of_9' here" in capsys.readouterr().err


def of_a_folder(tmp_path, *arguments):
    flags = [flag for flag in SOURCE if not flag.startswith(("--images", "--config="))]
    folder = tmp_path / "photos"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = [f"--results={tmp_path}/results", f"--workdir={tmp_path}/runs", "--name=t"]
    data = [f"--config.data.source=folder:{folder}", "--config.data.test_fraction=0.5"]
    transfer.main([*flags, TARGET, "--seeds=1", *places, *data, *arguments])
    return json.loads((tmp_path / "results" / "transfer_t.json").read_text())


def test_weights_that_are_there_and_a_folder(stub, tmp_path):
    given = ["--config.data.bit_depth=12", "--config.data.flip=random"]
    content = of_a_folder(tmp_path, "--source=digits_crnn", "--config=configs/digits.py:crnn",
                          *given)  # fmt: skip
    assert content["source"] == "digits_crnn"
    assert "images" not in content
    assert [row["row"] for row in content["rows"]] == list(transfer.ROWS)
    assert len(stub.trained) == 4  # no source
    facts = {
        row: json.loads((tmp_path / f"results/transfer/t/{row}_seed_0.json").read_text())["config"]
        for row in transfer.ROWS
    }
    assert [facts[row]["init.from"] for row in transfer.ROWS] == ["", "", *["digits_crnn"] * 2]
    for config in facts.values():  # every row reads the same images, by the source's sizes
        assert config["data.source"] == f"folder:{tmp_path / 'photos'}"
        assert config["data.image_size"] == 8
        assert config["data.test_fraction"] == 0.5
        assert config["data.bit_depth"] == 12
        assert config["model.width"] == 48
        assert config["precision"] == "float32"
    assert facts["scratch_source"]["optim.learning_rate"] == 0.004  # of the digits
    cutouts = [facts[row]["data.cutout"] for row in transfer.ROWS]
    assert cutouts == [2, 0, 2, 2]  # of --target, which "scratch_source" does not have
    assert not (tmp_path / "runs" / "images").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/digits.py:cnn"], "a run of model 'cnn', found 'crnn'"),
        (["--config=configs/digits.py:crnn", "--images=5"], "--images expects no --source"),
    ],
)
def test_what_does_not_go_with_weights_that_are_there(tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit) as stop:
        of_a_folder(tmp_path, "--source=digits_crnn", *arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_more_images_than_there_are(stub, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, "--images=1000")
    assert stop.value.code == 2
    assert "--images expects at most" in capsys.readouterr().err


def test_nothing_to_report(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--report")
    assert "expected kept runs" in capsys.readouterr().err
