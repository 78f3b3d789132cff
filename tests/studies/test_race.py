"""Time to accuracy: what is timed, and how many runs reach the target."""

import json

import pytest

from crnn_jax.config import steps
from crnn_jax.flags import resolve_config
from crnn_jax.studies import race


def run(tmp_path, *arguments):
    common = [f"--workdir={tmp_path}/runs", f"--results={tmp_path}"]
    race.main([*common, *arguments])
    return json.loads((tmp_path / "race_cifar10_race.json").read_text())


def test_seconds_and_share(stub, tmp_path):
    stub.accuracy = lambda config: 0.93 + 0.005 * config.seed
    content = run(tmp_path, "--target=0.94", "--runs=4")
    assert content["plain"]["share_reached"] == 0.5
    assert content["tta"] is None
    train = content["seconds"]["without_compile"]  # 100 to 103 s
    assert (train["median"], train["lowest"], train["highest"]) == (101.5, 100.0, 103.0)
    assert train["quartiles"] == [100.75, 102.25]
    assert content["seconds"]["with_compile"]["median"] == 111.5
    assert content["seconds"]["with_evaluation"]["median"] == 103.5
    assert content["seconds"]["all"]["median"] == 114.5
    assert content["sentences"] == [
        "94% is not reached by the mean of 4 runs (93.75%), and by 2 of them.",
        "Median 101.50 s of training steps, 111.50 s with their compilation.",
        "n=4: fewer than the 10 runs that a spread asks for.",
    ]
    table = (tmp_path / "race_cifar10_race.md").read_text()
    assert "| training steps | 101.50 | 100.75 to 102.25 | 100.00 to 103.00 |" in table


def test_ten_runs_that_reach_it_and_are_not_run_again(stub, tmp_path):
    stub.accuracy = lambda config: 0.94
    run(tmp_path, "--target=0.94", "--runs=3")
    content = run(tmp_path, "--target=0.94")
    assert len(stub.trained) == 10
    assert content["plain"]["share_reached"] == 1.0
    assert len(content["sentences"]) == 2
    assert "94% is reached by the mean of 10 runs" in content["sentences"][0]


def test_test_time_augmentation_is_reported_apart():
    def result(seed, plain, tta):
        run = dict.fromkeys("epochs parameters flops_per_image config_hash".split(), 1)
        run |= dict.fromkeys("git_commit versions devices".split(), "x")
        counts = {"num_correct": 1, "num_examples": 2}
        run |= {"test": {"accuracy": plain, **counts}, "test_tta": {"accuracy": tta, **counts}}
        return {**run, "seed": seed, "images_per_second": 1.0, "seconds": {"train": 1.0}}

    content = race.make_content(0.94, [result(0, 0.93, 0.95), result(1, 0.935, 0.939)])
    assert (content["plain"]["num_reached"], content["tta"]["num_reached"]) == (0, 1)
    assert content["rows"][0]["accuracies"] == [0.93, 0.935]
    assert "94% is not reached by the mean of 2 runs (93.25%)" in content["sentences"][0]
    assert (
        "94% is, with test-time augmentation, reached by the mean of 2 runs (94.45%)"
        in (content["sentences"][1])
    )
    content = race.make_content(0.94, [result(0, 0.93, 0.95)])
    assert content["sentences"][0] == "94% is not reached by the one run (93.00%)."


def test_nothing_on_the_way_is_timed():
    config = resolve_config("configs/cifar10_race.py", {})
    assert config.eval.every == "0 steps"
    assert config.compile_cache is False
    total = steps(config.duration, 50000, config.batch_size)
    assert steps(config.checkpoint.every, 50000, config.batch_size) >= total
    assert resolve_config("configs/cifar10_race.py:cnn,batch_size=512", {}).batch_size == 512


@pytest.mark.parametrize("arguments", [["--target=94"], ["--target=0.9", "--runs=0"], []])
def test_mistakes(stub, tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, *arguments)
    assert stop.value.code == 2
    assert "--" in capsys.readouterr().err
