"""Whether what a study has kept of a run is of the data that are there now."""

import functools
import json
import pathlib
import sys
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.data import record
from crnn_jax.data.cache import cache_dir
from crnn_jax.data.sources import EMBEDDED, load_source
from crnn_jax.distributed import say
from crnn_jax.errors import UserError
from crnn_jax.workdir import read_dataset

Splits = dict[str, dict[str, Any]]


def trained_on(workdir: pathlib.Path) -> dict[str, Splits]:
    """Returns {"data": the splits of the run's dataset.json}; {} where there are none."""
    if not (workdir / "dataset.json").exists():
        return {}
    splits = read_dataset(workdir).get("splits")
    return {"data": splits} if splits else {}


def check_same(path: pathlib.Path, result: dict[str, Any], config: ConfigDict) -> None:
    """Checks that a kept result is of the data that `config` names, as far as they can be read.

    Args:
      path: the kept file.
      result: its content. Files of older versions have no section "data": they are not compared.
      config: what would be trained now.

    Raises:
      UserError: the file is of other data; says in what they differ.
    """
    if not isinstance(trained := result.get("data"), dict):
        return
    try:
        seed = config.seed if config.data.source in EMBEDDED else 0  # no others depend on it
        found = facts_now(json.dumps(config.data.to_dict()), seed)
    except UserError as error:
        say(f"the data of '{path}' were not compared: {error}", sys.stderr)
        return
    if different := record.differences({**found, "splits": trained}, found):
        raise UserError(
            f"'{path}' is of other data than those in '{config.data.source}': "
            f"{'; '.join(different)}. Put those data back, move the file away to train anew, or "
            "choose another --results"
        )


@functools.lru_cache(maxsize=8)  # a study compares many files with few data
def facts_now(data: str, seed: int) -> dict[str, Any]:
    """Returns `record.describe` of the data that a section `data`, in JSON, names.

    Raises:
      UserError: they cannot be read.
    """
    config = ConfigDict(json.loads(data))
    source = load_source(config, seed)
    return record.describe(source, source.train.num_examples, cache_dir(config))
