"""From what stands on a command line to a validated config: FILE:MODEL and --config.KEY=VALUE."""

import argparse
import difflib
import importlib.util
import pathlib
import types

from ml_collections import ConfigDict

from crnn_jax.config import override
from crnn_jax.errors import UserError
from crnn_jax.validation import validate


def add_process_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a run of several processes (`crnn_jax.distributed`)."""
    several = parser.add_argument_group("several processes")
    several.add_argument(
        "--coordinator", default="", metavar="HOST:PORT", help="of process 0; auto"
    )
    several.add_argument("--num_processes", default="", metavar="N")
    several.add_argument("--process_id", default="", metavar="I", help="0 to N-1")


def load_config_module(path_text: str) -> types.ModuleType:
    """Returns the config file as a module that has get_config(argument).

    Raises:
      UserError: no such file, or not a config file.
    """
    path = pathlib.Path(path_text)
    if not path.is_file():
        known = [str(p) for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path_text, known, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise UserError(f"--config expects FILE:MODEL with a config file, found no '{path}'{hint}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config expects a Python file, found '{path}'")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(
            f"--config expects a file with get_config(argument), found none in '{path}'"
        )
    return module


def load_config_file(name: str) -> ConfigDict:
    """Returns get_config(ARGUMENT) of the config file named as FILE[:ARGUMENT].

    Raises:
      UserError: see `load_config_module`.
    """
    path_text, _, argument = name.partition(":")
    module = load_config_module(path_text)
    return module.get_config(argument) if argument else module.get_config()


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


def resolve_config(name: str, overrides: dict[str, str]) -> ConfigDict:
    """Returns the validated config of FILE[:ARGUMENT] with the dotted overrides applied."""
    config = load_config_file(name)
    for key, text in overrides.items():
        override(config, key, text)
    validate(config)
    return config
