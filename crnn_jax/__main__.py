"""Every command by one name: crnn-jax COMMAND ..., or python -m crnn_jax COMMAND ...

`crnn-jax train --config=cifar10:crnn --workdir=runs/a` is `python -m crnn_jax.main` with the same
flags, and so are the others; `crnn-jax COMMAND --help` lists them. A study is `study.NAME`.
"""

import pathlib
import runpy
import sys

from crnn_jax.errors import closest

# Command: (module below crnn_jax, what it does).
COMMANDS = {
    "train": ("main", "train the model of a config"),
    "evaluate": ("evaluate", "the score of a run on a split"),
    "predict": ("predict", "class and probability of images"),
    "serve": ("serve", "answer over HTTP, with a page to drop an image on"),
    "export": ("export", "a run as one file: ONNX, StableHLO, safetensors"),
    "report": ("report", "a page of one run or many"),
    "prepare": ("data.prepare", "download and check a data set"),
    "convert": ("convert", "weights of another project"),
    "checkpoint": ("checkpoint", "look at the checkpoints of a run"),
    "cache": ("data.cache", "what is kept of data and programs, and how to prune it"),
    "doctor": ("doctor", "is this installation fit to train?"),
}
_STUDY = "study."


def studies() -> dict[str, tuple[str, str]]:
    """Returns the studies as `COMMANDS` has commands, by what the first lines of their files say.

    None is imported: that takes seconds.
    """
    found = {}
    for path in sorted(pathlib.Path(__file__).parent.glob("studies/*.py")):
        with path.open(encoding="utf-8") as file:
            text, _, command = file.readline().partition(
                f": python -m crnn_jax.studies.{path.stem}"
            )
        if command:
            module = f"studies.{path.stem}"
            found[_STUDY + path.stem] = module, text.removeprefix('"""')
    return found


def module_of(command: str) -> str | None:
    """Returns the module of a command, as "crnn_jax.main"; None where there is none."""
    commands = studies() if command.startswith(_STUDY) else COMMANDS
    return f"crnn_jax.{commands[command][0]}" if command in commands else None


def _listed(commands: dict[str, tuple[str, str]]) -> list[str]:
    width = max(map(len, commands))
    return [f"  {name:{width}}  {text}" for name, (_, text) in commands.items()]


def main() -> None:
    """Runs the command that is named first, with the flags that follow."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(__doc__, *_listed(COMMANDS), "", *_listed(studies()), sep="\n")
        return
    module = module_of(command)
    if module is None:
        commands = studies() if command.startswith(_STUDY) else COMMANDS
        print(
            f"error: expected one of {', '.join(commands)}, found '{command}'"
            f"{closest(command, commands)} (see --help)",
            file=sys.stderr,
        )
        sys.exit(2)
    del sys.argv[1]
    # As `python -m` does it, so that processes which start this one again find the module.
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
