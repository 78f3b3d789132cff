"""A benchmark's file, line by line."""

import json

import pytest


@pytest.fixture
def append():
    def append_line(folder, name, **record):
        path = folder / "benchmarks" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        where = {"time": "2026-01-02T03:04:05Z", "git_commit": "0123456789", "devices": "2 cores"}
        with path.open("a") as file:
            file.write(json.dumps({**where, "versions": {"jax": "9.9"}, **record}) + "\n")

    return append_line


HOSTILE = '<script>document.title="owned"</script>"\'&\u202e'
CLASSES = ["cat", "dog", HOSTILE]


def lines(values):
    return "".join(json.dumps(value) + "\n" for value in values)


_SUMMARY = {"loss": 0.5, "accuracy": 0.75, "num_correct": 9, "num_examples": 12}
_VERSIONS = {"python": "3.12.1", "jax": "0.12.0"}
_START = {
    "time": "2026-01-02T03:04:05Z",
    "step": 0,
    "command": "python -m crnn_jax.main -x",
    "git_commit": "abc",
    "devices": "CPU: test",
    "versions": _VERSIONS,
}
_DATA = {
    "input_shape": [8, 8, 1],
    "class_names": CLASSES,
    "num_train": 100,
    "splits": {"train": {"num_examples": 100, "content": "f00d"}},
}
_METRICS = [
    {"step": 5, "train/loss": 2.0, "train/accuracy": 0.4, "train/images_per_second": 90.0,
     "train/epoch": 0.5, "seconds/train": 1.5},
    {"step": 10, "train/loss": 1.0, "train/accuracy": 0.6, "train/images_per_second": 100.0,
     "train/epoch": 1.0, "seconds/train": 2.5, "seconds/setup": 1.0},
    {"step": 10, "validation/loss": 1.25, "validation/accuracy": 0.5},
]  # fmt: skip
_RESULT = {
    "test": _SUMMARY,
    "steps": 20,
    "epochs": 2.0,
    "images_per_second": 95.0,
    "mfu": None,
    "seconds": {"train": 5.0, "setup": 1.0},
    "parameters": 1234,
    "flops_per_image": 5678,
    "config_hash": "c0de",
    "versions": _VERSIONS,
}
_BINS = [
    {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 1.0, "count": 12, "confidence": 0.9, "accuracy": 0.75},
]
_MISTAKE = {
    "index": 3,
    "true": "cat",
    "predicted": HOSTILE,
    "probability": 0.9,
    "name": f"/data/{HOSTILE}.png",
    "picture": "../../../etc/passwd",
}
_REPORT = {
    "score": "accuracy",
    "split": "test",
    "tta": "none",
    "step": 20,
    "summary": _SUMMARY,
    "num_unreadable": 1,
    "class_names": CLASSES,
    "interval": {"low": 0.5, "high": 0.9, "what": "95% interval"},
    "top5_accuracy": None,
    "means": {"precision": 0.7},
    "classes": [{"class": name, "num_examples": 4, "f1": None} for name in CLASSES],
    "confusion": [[3, 0, 1], [1, 3, 0], [1, 0, 3]],
    "confused": [{"true": "cat", "predicted": HOSTILE, "count": 1}],
    "calibration": {
        "definition": "ECE",
        "ece": 0.15,
        "nll": 0.5,
        "bins": _BINS,
        "temperature": None,
        "no_temperature": "no validation part",
    },
    "mistakes": [_MISTAKE],
}


@pytest.fixture
def architecture():
    """What a study of a run of `make_workdir` writes, of a model with hostile names."""
    shared = {"notes": [HOSTILE], "parameters": 617, "flops": 2839, "steps": None}
    return {
        "study": "architecture",
        "command": "",
        "config": f"folder_{HOSTILE}",
        "parameters": 1234,
        "flops": 5678,
        "stages": [
            {"kind": "input", "title": "input", "output": [8, 8, 1], **shared},
            {"kind": "recurrence", "title": HOSTILE, "output": [8, 64], **shared, "steps": 10**12},
            {"kind": "head", "title": "fully connected", "output": [3], **shared},
        ],
    }


@pytest.fixture
def make_workdir():
    """make(path, **model keys): a finished run with an evaluation report, as a page reads it."""

    def make(path, finished=True, **changes):
        from PIL import Image

        path.mkdir(parents=True)
        config = {
            "batch_size": 10,
            "duration": "2 epochs",
            "seed": 0,
            "data": {"source": f"folder:/data/{HOSTILE}", "validation": 0.1},
            "model": {"name": "crnn", "width": 4, **changes},
            "eval": {"report": "test", "weights": "ema"},
        }
        (path / "config.json").write_text(json.dumps(config))
        (path / "dataset.json").write_text(json.dumps(_DATA))
        (path / "starts.jsonl").write_text(lines([_START]))
        (path / "metrics.jsonl").write_text(lines([*_METRICS, 5]) + '{"step": 11, "train/lo')
        if finished:
            (path / "result.json").write_text(json.dumps(_RESULT))
            folder = path / "report_test"
            (folder / "examples").mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps(_REPORT))
            Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "examples" / "3.png")
        return path

    return make
