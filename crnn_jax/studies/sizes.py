"""Counts FLOPs and parameters of all models: python -m crnn_jax.studies.sizes --config=FILE

Reads no data and computes nothing. Writes results/sizes_NAME.json.
"""

import datetime
import pathlib
import sys

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import resolve_config


def main(argv: list[str]) -> None:
    """Writes the table's numbers."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.sizes", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE")
    parser.add_argument("--models", default="", help="as FILE has them: a,b; default: each kind")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--results", default="results", help="folder of the results file")
    flags = parser.parse_args(argv)
    with one_line_errors():
        from crnn_jax.data.decode import sides
        from crnn_jax.models import CLASSIFIERS
        from crnn_jax.train.experiment import build

        models, file = [], flags.config
        for model in [name for name in flags.models.split(",") if name] or CLASSIFIERS:
            config = resolve_config(f"{file}:{model}", {})
            size = config.data.image_size
            if size == 0:
                raise UserError(
                    f"--config expects one with 'data.image_size', found {flags.config}"
                )
            facts = build(config, (*(sides(size) or ()), 3), flags.classes, 10**6).describe()
            models.append({"model": model, "image_size": size, **facts})
        from crnn_jax.provenance import git_commit, versions
        from crnn_jax.writers import write_json_atomically

        name = pathlib.Path(file).stem
        path = pathlib.Path(flags.results) / f"sizes_{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "command": " ".join(["python -m crnn_jax.studies.sizes", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "git_commit": git_commit(),
            "versions": versions(),
            "models": models,
        }
        write_json_atomically(path, content)
        print(f"{name}: {len(models)} models: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
