"""Which pixels decide: python -m crnn_jax.studies.saliency --workdir=runs/a [IMAGE...]

Draws a grid of images, each with its map of the gradient of the predicted class's score (Simonyan,
Vedaldi and Zisserman 2013, "Deep Inside Convolutional Networks", section 3.1), and writes it with
the predictions to results/saliency_NAME.png and .json. Without images: the first of the test split.
"""

import datetime
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from crnn_jax.data import decode
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.train.experiment import Experiment, build, enable_compile_cache
from crnn_jax.train.state import TrainState, variables

_COLUMNS = 6  # images side by side; their maps lie below them


def class_gradient(
    model: nn.Module, weights: Any, image_BHWC: jax.Array, class_B: jax.Array
) -> jax.Array:
    """Returns gradient_BHWC, dS_c / dI of each image's class score S_c, before the softmax.

    Args:
      model: any; for LRCN the score is the log of the mean probability.
      weights: its variables.
      image_BHWC: normalised float32 images.
      class_B: int, whose score.
    """

    def total(image_BHWC: jax.Array) -> jax.Array:
        output: Any = model.apply(weights, image_BHWC, train=False)
        # Images do not see each other in evaluation, so one gradient of the sum serves them all.
        return jnp.sum(jnp.take_along_axis(output.logits_BK, class_B[:, None], axis=1))

    return jax.grad(total)(image_BHWC)


def saliency_map(gradient_BHWC: jax.Array) -> jax.Array:
    """Returns map_BHW, max over the channels of |gradient|: M_ij of section 3.1."""
    return jnp.max(jnp.abs(gradient_BHWC), axis=-1)


def explain(
    experiment: Experiment, state: TrainState, image_BHWC: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (map_BHW, probability_BK) of uint8 images, for each one's likeliest class."""
    config = experiment.config

    @jax.jit
    def run(state: TrainState, image_BHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        batch = {"image_BHWC": image_BHWC}
        image_BHWC = experiment.task.image(batch, state.norm, state.seed, train=False)
        weights = variables(state, config.eval.weights, config.optim.ema_decay)
        output: Any = experiment.model.apply(weights, image_BHWC, train=False)
        class_B = jnp.argmax(output.logits_BK, axis=-1)
        gradient_BHWC = class_gradient(experiment.model, weights, image_BHWC, class_B)
        return saliency_map(gradient_BHWC.astype(jnp.float32)), jax.nn.softmax(output.logits_BK)

    map_BHW, probability_BK = run(state, jnp.asarray(image_BHWC))
    return np.asarray(map_BHW), np.asarray(probability_BK)


def draw(
    path: pathlib.Path, image_BHWC: np.ndarray, map_BHW: np.ndarray, titles: list[tuple[str, bool]]
) -> None:
    """Writes the grid as a picture; a title is (text, whether the prediction is right)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = -(-len(titles) // _COLUMNS)
    columns = min(_COLUMNS, len(titles))
    size = (1.7 * columns, 3.75 * rows)
    figure, axes = pyplot.subplots(
        2 * rows, columns, figsize=size, squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for index, (text, right) in enumerate(titles):
        row, column = divmod(index, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(image_BHWC[index].squeeze(), cmap="gray", vmin=0, vmax=255)
        above.set_title(text, fontsize=8, color="black" if right else "firebrick")
        # A few pixels have by far the largest gradients; the 99th percentile shows the others too.
        below.imshow(map_BHW[index], cmap="inferno", vmin=0, vmax=np.percentile(map_BHW[index], 99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _read_images(
    experiment: Experiment, paths: list[str], num: int
) -> tuple[np.ndarray, list[int | None], list[str]]:
    """Returns (image_BHWC, labels where they are known, names)."""
    if paths:
        images = [decode.to_shape(decode.decode_image(p, p), experiment.image_shape) for p in paths]
        return np.stack(images), [None] * len(paths), paths
    from crnn_jax.data.dataset import load_dataset

    test = load_dataset(experiment.config).splits["test"]
    examples = [test.read(index) for index in range(min(num, len(test)))]
    names = [f"test {index}" for index in range(len(examples))]
    return np.stack([image for image, _ in examples]), [label for _, label in examples], names


def _predictions(
    probability_BK: np.ndarray, labels: list[int | None], names: list[str], classes: list[str]
) -> list[dict[str, Any]]:
    return [
        {
            "image": name,
            "true": None if label is None else classes[label],
            "predicted": classes[int(np.argmax(probability_K))],
            "probability": float(np.max(probability_K)),
        }
        for probability_K, label, name in zip(probability_BK, labels, names, strict=True)
    ]


def _title(item: dict[str, Any]) -> tuple[str, bool]:
    text = f"{item['predicted']} {item['probability']:.2f}"
    if item["true"] is None:
        return text, True
    return f"true: {item['true']}\n{text}", item["true"] == item["predicted"]


def main(argv: list[str]) -> None:
    """Writes the picture and the predictions."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.saliency", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of crnn_jax.main")
    parser.add_argument("--num", type=int, default=12, help="images of the test split")
    parser.add_argument("--name", default="", help="of the files; default: from the config")
    parser.add_argument("--results", default="results", help="folder of the files")
    parser.add_argument("images", nargs="*", metavar="IMAGE")
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.num < 1:
            raise UserError(f"--num expects 1 or more, found {flags.num}")
        from crnn_jax.checkpoint import restore_run
        from crnn_jax.workdir import load_config, read_dataset
        from crnn_jax.writers import git_commit, write_json_atomically

        config = load_config(flags.workdir)
        facts = read_dataset(pathlib.Path(flags.workdir))
        config.mesh.update(data=1, fsdp=1, model=1)
        enable_compile_cache(config)
        classes = facts["class_names"]
        experiment = build(config, facts["image_shape"], len(classes), facts["num_train"])
        state = restore_run(flags.workdir, experiment.abstract_state(), None)
        image_BHWC, labels, names = _read_images(experiment, flags.images, flags.num)
        map_BHW, probability_BK = explain(experiment, state, image_BHWC)
        predictions = _predictions(probability_BK, labels, names, classes)
        source = config.data.source.partition(":")[2] or config.data.source
        name = flags.name or f"saliency_{pathlib.Path(source).name}_{config.model.name}"
        path = pathlib.Path(flags.results) / f"{name}.png"
        draw(path, image_BHWC, map_BHW, [_title(item) for item in predictions])
        content = {
            "command": " ".join(["python -m crnn_jax.studies.saliency", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "git_commit": git_commit(),
            "predictions": predictions,
        }
        write_json_atomically(path.with_suffix(".json"), content)
        print(f"written to {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
