"""Classifies images: python -m crnn_jax.predict --workdir=runs/a IMAGE_OR_FOLDER... [--json]

Prints `path<TAB>class<TAB>probability` a line; PNG, JPEG and the like, gray, RGBA, CMYK or 16-bit,
any size.
"""

import functools
import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax.compiler import compiler_options
from crnn_jax.data import decode
from crnn_jax.data.crops import evaluation_crop, make_crop
from crnn_jax.errors import CorruptImageError, OneLineParser, UserError, one_line_errors
from crnn_jax.train.experiment import Experiment, build, enable_compile_cache
from crnn_jax.train.state import TrainState, variables

_BATCH = 64
_TOP = 5


def find_images(paths: list[str]) -> list[pathlib.Path]:
    """Returns the files named, and those with an image's extension below the folders named.

    Raises:
      UserError: no such path, or a folder without images.
    """
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            below = sorted(p for p in path.rglob("*") if decode.is_image_name(p.name))
            if not below:
                raise UserError(f"expected images below '{path}', found none")
            found += below
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"expected an image or a folder, found no '{path}'")
    return found


def make_predictor(experiment: Experiment) -> Callable[[TrainState, jax.Array], jax.Array]:
    """Returns predict(state, image_BHWC uint8) -> probability_BK, float32, jitted."""
    config = experiment.config

    def predict(state: TrainState, image_BHWC: jax.Array) -> jax.Array:
        batch = {"image_BHWC": image_BHWC}
        image_BHWC = experiment.task.image(batch, state.norm, state.seed, train=False)
        weights = variables(state, config.eval.weights, config.optim.ema_decay)
        output: Any = experiment.model.apply(weights, image_BHWC, train=False)
        return jax.nn.softmax(output.logits_BK.astype(jnp.float32))

    return jax.jit(predict, compiler_options=compiler_options(onednn=False))


def read_image(path: pathlib.Path, experiment: Experiment) -> np.ndarray:
    """Returns what the model sees of an image file in an evaluation, uint8 of its image_shape.

    Raises:
      CorruptImageError: it is unreadable.
    """
    crop = make_crop(experiment.config)
    if crop is None:
        image_HWC = decode.decode_image(path, str(path))
        return decode.to_shape(image_HWC, experiment.image_shape)
    from crnn_jax.data.jpeg import decode_box

    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptImageError(f"{path}: expected an image, found: {error.strerror}") from None
    box = functools.partial(evaluation_crop(crop).box, 0, 0)
    return decode_box(data, box, experiment.image_shape, str(path))


def predict_files(
    experiment: Experiment, state: TrainState, files: list[pathlib.Path]
) -> Iterator[tuple[pathlib.Path, np.ndarray | CorruptImageError]]:
    """Yields (path, probability_K), or (path, error) for a file that is no readable image."""
    predict = make_predictor(experiment)
    for first in range(0, len(files), _BATCH):
        part = files[first : first + _BATCH]
        image_BHWC = np.zeros((_BATCH, *experiment.image_shape), np.uint8)  # one compiled shape
        errors: dict[int, CorruptImageError] = {}
        for row, path in enumerate(part):
            try:
                image_BHWC[row] = read_image(path, experiment)
            except CorruptImageError as error:
                errors[row] = error
        probability_BK = np.asarray(predict(state, jnp.asarray(image_BHWC)))
        for row, path in enumerate(part):
            yield path, errors[row] if row in errors else probability_BK[row]


def describe(path: pathlib.Path, probability_K: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Returns {"path", "class", "probability", "top"}: the likeliest class, and the first five."""
    order = np.argsort(-probability_K)[:_TOP]
    top = [{"class": names[k], "probability": float(probability_K[k])} for k in order]
    return {"path": str(path), **top[0], "top": top}


def main(argv: list[str]) -> None:
    """Prints a class and its probability for each image."""
    parser = OneLineParser(prog="python -m crnn_jax.predict", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of crnn_jax.main")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, with the top 5"
    )
    parser.add_argument("--step", type=int, help="of the checkpoint; default: the latest")
    parser.add_argument("paths", nargs="+", metavar="IMAGE_OR_FOLDER")
    flags = parser.parse_args(argv)
    with one_line_errors():
        from crnn_jax.checkpoint import restore_run
        from crnn_jax.workdir import load_config, read_dataset

        files = find_images(flags.paths)
        config = load_config(flags.workdir)
        facts = read_dataset(pathlib.Path(flags.workdir))
        names = facts["class_names"]
        config.mesh.update(data=1, fsdp=1, model=1)  # whatever devices the training had
        enable_compile_cache(config)
        experiment = build(config, facts["image_shape"], len(names), facts["num_train"])
        state = restore_run(flags.workdir, experiment.abstract_state(), flags.step)
        failed: list[CorruptImageError] = []
        for path, result in predict_files(experiment, state, files):
            if isinstance(result, CorruptImageError):
                failed.append(result)
            elif flags.json:
                print(json.dumps(describe(path, result, names)))
            else:
                first = describe(path, result, names)
                print(f"{path}\t{first['class']}\t{first['probability']:.4f}")
        if failed:
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise UserError(f"{failed[0]}{others}")


if __name__ == "__main__":
    main(sys.argv[1:])
