"""Evaluates a run's checkpoint: python -m crnn_jax.evaluate --workdir=runs/a [--split=test]

Prints one line, `test accuracy 0.9312 (9312/10000)`; every example of the split counts once. With
--tta=mirror or --tta=mirror_shift (test-time augmentation: the outputs for several views of an
example are averaged) it is `test accuracy with tta=mirror 0.9345 (9345/10000)`.

With --report it also writes WORKDIR/report_test: the score's interval, figures of each class,
confusion matrix, calibration and the worst mistakes (report.json and pictures), and every
prediction (predictions.jsonl). `python -m crnn_jax.report` makes a page of it.
"""

import sys

from crnn_jax import distributed
from crnn_jax.data.transforms import TTA
from crnn_jax.errors import OneLineParser, one_line_errors
from crnn_jax.flags import add_placement_flags, add_process_flags, placement


def main(argv: list[str]) -> None:
    """Prints the score of a run on a split."""
    parser = OneLineParser(prog="python -m crnn_jax.evaluate", description=__doc__)
    parser.add_argument("--workdir", required=True, help="of a run of crnn_jax.main")
    parser.add_argument("--split", default="test", help="test, validation or train")
    parser.add_argument("--step", type=int, help="of the checkpoint; default: the latest")
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
            from crnn_jax.run import open_run
            from crnn_jax.train.evaluator import result_line

            moved = placement(flags)
            run = open_run(flags.workdir, flags.step, num_devices=-1, placement=moved)
            if flags.report:
                from crnn_jax.evaluation import write_report
                from crnn_jax.studies.architecture import write_architecture

                distributed.on_first(lambda: write_architecture(run))
                summary, folder = write_report(run, flags.split, flags.tta)
                distributed.say(f"report in {folder}")
            else:
                summary = run.evaluate(flags.split, flags.tta)
            distributed.say(result_line(run.experiment.task, flags.split, summary, flags.tta))


if __name__ == "__main__":
    main(sys.argv[1:])
