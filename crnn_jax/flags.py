"""From what stands on a command line to a validated config: FILE:MODEL and --config.KEY=VALUE."""

import argparse
import contextlib
import contextvars
import difflib
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Iterator

from ml_collections import ConfigDict

from crnn_jax import presets
from crnn_jax.config import override
from crnn_jax.errors import UserError
from crnn_jax.validation import validate

# The workdir of the run that a config file makes the config of; "" where it is not known.
RUN_WORKDIR = contextvars.ContextVar("RUN_WORKDIR", default="")


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a run of several processes (`crnn_jax.distributed`)."""
    several = parser.add_argument_group("several processes")
    several.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="address of process 0, or auto"
    )
    several.add_argument("--num_processes", default="", metavar="N")
    several.add_argument(
        "--process_id", default="", metavar="I", help="number of this process, 0 to N-1"
    )


def add_placement_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where a run's data lies now; `placement` reads them."""
    moved = parser.add_argument_group("data that has moved since the training")
    moved.add_argument("--data_source", metavar="KIND:PATH", help="data in place of data.source")
    moved.add_argument(
        "--data_dir", metavar="FOLDER", help="folder of TFDS data, in place of data.dir"
    )
    moved.add_argument("--cache_dir", metavar="FOLDER", help="cache in place of data.cache_dir")


def placement(flags: argparse.Namespace) -> dict[str, str]:
    """Returns the config keys that the flags of `add_placement_flags` set."""
    given = {
        "data.source": flags.data_source,
        "data.dir": flags.data_dir,
        "data.cache_dir": flags.cache_dir,
    }
    return {key: value for key, value in given.items() if value is not None}


def split_name(name: str) -> tuple[str, str]:
    """Returns (file, argument) of FILE[:ARGUMENT]; the file's path may hold colons itself.

    FILE may be a preset's name, such as cifar10.
    """
    cuts = [match.end() - 1 for match in re.finditer(r"\.py:", name)]
    for cut in cuts:
        if pathlib.Path(name[:cut]).expanduser().is_file():
            return name[:cut], name[cut + 1 :]
    if name.endswith(".py") and pathlib.Path(name).expanduser().is_file():
        return name, ""
    cut = cuts[0] if cuts else name.find(":")
    return (name[:cut], name[cut + 1 :]) if cut >= 0 else (name, "")


def load_config_module(path_text: str) -> types.ModuleType:
    """Returns the config file as a module that has get_config(argument).

    Raises:
      UserError: no such file, or not a config file.
    """
    path = config_path(path_text)
    if not path.is_file():
        files = sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []
        known = [str(file) for file in files if file != path]
        close = difflib.get_close_matches(str(path), [*known, *presets.names()], n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise UserError(
            "--config expects FILE:MODEL with a config file or one of "
            f"{', '.join(presets.names())}, found no '{path}'{hint}"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config expects a Python file, found '{path}'")
    module = importlib.util.module_from_spec(spec)
    with _one_line_of(path), _siblings(path.parent):
        spec.loader.exec_module(module)
    if not callable(getattr(module, "get_config", None)):
        raise UserError(
            f"--config expects a file with get_config(argument), found none in '{path}'"
        )
    return module


def config_path(path_text: str) -> pathlib.Path:
    """Returns the path of a config file, or of a preset by its name."""
    return presets.find(path_text) or pathlib.Path(path_text).expanduser()


@contextlib.contextmanager
def _siblings(folder: pathlib.Path) -> Iterator[None]:
    """Lets a config file import the modules beside it, as a script does, inside the block.

    They are forgotten after it: the next config may have others of the same names beside it.
    """
    path, before = str(folder.absolute()), set(sys.modules)
    sys.path.insert(0, path)
    try:
        yield
    finally:
        sys.path.remove(path)
        new = set(sys.modules) - before
        siblings = {name for name in new if _is_in(folder, name)}
        for name in new:
            if name.partition(".")[0] in siblings:
                del sys.modules[name]


def _is_in(folder: pathlib.Path, name: str) -> bool:
    """Returns whether the imported module is a file or a package of the folder itself."""
    own = folder.absolute() / name
    file = getattr(sys.modules[name], "__file__", None)
    return file in (f"{own}.py", f"{own}/__init__.py")


@contextlib.contextmanager
def _one_line_of(path: pathlib.Path) -> Iterator[None]:
    """Turns what a config file raises into a UserError that names the last line of it."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit() too would end the program in silence
        frames = traceback.extract_tb(error.__traceback__)
        own = str(path.absolute())
        lines = [frame.lineno for frame in frames if frame.filename in (own, str(path))]
        if isinstance(error, SyntaxError):
            lines.append(error.lineno)
        where = f", line {lines[-1]}" if lines else ""
        raise UserError(
            f"--config expects a config file that runs, found {type(error).__name__} in "
            f"'{path}'{where}: {error}"
        ) from error


def load_config_file(name: str) -> ConfigDict:
    """Returns get_config(ARGUMENT) of the config file named as FILE[:ARGUMENT].

    Raises:
      UserError: see `load_config_module`; get_config takes no argument, fails, or returns no
        ConfigDict.
    """
    path_text, argument = split_name(name)
    get_config = load_config_module(path_text).get_config
    arguments = (argument,) if argument else ()
    signature = inspect.signature(get_config)
    try:
        signature.bind(*arguments)
    except TypeError:
        raise UserError(
            f"--config expects get_config(argument) in '{path_text}', with a default if no :MODEL "
            f"is named, found get_config{signature}"
        ) from None
    path = config_path(path_text)
    with _one_line_of(path), _siblings(path.parent):
        config = get_config(*arguments)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config expects get_config of '{path_text}' to return a ConfigDict, such as "
            f"crnn_jax.config.default_config(model), found {type(config).__name__}"
        )
    return config


def parse_overrides(arguments: list[str]) -> dict[str, str]:
    """Returns {"optim.learning_rate": "0.002"} of ["--config.optim.learning_rate=0.002"].

    Raises:
      UserError: an argument that is no --config.KEY=VALUE.
    """
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if not name.startswith("--config."):
            raise UserError(
                f"expected --config, --workdir or --config.KEY=VALUE, found '{argument}'"
            )
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"expected a value: {name}=VALUE")
            value = rest.pop(0)
        pairs[name.removeprefix("--config.")] = value
    return pairs


def resolve_config(name: str, overrides: dict[str, str], workdir: str = "") -> ConfigDict:
    """Returns the validated config of FILE[:ARGUMENT] with the dotted overrides applied.

    Where there is a run in `workdir`, what the config file asks of `init.from` is as it was then.
    """
    token = RUN_WORKDIR.set(workdir)
    try:
        config = load_config_file(name)
    finally:
        RUN_WORKDIR.reset(token)
    for key, text in overrides.items():
        override(config, key, text)
    validate(config)
    return config
