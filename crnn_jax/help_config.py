"""Tables of all config keys; python -m crnn_jax.help_config docs/config.md writes the page.

`python -m crnn_jax.main --help_config` prints them, with the values of a config if one is named.
"""

import pathlib
import sys
import textwrap
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.config import MODEL_DEFAULTS, flatten, keys_of
from crnn_jax.config.key import Key
from crnn_jax.errors import OneLineParser, UserError, one_line_errors

_COLUMNS = 100
_PAGE = """# Config keys

Every key of a config, by section: `--config.KEY=VALUE` changes one. A range is written as an
interval, `[0, 1)` from 0 to below 1. Keys with a mark may change when a run is resumed: those with
a * only place or report it, those with a ~ may name another place of the same data or, once it has
moved, of the same weights, the one with a + may be longer (with the flag `--extend`), those with a
! may change after a stop by numbers that are not finite. Written by `python -m crnn_jax.help_config
docs/config.md`; `python -m crnn_jax.main --config=FILE:MODEL --help_config` prints the keys of one
config with its values.
"""


_MARKS = {"never": "", "always": " *", "moved": " ~", "gone": " ~", "longer": " +", "rescue": " !"}


def _section(name: str) -> str:
    return name.rpartition(".")[0] or "run"


def all_keys() -> dict[str, tuple[Key, dict[str, Any]]]:
    """Returns, for each key of any model, (its declaration, the models that have it: default)."""
    found: dict[str, tuple[Key, dict[str, Any]]] = {}
    for model in MODEL_DEFAULTS:
        for name, key in keys_of(model).items():
            if name != "model.name":
                found.setdefault(name, (key, {}))[1][model] = key.default
    return found


def _shown_default(defaults: dict[str, Any]) -> str:
    """Returns the default, each with its models where they differ."""
    values = list(dict.fromkeys(defaults.values()))
    if len(values) == 1:
        return _shown(values[0])
    of = {value: [m for m, default in defaults.items() if default == value] for value in values}
    return ", ".join(f"{_shown(value)} ({', '.join(models)})" for value, models in of.items())


def _shown(value: Any) -> str:
    return '""' if value == "" else str(tuple(value) if isinstance(value, list) else value)


def help_text(config: ConfigDict | None = None) -> str:
    """Returns the keys by section, each with value, default, choices or range, and meaning.

    Args:
      config: whose keys and values are shown; None: those of all models, without values.
    """
    lines, section = [], ""
    values = flatten(config) if config is not None else {}
    for name, (key, defaults) in all_keys().items():
        if config is not None:
            if name not in values:
                continue
            defaults = {config.model.name: defaults[config.model.name]}
        if _section(name) != section:
            section = _section(name)
            lines += ["", f"{section}:"]
        facts = [f"default {_shown_default(defaults)}"]
        if len(defaults) < len(MODEL_DEFAULTS) and config is None:
            facts.insert(0, f"of {', '.join(defaults)}")
        if config is not None:
            facts.insert(0, _shown(values[name]))
        if (choices := key.values()) != "":
            facts.append(choices)
        lines += _wrapped(f"  {name}: {'; '.join(facts)}", "      ")
        lines += _wrapped(f"      {key.meaning}", "      ")
    return "\n".join(lines[1:])


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def page() -> str:
    """Returns the content of docs/config.md."""
    lines, section = [_PAGE], ""
    for name, (key, defaults) in all_keys().items():
        if _section(name) != section:
            section = _section(name)
            lines += [
                *([] if section == "run" else [""]),
                f"## {section}\n",
                "| key | default | choices or range | meaning |\n|---|---|---|---|",
            ]
        of = f" ({', '.join(defaults)})" if len(defaults) < len(MODEL_DEFAULTS) else ""
        cells = [_shown_default(defaults), key.values(), key.meaning + of]
        escaped = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| `{name}`{_MARKS[key.changes]} | {escaped} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Writes the page; with --check says whether it is up to date."""
    parser = OneLineParser(prog="python -m crnn_jax.help_config", description=__doc__)
    parser.add_argument("file", metavar="docs/config.md", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="exit 2 if it is out of date")
    flags = parser.parse_args(argv)
    with one_line_errors():
        new = page()
        old = flags.file.read_text() if flags.file.exists() else None
        if flags.check and new != old:
            raise UserError(
                f"'{flags.file}' is out of date: run python -m crnn_jax.help_config {flags.file}"
            )
        if new != old:
            flags.file.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
