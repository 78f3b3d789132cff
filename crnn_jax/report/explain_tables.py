"""The tables of benchmarks/explain.py and benchmarks/new_user.py."""

import pathlib

from crnn_jax.report.formats import markdown
from crnn_jax.report.speed_tables import read_records, where


def explain_table(results: pathlib.Path) -> str:
    """Returns the seconds of the programs that look into a model, as the newest run found them."""
    last = max(read_records(results, "explain", "runs"), key=lambda record: record["time"])
    titles = {name: f"`studies.{name}`" for name in last["programs"]}
    titles["page"] = f"`report`, {last['runs']} runs, {last['page_bytes'] / 1e6:.1f} MB"
    rows = [
        [titles[name], f"{seconds['seconds']:.1f}", f"{seconds['cpu_seconds']:.1f}"]
        for name, seconds in last["programs"].items()
    ]
    header = ["program, on the digits' models", "seconds", "processor seconds"]
    return f"{markdown(header, rows)}\n\nOne run of each, with its start; {where(last)}."


def new_user_table(results: pathlib.Path) -> str:
    """Returns the commands of a new user with the seconds of each, as the newest run found them."""
    last = max(read_records(results, "new_user", "path"), key=lambda record: record["time"])
    seconds = last["seconds"]
    rows = [
        [what, f"`{command}`", f"{seconds[what]:.0f}"] for what, command in last["commands"].items()
    ]
    rows.append(["in all", "", f"{sum(seconds.values()):.0f}"])
    header = ["to", "command", "seconds"]
    return f"{markdown(header, rows)}\n\nOne run; {where(last)}."
