"""Table 1 of the paper: python -m crnn_jax.studies.table1 --dataset=cifar10 --budget=cpu

Trains every row with every seed, each a resumable run of the one loop in WORKDIR/ROW_seed_N, and
keeps its result in RESULTS/table1/DATASET_BUDGET/ROW_seed_N.json: what has one is not trained
again. In the end it writes RESULTS/table1_DATASET_BUDGET.json, .md and .png from all that is kept.
--rates measures the images/s of the rows side by side first, on a machine that does nothing else;
without it they are those of the runs themselves.

budgets (3 x forward FLOPs x images are a run's training FLOPs):
"""

import pathlib
from typing import Any

from crnn_jax.entry import run_training
from crnn_jax.errors import one_line_errors
from crnn_jax.studies import claims, rates, runs
from crnn_jax.studies.budgets import BUDGETS, REFERENCE, ROWS, Plan, make_plan
from crnn_jax.studies.seeds import summarize


def make_row(dataset: str, plan: Plan, row: str, results: list[runs.Result]) -> dict[str, Any]:
    """Returns one row of the result file: `seeds.summarize`, and how it stands to the paper."""
    summary = summarize(row, results)
    paper = claims.PAPER[dataset][row] if dataset in claims.PAPER else None
    first = results[0]
    training_flops = runs.spent_flops(first)
    facts = {"training_flops": training_flops, "parameters": first["parameters"]}
    return {
        **summary,
        "paper": paper,
        "difference": None if paper is None else summary["accuracy_mean"] - paper,
        "training_flops": training_flops,
        "ratio_to_target": facts[plan.matched] / plan.target if plan.matched else None,
        "hardware": sorted({result["devices"] for result in results}),
        "precision": sorted({r.get("precision", r["config"]["precision"]) for r in results}),
        "dates": sorted({result["date"] for result in results}),
    }


def make_content(
    dataset: str,
    budget: str,
    plan: Plan,
    found: dict[str, list[runs.Result]],
    measured: dict[str, Any] | None,
) -> dict[str, Any]:
    """Returns the result file's facts: rows, paired differences and the sentences on the claims.

    `measured` is of `rates.read`; it is left out where it lacks a row, since rates are compared.
    """
    rows = [make_row(dataset, plan, row, results) for row, results in found.items()]
    if measured and not set(found) <= set(measured["rates"]):
        measured = None
    for row in rows:
        if measured:
            row["images_per_second"] = measured["rates"][row["row"]]
    paired = [
        {"row": row, **difference}
        for row, results in found.items()
        if row != REFERENCE and REFERENCE in found
        and (difference := runs.paired_difference(found[REFERENCE], results))
    ]  # fmt: skip
    missing = [row for row in ROWS if row not in found]
    sentences = [claims.ordering(found), claims.efficiency(rows)]
    if plan.matched:
        ratios = [row["ratio_to_target"] for row in rows]
        sentences.append(
            f"Matched: a run's {plan.matched.replace('_', ' ')} are {min(ratios):.3f} to "
            f"{max(ratios):.3f} times the {plan.target:.4g} of the CRNN's preset."
        )
    if missing:
        sentences.append(f"Not trained yet and left out: {', '.join(missing)}.")
    return {
        "dataset": dataset,
        "budget": budget,
        "definition": f"Budget {budget}: {BUDGETS[budget]}.",
        "matched": plan.matched or None,
        "target": plan.target or None,
        "rates": {k: v for k, v in measured.items() if k != "rates"} if measured else None,
        "rows": rows,
        "crnn_minus": paired,
        "missing": missing,
        "sentences": sentences,
    }


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    lines = [f"  {name:13}{text}" for name, text in BUDGETS.items()]
    parser = runs.make_parser("table1", (__doc__ or "") + "\n".join(lines))
    parser.add_argument("--dataset", default="cifar10", help="data set of configs/DATASET.py")
    parser.add_argument("--budget", choices=list(BUDGETS), required=True)
    parser.add_argument(
        "--seeds", type=int, default=0, help="number of seeds 0, 1, ...; default: 5, cpu: 1"
    )
    parser.add_argument("--rows", default="", help=f"some of {','.join(ROWS)}; default: all")
    parser.add_argument("--rates", action="store_true", help="measure the rows' images/s first")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = runs.study_overrides(rest)
        seeds = runs.at_least_one("--seeds", flags.seeds or (1 if flags.budget == "cpu" else 5))
        chosen = runs.choose("--rows", flags.rows, ROWS)
        name = f"{flags.dataset}_{flags.budget}"
        results = pathlib.Path(flags.results)
        kept = results / "table1" / name
        folders = runs.Folders(kept, pathlib.Path(flags.workdir or f"runs/table1_{name}"))
        rows = [row for row in ROWS if row in chosen or any(kept.glob(f"{row}_seed_*.json"))]
        plan = make_plan(f"configs/{flags.dataset}.py", flags.budget, rows, overrides)
        if flags.rates:
            rates.write(kept / rates.NAME, plan.points)
        if not flags.report:
            runs.run_points(plan.points, chosen, seeds, folders)
        found, measured = runs.finished(plan.points, folders), rates.read(kept / rates.NAME)
        content = make_content(flags.dataset, flags.budget, plan, found, measured)
        path = results / f"table1_{name}.json"
        runs.write_results(path, {**runs.header("table1", argv), **content})


if __name__ == "__main__":
    run_training(main)
