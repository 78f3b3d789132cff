"""Evaluates a run's checkpoint: python -m crnn_jax.evaluate --workdir=runs/a [--split=test]

--file=FILE takes an exported file in the place of a run, --model=NAME a model of the package.
Prints one line, `test accuracy 0.9312 (9312/10000)`; every example of the split counts once. With
--tta=mirror or --tta=mirror_shift (test-time augmentation: the outputs for several views of an
example are averaged) it is `test accuracy with tta=mirror 0.9345 (9345/10000)`.

With --report it also writes WORKDIR/report_test: the score's interval, figures of each class,
confusion matrix, calibration and the worst mistakes (report.json and pictures), and every
prediction (predictions.jsonl). `python -m crnn_jax.report` makes a page of it.
"""

import argparse
import sys
from typing import Any

from crnn_jax import distributed
from crnn_jax.data.transforms import TTA
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, add_process_flags, placement
from crnn_jax.opened import add_flags, open_named


def main(argv: list[str]) -> None:
    """Prints the score of a run on a split."""
    parser = OneLineParser(prog="python -m crnn_jax.evaluate", description=__doc__)
    add_flags(parser)
    parser.add_argument("--split", default="test", help="test, validation or train")
    parser.add_argument("--tta", choices=TTA, default="none", help="test-time augmentation")
    parser.add_argument(
        "--report", action="store_true", help="write figures, predictions and pictures too"
    )
    add_placement_flags(parser)
    add_process_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        distributed.start(flags.coordinator, flags.num_processes, flags.process_id)
        with distributed.ending_together():
            from crnn_jax.run import Run
            from crnn_jax.train.evaluator import result_line

            found = open_named(flags, placement(flags), num_devices=-1)
            if flags.report:
                summary = _reported(found, flags)
            elif isinstance(found, Run):
                summary = found.evaluate(flags.split, flags.tta)
            elif flags.tta == "none":
                summary = found.evaluate(flags.split)
            else:
                raise UserError(
                    f"--tta={flags.tta} expects a run or a safetensors file, found "
                    f"{found.described}, a program"
                )
            distributed.say(result_line(found.task, flags.split, summary, flags.tta))


def _reported(found: Any, flags: argparse.Namespace) -> dict[str, Any]:
    """Returns the score, after files of the report are in the workdir."""
    if flags.workdir is None:
        raise UserError(f"--report expects --workdir, where it writes; found {found.described}")
    from crnn_jax.evaluation import write_report
    from crnn_jax.studies.architecture import write_architecture

    distributed.on_first(lambda: write_architecture(found))
    summary, folder = write_report(found, flags.split, flags.tta)
    distributed.say(f"report in {folder}")
    return summary


if __name__ == "__main__":
    main(sys.argv[1:])
