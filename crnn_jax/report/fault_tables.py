"""The table of `make faults`."""

import json
import pathlib
from typing import Any

from crnn_jax.errors import UserError

# Of each part: its name in the file, what it is, and what must not be.
_PARTS = (
    ("kills", "operations on files and phases at which a training was killed, failed or signalled"),
    ("checkpoints", "damaged files of checkpoints"),
    ("records", "damaged config.json, dataset.json, result.json and metrics.jsonl"),
    ("configs", "random configs"),
    ("images", "mutated image files"),
)


def faults_table(results: pathlib.Path) -> str:
    """Returns the Markdown table of the faults in results/faults.json.

    Raises:
      UserError: there is no such file.
    """
    path = results / "faults.json"
    if not path.exists():
        raise UserError(f"expected '{path}', found none: run make faults")
    content = json.loads(path.read_text())
    lines = ["| faults | what | outcome | seconds |", "|---|---|---|---|"]
    for name, what in _PARTS:
        counts = content["faults"][name]
        number = counts.get("faults", counts.get("cases"))
        lines.append(f"| {number:,} | {what} | {_outcome(counts)} | {counts['seconds']} |")
    where = f"{content['devices']}, {content['date']}, {content['git_commit'][:7]}"
    lines += ["", f"`{content['command']}`, seeds {content['seeds']}, on {where}."]
    return "\n".join(lines)


def _outcome(counts: dict[str, Any]) -> str:
    left_out = ("faults", "cases", "seconds", "operations", "slowest_s")
    return ", ".join(f"{name} {value:,}" for name, value in counts.items() if name not in left_out)
