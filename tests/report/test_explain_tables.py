"""The tables of benchmarks/explain.py and new_user.py come from their newest lines."""

from crnn_jax.report.explain_tables import explain_table, new_user_table


def test_the_seconds_are_those_of_the_newest_line(tmp_path, append):
    for seconds in (50.0, 12.34):
        programs = {name: {"seconds": seconds, "cpu_seconds": 2.0} for name in ("saliency", "page")}
        append(tmp_path, "explain", runs=20, page_bytes=3.5e6, programs=programs)
    lines = explain_table(tmp_path).splitlines()
    assert lines[2] == "| `studies.saliency` | 12.3 | 2.0 |"
    assert lines[3] == "| `report`, 20 runs, 3.5 MB | 12.3 | 2.0 |"
    assert "2 cores" in lines[-1]


def test_a_new_users_commands_add_up(tmp_path, append):
    for train in (99.0, 25.4):
        append(
            tmp_path,
            "new_user",
            path="README",
            seconds={"install": 60.4, "train": train},
            commands={"install": "pip install .", "train": "python -m crnn_jax.main"},
        )
    lines = new_user_table(tmp_path).splitlines()
    assert lines[2] == "| install | `pip install .` | 60 |"
    assert lines[3] == "| train | `python -m crnn_jax.main` | 25 |"
    assert lines[4] == "| in all |  | 86 |"
