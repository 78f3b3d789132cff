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

from crnn_jax.data.fields import Example
from crnn_jax.data.inputs import read_input
from crnn_jax.data.views import make_view
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.provenance import git_commit
from crnn_jax.run import Run, open_run
from crnn_jax.writers import write_json_atomically

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


def explain(run: Run, image_BHWC: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns (map_BHW, the run's predictions) of uint8 images, for each one's likeliest class."""
    model = run.experiment.model

    @jax.jit
    def maps(weights: Any, image_BHWC: jax.Array, class_B: jax.Array) -> jax.Array:
        gradient_BHWC = class_gradient(model, weights, run.prepare(image_BHWC), class_B)
        return saliency_map(gradient_BHWC.astype(jnp.float32))

    predictions = run.apply(image_BHWC)
    class_B = jnp.argmax(predictions["probability"], axis=-1)
    return np.asarray(maps(run.weights, jnp.asarray(image_BHWC), class_B)), predictions


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
        above.set_title(text, parse_math=False, fontsize=8, color="black" if right else "firebrick")
        # A few pixels have by far the largest gradients; the 99th percentile shows the others too.
        below.imshow(map_BHW[index], cmap="inferno", vmin=0, vmax=np.percentile(map_BHW[index], 99))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)


def _read_examples(run: Run, paths: list[str], num: int) -> tuple[list[Example], list[str]]:
    """Returns (examples, with their class where it is known, names)."""
    pixels = run.experiment.task.pixels
    if paths:
        view, shape = make_view(run.config), run.experiment.input_shape
        files = [pathlib.Path(path) for path in paths]
        return [{pixels: read_input(path, shape, view)} for path in files], paths
    test = run.dataset().splits["test"]
    count = min(num, len(test))
    return [test.read(i) for i in range(count)], [f"test {i}" for i in range(count)]


def _title(facts: dict[str, Any]) -> tuple[str, bool]:
    text = f"{facts['class']} {facts['probability']:.2f}"
    if "true" not in facts:
        return text, True
    return f"true: {facts['true']}\n{text}", facts["true"] == facts["class"]


def main(argv: list[str]) -> None:
    """Writes the picture and the predictions."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.saliency", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of crnn_jax.main")
    parser.add_argument("--num", type=int, default=12, help="images of the test split")
    parser.add_argument("--name", default="", help="of the files; default: from the config")
    parser.add_argument("--results", default="results", help="folder of the files")
    add_placement_flags(parser)
    parser.add_argument("images", nargs="*", metavar="IMAGE")
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.num < 1:
            raise UserError(f"--num expects 1 or more, found {flags.num}")
        run = open_run(flags.workdir, placement=placement(flags))
        config, task = run.config, run.experiment.task
        if config.task != "classification":
            raise UserError(
                f"'{flags.workdir}': expected a run that classifies images, found one of task "
                f"'{config.task}': choose another with --workdir"
            )
        examples, names = _read_examples(run, flags.images, flags.num)
        image_BHWC = np.stack([example[task.pixels] for example in examples])
        map_BHW, found = explain(run, image_BHWC)
        rendered = [
            task.render({k: v[i] for k, v in found.items()}, run.class_names, example)
            for i, example in enumerate(examples)
        ]
        predictions = [
            {"image": name, **item.facts} for name, item in zip(names, rendered, strict=True)
        ]
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
