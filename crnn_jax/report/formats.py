"""How the tables write numbers, and a Markdown table itself."""

import statistics
from typing import Any


def percent(value: float | None) -> str:
    """Returns "93.12%" of 0.9312, "-" of None."""
    return "-" if value is None else f"{100 * value:.2f}%"


def with_interval(mean: float, ci95: float | None, sign: str = "", unit: str = "") -> str:
    """Returns "93.12% ± 0.20" of a fraction and half its 95% interval; without one, "93.12%"."""
    text = f"{100 * mean:{sign}.2f}{unit}"
    return text if ci95 is None else f"{text} ± {100 * ci95:.2f}"


def format_accuracy(row: dict[str, Any]) -> str:
    """Returns the mean test accuracy of a row as `with_interval`."""
    return with_interval(row["accuracy_mean"], row["ci95"], unit="%")


def format_seconds(seconds: float) -> str:
    """Returns "95 s", or minutes from two of them on."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def train_seconds(row: dict[str, Any]) -> str:
    """Returns the median over the seeds of the seconds spent in training steps."""
    return format_seconds(statistics.median(item.get("train", 0.0) for item in row["seconds"]))


def format_commits(row: dict[str, Any]) -> str:
    """Returns the short commits of a row's runs; `*`: the tree had uncommitted changes."""
    return ", ".join(
        commit[:7] + ("*" if "dirty" in commit else "") for commit in row["git_commit"]
    )


def made_by(rows: list[dict[str, Any]]) -> str:
    """Returns on what devices and of which commits the rows' runs were made."""
    devices = {each for row in rows for each in row["devices"].split("; ")}
    commits = {commit for row in rows for commit in row["git_commit"]}
    return f"{'; '.join(sorted(devices))}, commit {format_commits({'git_commit': sorted(commits)})}"


def measured_on(content: dict[str, Any]) -> str:
    """Returns on what, at which commit and when a study or the images/s were measured."""
    commit = format_commits({"git_commit": [content.get("git_commit") or "unknown"]})
    return f"{content.get('devices', 'unknown')}, commit {commit}, {content['date']}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
