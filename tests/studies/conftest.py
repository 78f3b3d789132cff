"""A training that answers at once, for studies of many runs."""

import pytest

from crnn_jax.config import config_hash


class StubTraining:
    """Stands in for `train`: `accuracy(config)` is the answer; `trained` lists the workdirs.

    The answer stands under the name `score`.
    """

    def __init__(self):
        self.trained = []
        self.score = "accuracy"
        self.accuracy = lambda config: 0.5
        self.seconds = {"setup": 1.0, "compile": 10.0, "train": 100.0, "evaluation": 2.0}
        self.devices = "2 cores"

    def __call__(self, config, workdir):
        self.trained.append(workdir)
        metrics = {self.score: self.accuracy(config), "num_correct": 1, "num_examples": 2}
        return {
            "test": metrics,
            "validation": {**metrics, self.score: metrics[self.score] / 2},
            "seed": config.seed,
            "steps": 20,
            "epochs": 4.0,
            "parameters": 1000,
            "flops_per_image": {"crnn": 2e6, "cnn": 1e6}.get(config.model.name, 4e6),
            "images_per_second": {"crnn": 50.0, "cnn": 100.0}.get(config.model.name, 25.0),
            "seconds": {**self.seconds, "train": self.seconds["train"] + config.seed},
            "config_hash": config_hash(config),
            "git_commit": "0123456789",
            "versions": {"jax": "9.9"},
            "devices": self.devices,
        }


@pytest.fixture
def stub(monkeypatch):
    training = StubTraining()
    monkeypatch.setattr("crnn_jax.train.loop.train", training)
    return training
