"""The fenced blocks of README and docs: their commands are checked, or executed in small.

A page's blocks are executed in their order, in one folder and, those in Python, in one namespace.
`<!-- needs WHAT -->` on the line above a block says why it is checked alone: hardware, hours, data
or a network that a test does not have. `<!-- fails -->` says that its command ends in the error
that the next block shows, where "..." stands for anything.
"""

import argparse
import contextlib
import importlib
import io
import os
import pathlib
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from crnn_jax.__main__ import module_of
from crnn_jax.config.model_keys import MODEL_KEYS
from crnn_jax.flags import parse_overrides, resolve_config
from crnn_jax.models import MODELS
from crnn_jax.models.recurrent.cells import CELLS
from crnn_jax.tasks import TASKS
from tests.snippet_files import make_folder

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r"(?:<!-- (?:needs (?P<needs>[^>]+)|(?P<fails>fails)) -->\n)?"
    r"^```(?P<kind>.*)\n(?P<text>(?s:.*?))^```$",
    re.M,
)
LANGUAGES = ("bash", "python", "text", "json")
# A placeholder in a command, and what stands there when it is checked or executed.
PLACEHOLDERS = {
    "FILE:MODEL": "configs/digits.py:crnn",
    "IMAGE_OR_FOLDER": "photo.jpg",
    "VIDEO_OR_FOLDER": "clips",
}
# Flags that make a program small: the last of two equal ones counts.
SMALL = {
    "crnn_jax.evaluate": [],
    "crnn_jax.studies.anytime": [],
    "crnn_jax.studies.architecture": [],
    "crnn_jax.studies.bottleneck": ["--repeats=1"],
    "crnn_jax.studies.robustness": ["--num=8"],
    "crnn_jax.studies.saliency": ["--num=1", "--check=2"],
    "crnn_jax.studies.seeds": ["--seeds=1"],
    "crnn_jax.studies.tune": ["--seeds=1"],
}


# Programs that are not executed here, and why; tests/studies/ and tests/data/ do it in their way.
CHECKED_ALONE = {
    "crnn_jax.serve": "answers until it is stopped",
    "crnn_jax.data.prepare": "downloads, or reads the archives of ImageNet",
    "crnn_jax.studies.table1": "trains six models",
    "crnn_jax.studies.sensitivity": "trains nine models",
    "crnn_jax.studies.race": "trains ten times",
    "crnn_jax.studies.efficiency": "trains several sizes",
    "crnn_jax.studies.transfer": "trains eleven times",
    "crnn_jax.studies.scaling": "starts processes for each number of devices",
    "crnn_jax.studies.ablation": "trains eleven times",
    "crnn_jax.studies.variants": "trains a run for each variant and seed",
    "crnn_jax.studies.recurrence": "trains three models",
}


class Snippet(NamedTuple):
    """A fenced block."""

    page: pathlib.Path
    line: int
    language: str
    text: str
    needs: str  # why it is not executed; "" if it is
    fails: bool = False

    def commands(self) -> list[list[str]]:
        """Returns the words of each command of a bash block."""
        joined = self.text.replace("\\\n", " ")
        found = [shlex.split(line, comments=True) for line in joined.splitlines()]
        return [[_filled(word) for word in words] for words in found if words]


def _filled(word: str) -> str:
    for name, value in PLACEHOLDERS.items():
        word = word.replace(name, value)
    return word


def snippets(page: pathlib.Path) -> list[Snippet]:
    """Returns the fenced blocks of a page in order."""
    text = page.read_text()
    return [
        Snippet(
            page,
            text.count("\n", 0, match.start("kind")) + 1,
            match["kind"],
            match["text"],
            match["needs"] or "",
            match["fails"] is not None,
        )
        for match in FENCE.finditer(text)
    ]


class _Parsed(Exception):
    """Carries what a parser has read, and ends the program before it does anything."""


def parse_only(module: str, arguments: list[str], monkeypatch: Any) -> None:
    """Checks a program's flags, and the config that they name; it does nothing else."""
    original = argparse.ArgumentParser.parse_known_args

    def stop(self: Any, args: Any = None, namespace: Any = None) -> Any:
        raise _Parsed(*original(self, args, namespace))

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        try:
            _main(module)(arguments)
        except _Parsed as parsed:
            flags, rest = parsed.args
        else:
            raise AssertionError(f"{module} reads no flags")
    overrides = parse_overrides(rest)
    name = getattr(flags, "config", None)
    if name and ":" in name and "init.from" not in f"{name} {overrides}":  # the run is not there
        resolve_config(name, overrides)


def _main(module: str) -> Any:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.import_module(f"{module}.__main__").main
    return importlib.import_module(module).main


def check(words: list[str], monkeypatch: Any) -> None:
    """Checks that a command's program, flags, config, target or extra is there."""
    words = _without_variables(words)
    match words:
        case ["python", "-m", module, *rest]:
            parse_only(module, rest, monkeypatch)
        case ["crnn-jax", command, *rest]:
            module = module_of(command)
            assert module is not None
            parse_only(module, rest, monkeypatch)
        case ["python", file, *rest]:
            source = (ROOT / file).read_text()
            flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert {f for f in flags if f'"{f}"' not in source and "--config." not in f} == set()
        case ["make", *targets]:
            known = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
            assert {t for t in targets if "=" not in t and t not in known} == set()
        case ["pip", "wheel", *_] | ["python3", "-m", "venv", _]:
            pass
        case ["source", file]:
            assert file == ".venv/bin/activate"
        case ["alone/bin/pip" | "alone/bin/python", *_]:  # docs/export.md makes it
            pass
        case ["pip", "install", *rest]:
            with (ROOT / "pyproject.toml").open("rb") as file:
                extras = tomllib.load(file)["project"]["optional-dependencies"]
            named = re.findall(r"\[([\w,-]+)\]", " ".join(rest))
            assert {e for group in named for e in group.split(",")} <= extras.keys()
        case [script, *_] if script.endswith(".sh"):
            assert os.access(ROOT / script, os.X_OK)
        case [("export" | "cd" | "curl" | "tensorboard" | "wandb" | "mlflow" | "trackio"), *_] | []:
            pass
        case _:
            raise AssertionError(f"unknown command: {' '.join(words)}")


def _without_variables(words: list[str]) -> list[str]:
    first = next((i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)), len(words))
    return words[first:]


def run(words: list[str], monkeypatch: Any) -> None:
    """Executes a command in small, in this process; in the current folder."""
    match _without_variables(words):
        case ["python", "-m", module, *rest]:
            if module in CHECKED_ALONE:
                return
            code: Any = None
            try:
                _main(module)([*rest, *_small(module, rest)])
            except SystemExit as end:
                code = end.code
            assert not code, f"exit code {code}: {' '.join(words)}"
        case [script, *rest] if script.startswith("launch/"):
            command = [script, "--dry_run", *(word for word in rest if word != "--dry_run")]
            settings = dict(word.split("=", 1) for word in words[: words.index(script)])
            environ = {**os.environ, "ZONE": "z", **settings}
            subprocess.run(command, check=True, capture_output=True, env=environ)
        case ["export", *pairs]:
            for name, value in (pair.split("=", 1) for pair in pairs):
                if name != "TFDS_DATA_DIR":  # the real data stay where they are
                    monkeypatch.setenv(name, value)
        case ["make" | "pip" | "cd" | "source", *_] | ["python3", "-m", "venv", *_]:
            pass  # .ci/run does
        case _:
            raise AssertionError(f"not executed: {' '.join(words)}; say why above the block")


def _small(module: str, rest: list[str]) -> list[str]:
    if module != "crnn_jax.main" and module not in SMALL:
        return []
    flags = SMALL.get(module, [])
    named = [word.partition("=")[2] for word in rest if word.startswith("--config=")]
    if not named:
        return flags
    overrides = parse_overrides([word for word in rest if word.startswith("--config.")])
    config = resolve_config(named[0], overrides)
    keys = {"duration": "2 steps", "batch_size": "64", "log.tracker": "none"}
    keys |= {"optim.warmup": "0 steps", "data.num_workers": "0"}
    keys |= {
        f"model.{k}": v for k, v in (("width", "4"), ("hidden_units", "8")) if k in config.model
    }
    if any("init.from" in word for word in rest):  # the sizes are those of the run
        keys = {name: value for name, value in keys.items() if not name.startswith("model.")}
    if "--duration=1 steps" in flags or module.endswith("architecture"):
        del keys["duration"]
    return [*flags, *(f"--config.{name}={value}" for name, value in keys.items())]


@contextlib.contextmanager
def registries_kept() -> Iterator[None]:
    """Takes back what a page adds to the models, their keys, the tasks and the cells."""
    tables: list[dict[str, Any]] = [MODELS, MODEL_KEYS, TASKS, CELLS]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)


def run_page(page: pathlib.Path, folder: pathlib.Path, monkeypatch: Any) -> int:
    """Executes what a page shows; returns how many blocks were."""
    make_folder(folder)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "page"}
    blocks = snippets(page)
    count = 0
    for snippet, after in zip(blocks, [*blocks[1:], None], strict=True):
        if snippet.needs or snippet.language not in ("bash", "python"):
            continue
        where = f"{page.name}:{snippet.line}"
        try:
            if snippet.language == "python":
                exec(compile(snippet.text, where, "exec"), names)
            elif snippet.fails:
                (words,) = snippet.commands()
                assert after is not None
                fail(words, after.text)
            else:
                for words in snippet.commands():
                    run(words, monkeypatch)
        except BaseException as error:
            error.add_note(f"in the block at {where}")
            raise
        count += 1
    return count


def fail(words: list[str], text: str) -> None:
    """Executes a command of this project as it stands, which ends in the error of that text."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as end:
        _main(words[2])(words[3:])
    assert end.value.code == 2
    pattern = ".*".join(re.escape(part) for part in text.strip().split("..."))
    assert re.fullmatch(pattern, errors.getvalue().strip()), errors.getvalue()
