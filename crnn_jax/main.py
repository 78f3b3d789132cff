"""Trains the model of a config: python -m crnn_jax.main --config=configs/digits.py:crnn

A config is FILE:MODEL[_small][,key=value...]; --config.KEY=VALUE changes any key. The same command
again resumes, or says that the run is finished.
"""

from crnn_jax.entry import run_training
from crnn_jax.errors import OneLineParser, one_line_errors
from crnn_jax.flags import add_process_flags, parse_overrides, resolve_config

_EPILOG = """examples:
  python -m crnn_jax.main --config=configs/digits.py:crnn --workdir=runs/digits
  python -m crnn_jax.main --config=configs/cifar10.py:crnn_small --workdir=runs/a \\
      --config.optim.learning_rate=0.002 --config.data.validation=0.1
models: cnn, rnn, rnn_deep, lrcn, tsn, crnn, sequencer; every key and its default: --help_config
"""


def main(argv: list[str]) -> None:
    """Trains; a user's mistake ends with exit code 2 and one line."""
    parser = OneLineParser(
        prog="python -m crnn_jax.main",
        description=__doc__,
        epilog=_EPILOG,
    )
    trains = "--help_config" not in argv
    parser.add_argument("--config", required=trains, metavar="FILE:MODEL", help="what to train")
    parser.add_argument("--workdir", required=trains, help="where checkpoints and results go")
    parser.add_argument(
        "--help_config",
        action="store_true",
        help="print every config key: value, default, choices or range, meaning; and exit",
    )
    parser.add_argument(
        "--accept_data",
        action="store_true",
        help="resume although files of data have other contents, such as a repaired image",
    )
    parser.add_argument(
        "--extend",
        action="store_true",
        help="let --config.duration be longer than that of the run in --workdir",
    )
    add_process_flags(parser)
    parser.add_argument(
        "--profile",
        nargs="?",
        const="10:20",
        metavar="FIRST:LAST",
        help="trace these steps (10:20 where none are named); short for --config.log.profile",
    )
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        overrides = parse_overrides(rest)
        if flags.profile is not None:
            overrides["log.profile"] = flags.profile
        if flags.help_config:
            from crnn_jax.help_config import help_text

            print(help_text(resolve_config(flags.config, overrides) if flags.config else None))
            return
        config = resolve_config(flags.config, overrides, flags.workdir)
        from crnn_jax import distributed  # JAX starts here: mistakes above answer at once

        distributed.start(flags.coordinator, flags.num_processes, flags.process_id)
        with distributed.ending_together():
            from crnn_jax.train.loop import train

            train(config, flags.workdir, accept_data=flags.accept_data, extend=flags.extend)


if __name__ == "__main__":
    run_training(main)
