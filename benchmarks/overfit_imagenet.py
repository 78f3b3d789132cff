"""Whether the whole path learns: the CRNN on the few images of a smoke set, until it knows them.

    TFDS_DATA_DIR=... python benchmarks/overfit_imagenet.py [--epochs 150] [--write]

Trains a narrow configs/imagenet.py:crnn at 64 pixels through crnn_jax.train.loop on whatever
tfds:imagenet2012 holds, without regularisation and with random crops of most of the image, and
evaluates it on the images that it was trained on. --write appends a JSON line to
results/benchmarks/overfit_imagenet.jsonl.
"""

import argparse
import json
import pathlib
import tempfile

from timing import append

from crnn_jax.data.dataset import load_dataset
from crnn_jax.flags import resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.run import restore_state
from crnn_jax.train.evaluator import make_evaluator
from crnn_jax.train.experiment import build
from crnn_jax.train.loop import train

OVERRIDES = {
    "data.image_size": "64",
    "data.crop_min_area": "0.9",
    "data.flip": "none",
    "data.mixup": "0.0",
    "data.cutmix": "0.0",
    "model.width": "24",
    "model.stage_multipliers": "(1, 2, 4, 8)",
    "model.num_conv_layers": "6",
    "model.hidden_units": "256",
    "model.dropout": "0.0",
    "optim.learning_rate": "0.002",
    "optim.warmup": "2 epochs",
    "optim.weight_decay": "0.0",
    "optim.label_smoothing": "0.0",
    "optim.ema_decay": "0.0",
    "eval.weights": "last",
    "eval.batch_size": "64",
    "checkpoint.every": "50 epochs",
    "log.every": "6 steps",
    "log.tracker": "none",
}


def main() -> None:
    """Trains and prints the loss on the training images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    argument = "configs/imagenet.py:crnn,hardware=cpu"
    config = resolve_config(argument, {**OVERRIDES, "duration": f"{flags.epochs} epochs"})
    with tempfile.TemporaryDirectory() as temporary:
        workdir = pathlib.Path(temporary) / "run"
        result = train(config, str(workdir))
        lines = (workdir / "metrics.jsonl").read_text().splitlines()
        losses = [line["train/loss"] for line in map(json.loads, lines) if "train/loss" in line]
        dataset = load_dataset(config)
        experiment = build(config, dataset.source.input_shape, 1000, dataset.num_train)
        state = restore_state(pathlib.Path(workdir), experiment, None)
        pipeline = dataset.pipeline("train", config.eval.batch_size, experiment.mesh)
        found = make_evaluator(experiment, pipeline)(state)
    counts = f"{found['num_correct']}/{found['num_examples']}"
    print(f"training loss {losses[0]:.3f} at first, {losses[-1]:.4f} at last")
    print(f"the same images evaluated: loss {found['loss']:.4f}, {counts}")
    if flags.write:
        record = {"config": argument, "overrides": OVERRIDES, "epochs": flags.epochs}
        seconds = {"seconds": result["seconds"]["train"]}
        append(
            "overfit_imagenet",
            {**record, **seconds, "train_loss": [losses[0], losses[-1]], "evaluated": found},
        )


if __name__ == "__main__":
    restart_with_huge_pages()
    main()
