"""Trained models that come with the package: files of `weight_files`, found by name.

`python -m crnn_jax.export.package` makes one of a run. Its "about" has, beside what every exported
file has, "record": the command that trains it again, its commit and what result.json says.
"""

import pathlib

from crnn_jax.errors import UserError, closest

FOLDER = pathlib.Path(__file__).parent


def names() -> list[str]:
    """Returns what `find` knows, such as "digits_crnn"."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def is_name(text: str) -> bool:
    """Returns whether the text names a model of the package, and no file or folder."""
    return text in names() and not pathlib.Path(text).exists()


def find(name: str) -> pathlib.Path:
    """Returns the file of a model.

    Raises:
      UserError: there is none of this name.
    """
    if name not in names():
        raise UserError(
            f"expected one of the models in the package, {', '.join(names())}, found '{name}'"
            f"{closest(name, names())}"
        )
    return FOLDER / f"{name}.safetensors"
