"""The table of `make faults`."""

import json
import pathlib
from typing import Any

from crnn_jax.errors import UserError

# Each part: its name in the file, what it is, and what must not be.
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
    lines = ["| faults | what | outcome | seconds | date, commit |", "|---|---|---|---|---|"]
    for name, what in _PARTS:
        counts = content["faults"][name]
        number = counts.get("faults", counts.get("cases"))
        lines.append(f"| {number:,} | {what} | {_outcome(counts)} | {_end(counts)}")
    if run := content["faults"].get("long_run"):
        held = (
            f"resident memory {run['resident_mb'][0]:,} MB early, {run['resident_mb'][1]:,} late; "
            f"open files {run['files'][0]} and {run['files'][1]}, threads {run['threads'][0]} and "
            f"{run['threads'][1]}; left behind {run['left']}"
        )
        lines.append(f"| {run['steps']:,} | steps of one training | {held} | {_end(run)}")
    made = [counts["about"] for counts in content["faults"].values()]
    commands = ", ".join(f"`{command}`" for command in sorted({x["command"] for x in made}))
    devices = "; ".join(sorted({x["devices"] for x in made}))
    lines += ["", f"{commands}, seeds {content['seeds']}, on {devices}."]
    return "\n".join(lines)


def _end(counts: dict[str, Any]) -> str:
    about = counts["about"]
    return f"{counts['seconds']} | {about['date']}, {about['git_commit'][:7]} |"


def _outcome(counts: dict[str, Any]) -> str:
    left_out = ("faults", "cases", "seconds", "operations", "slowest_s", "slowest_stop_s")
    left_out += ("about",)
    return ", ".join(f"{name} {value:,}" for name, value in counts.items() if name not in left_out)
