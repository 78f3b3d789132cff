"""The report of a run on a split: figures, every prediction, and pictures, in a folder of its own.

WORKDIR/report_SPLIT holds report.json, predictions.jsonl (a line an example), pictures of the
confusion matrix and the calibration, and examples/INDEX.png of the worst mistakes.
"""

import json
import pathlib
import shutil
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from crnn_jax.data.decode import to_channels
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import Encoded, Split
from crnn_jax.disk import cannot_write
from crnn_jax.distributed import is_first
from crnn_jax.provenance import command, utc_now
from crnn_jax.report.evaluation import draw_figures
from crnn_jax.run import Run
from crnn_jax.tasks.task import Evidence, Rendered
from crnn_jax.train.evaluator import evaluator_of
from crnn_jax.workdir import describe_run
from crnn_jax.writers import plain, write_json_atomically

_SMALLEST, _LARGEST = 64, 224  # pixels of a picture's longer side

Facts = dict[str, Any]


def folder_of(run: Run, split: str, tta: str) -> pathlib.Path:
    """Returns where the report lies: WORKDIR/report_test, with views WORKDIR/report_test_mirror."""
    return run.workdir / f"report_{split}{'' if tta == 'none' else f'_{tta}'}"


def may_fit(split: str, splits: Collection[str]) -> bool:
    """Returns whether there is a validation part, and figures of `split` do not judge it itself."""
    return "validation" in splits and split != "validation"


def write_report(run: Run, split: str, tta: str) -> tuple[Facts, pathlib.Path]:
    """Returns (the summary of the split, the folder of its report, which is written anew).

    Every process calls it; the first one writes.

    Args:
      run: with its checkpoint.
      split: its name.
      tta: test-time augmentation, also of what is fitted on the validation part.

    Raises:
      UserError: no such split, a loss that is not finite, or a folder that cannot be written.
    """
    dataset, task = run.dataset(), run.task
    examples = dataset.split(split)
    summary, found = evaluator_of(run.experiment, dataset, split, tta).with_predictions(run.state)

    def held() -> Evidence:
        evaluator = evaluator_of(run.experiment, dataset, "validation", tta)
        return evaluator.with_predictions(run.state)[1]

    said = task.report(found, run.class_names, held if may_fit(split, dataset.splits) else None)
    folder = folder_of(run, split, tta)
    if is_first():
        facts = {
            "command": command(),
            "date": utc_now(),
            "task": run.config.task,
            "score": task.score,
            "split": split,
            "tta": tta,
            "step": int(run.state.step),
            "weights": run.config.eval.weights,
            "summary": summary,
            "num_unreadable": int((found["weight"] == 0).sum()),
            "class_names": list(run.class_names),
            **said.facts,
            "data": dataset.describe(),
            **describe_run(run.config),
        }
        try:
            _write(folder, facts, said.rows, lambda index: _drawn(run, found, examples, index))
        except OSError as error:
            raise cannot_write(folder, error) from error
    return summary, folder


def _write(
    folder: pathlib.Path,
    facts: Facts,
    rows: Sequence[Facts],
    draw: Callable[[int], tuple[str | None, Rendered]],
) -> None:
    from PIL import Image

    shutil.rmtree(folder, ignore_errors=True)  # pictures of other mistakes
    (folder / "examples").mkdir(parents=True)
    legend = {}
    for item in facts["mistakes"]:
        item["name"], drawn = draw(item["index"])
        assert drawn.picture_HWC is not None
        item["picture"] = f"examples/{item['index']}.png"
        Image.fromarray(drawn.picture_HWC).save(folder / item["picture"], optimize=True)
        legend |= drawn.panels.legend if drawn.panels else {}
    if legend:
        colours = [legend[number] for number in sorted(legend)]
        facts["legend"] = [{"name": name, "rgb": list(rgb)} for name, rgb in colours]
    with (folder / "predictions.jsonl").open("w") as file:
        for row in rows:
            file.write(json.dumps(plain(row)) + "\n")
    facts = plain(facts)
    draw_figures(facts, folder)
    write_json_atomically(folder / "report.json", facts)  # last: a report that is there is whole


def _drawn(run: Run, found: Evidence, split: Split, index: int) -> tuple[str | None, Rendered]:
    """Returns (the file's name, if it is one; the prediction, which has a picture)."""
    example = split.read(index)
    prediction = {name: array[index] for name, array in found.items()}
    drawn = run.task.render(prediction, run.class_names, example)
    if drawn.picture_HWC is None:
        drawn = drawn._replace(picture_HWC=_pixels(example, run.task.pixels))
    name = None
    if split.encoded is not None:
        (encoded,) = split.encoded([index])
        name = encoded.name if isinstance(encoded, Encoded) else None
    return name, drawn


def _pixels(example: Example, name: str) -> np.ndarray:
    """Returns an image, or the middle frame of a clip, at a size to look at."""
    from PIL import Image

    pixels = example[name]
    image_HWC = pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels
    rgb_HW3 = to_channels(image_HWC, 3)
    times = -(-_SMALLEST // max(rgb_HW3.shape[:2]))
    rgb_HW3 = rgb_HW3.repeat(times, axis=0).repeat(times, axis=1)
    image = Image.fromarray(rgb_HW3)
    image.thumbnail((_LARGEST, _LARGEST))
    return np.asarray(image)
