"""The configs that come with the package: `configs/` of a clone, crnn_jax/configs of a wheel."""

import pathlib
import re

_PACKAGE = pathlib.Path(__file__).parent


def folder() -> pathlib.Path:
    """Returns where they lie."""
    packed = _PACKAGE / "configs"  # setup.py packs them there
    return packed if packed.is_dir() else _PACKAGE.parent / "configs"


def names() -> list[str]:
    """Returns what may stand for FILE in FILE:MODEL, such as "cifar10"."""
    return sorted(path.stem for path in folder().glob("*.py"))


def find(file: str) -> pathlib.Path | None:
    """Returns the file of a preset's name, or of configs/NAME.py where no such file is; else None.

    So that "cifar10" and "configs/cifar10.py" are the same from any folder.
    """
    match = re.fullmatch(r"(?:configs/(\w+)\.py|(\w+))", file)
    if match is None or (match[1] and pathlib.Path(file).is_file()):
        return None
    path = folder() / f"{match[1] or match[2]}.py"
    return path if path.is_file() else None
