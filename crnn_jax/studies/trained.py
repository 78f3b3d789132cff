"""Trained runs that a study looks into: opened, checked and named."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from crnn_jax.errors import UserError
from crnn_jax.provenance import describe_devices, git_commit, versions
from crnn_jax.run import Run, open_run


def open_classifier(
    workdir: str,
    tasks: Sequence[str] = ("classification",),
    *,
    placement: Mapping[str, str],
) -> Run:
    """Returns the run in `workdir`; `placement` as in `open_run`.

    Raises:
      UserError: see `open_run`; its task is none of `tasks`.
    """
    run = open_run(workdir, placement=placement)
    if run.config.task not in tasks:
        raise UserError(
            f"'{workdir}': expected a run of task {' or '.join(tasks)}, found one of task "
            f"'{run.config.task}': choose another with --workdir"
        )
    return run


def run_name(run: Run) -> str:
    """Returns "digits_crnn": data and model, for names of files."""
    source = run.config.data.source.partition(":")[2] or run.config.data.source
    return f"{pathlib.Path(source).name}_{run.config.model.name}"


def made_with() -> dict[str, Any]:
    """Returns what a result file says of its making: "git_commit", "versions", "devices"."""
    return {"git_commit": git_commit(), "versions": versions(), "devices": describe_devices()}
