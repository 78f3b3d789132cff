"""Which pixels and steps decide: python -m crnn_jax.studies.saliency --workdir=runs/a [IMAGE...]

Draws images, right and wrong ones, each with its maps for the predicted class (gradient,
SmoothGrad, integrated gradients, Grad-CAM, RISE) and, where a recurrence reads one way, with the
class after each step. Measures on --check test images how far the maps can be believed: insertion
and deletion of pixels, and randomised weights. Writes RESULTS/saliency_NAME.png, .json and .md.
"""

import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.data.fields import Example
from crnn_jax.data.inputs import read_input
from crnn_jax.data.views import make_view
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.run import Run
from crnn_jax.studies import runs
from crnn_jax.studies.explanations import SIGNED, check, in_chunks, in_order, make_maps
from crnn_jax.studies.saliency_figure import Row, draw
from crnn_jax.studies.steps import read_steps, why_no_steps
from crnn_jax.studies.trained import made_with, open_classifier, run_name

_SEARCHED = 2000  # test images among which right and wrong ones are looked for
Facts = dict[str, Any]


def choose(run: Run, num: int) -> list[tuple[str, Example]]:
    """Returns (name, example) of test images: up to half of them wrong, the first of each kind."""
    test = run.dataset().splits["test"]
    right: list[tuple[str, Example]] = []
    wrong: list[tuple[str, Example]] = []
    for first in range(0, min(len(test), _SEARCHED), 200):
        index = range(first, min(first + 200, len(test), _SEARCHED))
        examples = [test.read(i) for i in index]
        for i, example, facts in zip(index, examples, _rendered(run, examples), strict=True):
            same = facts["true"] == facts["class"]
            (right if same else wrong).append((f"{test.name} {i}", example))
        if len(right) >= num and 2 * len(wrong) >= num:
            break
    few = wrong[: num // 2]
    return (right[: num - len(few)] + few) or wrong[:num]


def _rendered(run: Run, examples: list[Example]) -> list[Facts]:
    """Returns what the run says of each example."""
    task = run.experiment.task
    found = run.apply(np.stack([example[task.pixels] for example in examples]))
    return [
        task.render({k: v[i] for k, v in found.items()}, run.class_names, example).facts
        for i, example in enumerate(examples)
    ]


def _prepared(run: Run, examples: list[Example]) -> np.ndarray:
    """Returns the model's input, float32."""
    pixels = np.stack([example[run.experiment.task.pixels] for example in examples])
    return np.asarray(run.prepare(jnp.asarray(pixels)), np.float32)


def step_facts(run: Run, image_BHWC: np.ndarray, facts: list[Facts]) -> list[Facts]:
    """Returns, for each prediction, what is known after each step, as JSON can hold it."""
    names, model = list(run.class_names), run.experiment.model
    class_B = jnp.array([names.index(item["class"]) for item in facts])
    options = run.experiment.evaluation_options
    program = jax.jit(
        lambda weights, x, c: read_steps(model, weights, x, c), compiler_options=options
    )
    steps = in_chunks(lambda x, c: program(run.weights, x, c), image_BHWC, class_B)
    found = []
    for i, item in enumerate(facts):
        probability_TK = steps.probability_BTK[i]
        true = names.index(item["true"]) if "true" in item else None
        attention = steps.attention_BT
        found.append(
            {
                "class": [names[k] for k in probability_TK.argmax(axis=1)],
                "probability": probability_TK[:, names.index(item["class"])].tolist(),
                "true_probability": None if true is None else probability_TK[:, true].tolist(),
                "relevance": steps.relevance_BT[i].tolist(),
                "attention": None if attention is None else attention[i].tolist(),
            }
        )
    return found


def explain(run: Run, maps: Any, named: list[tuple[str, Example]]) -> list[Row]:
    """Returns the rows of the picture, with all that is written of them; `maps`: `make_maps`."""
    examples = [example for _, example in named]
    said = _rendered(run, examples)
    facts: list[Facts] = [
        {"image": name, **item} for (name, _), item in zip(named, said, strict=True)
    ]
    image_BHWC = _prepared(run, examples)
    class_B = np.array([run.class_names.index(item["class"]) for item in facts])
    key = jax.random.key(0)
    found, _ = in_chunks(lambda x, c: maps(run.weights, x, c, key), image_BHWC, class_B)
    if not why_no_steps(run.experiment.model):
        for item, steps in zip(facts, step_facts(run, image_BHWC, facts), strict=True):
            item["steps"] = steps
    pixels = run.experiment.task.pixels
    return [
        Row(example[pixels], {name: found[name][i] for name in in_order(found)}, facts[i])
        for i, example in enumerate(examples)
    ]


def checked(run: Run, maps: Any, count: int) -> dict[str, Any]:
    """Returns `check` of the first test images, for the class that is predicted of each."""
    test = run.dataset().splits["test"]
    examples = [test.read(i) for i in range(min(count, len(test)))]
    classes = [run.class_names.index(facts["class"]) for facts in _rendered(run, examples)]
    return check(run, maps, _prepared(run, examples), np.array(classes))


def main(argv: list[str]) -> None:
    """Writes the picture, the predictions and the figures."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.saliency", description=__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a run of crnn_jax.main")
    parser.add_argument("--num", type=int, default=8, help="images of the test split")
    parser.add_argument("--check", type=int, default=64, help="test images; 0: measure nothing")
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
    parser.add_argument("--results", default="results", help="folder of the files")
    add_placement_flags(parser)
    parser.add_argument("images", nargs="*", metavar="IMAGE")
    flags = parser.parse_args(argv)
    with one_line_errors():
        runs.at_least_one("--num", flags.num)
        if flags.check < 0:
            raise UserError(f"--check expects 0 or more, found {flags.check}")
        run = open_classifier(flags.workdir, placement=placement(flags))
        if flags.images:
            shape, view = run.experiment.input_shape, make_view(run.config)
            pixels = run.experiment.task.pixels
            named = [
                (path, {pixels: read_input(pathlib.Path(path), shape, view)})
                for path in flags.images
            ]
        else:
            named = choose(run, flags.num)
        maps = make_maps(run.experiment)  # compiled once for the rows and the figures
        rows = explain(run, maps, named)
        path = pathlib.Path(flags.results) / f"{flags.name or 'saliency_' + run_name(run)}.json"
        sideways = getattr(run.experiment.model, "sequence", "") == "columns"
        draw(path.with_suffix(".png"), rows, SIGNED, sideways=sideways)
        facts: Facts = {"predictions": [row.facts for row in rows]}
        # Images of one's own need no data set; the figures are of the test split.
        if flags.check and not flags.images:
            facts["checks"] = checked(run, maps, flags.check)
        runs.write_results(path, runs.header("saliency", argv, **made_with(), **facts))


if __name__ == "__main__":
    main(sys.argv[1:])
