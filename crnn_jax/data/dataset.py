"""The data of a run: its source by name, the three parts of it, and a pipeline for each."""

import dataclasses
import os
import pathlib
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnn_jax import pretrained
from crnn_jax.data import classes, order, record
from crnn_jax.data.cache import cache_dir, decoded, entry_name
from crnn_jax.data.pipeline import Pipeline
from crnn_jax.data.reading import View
from crnn_jax.data.resident import ResidentPipeline
from crnn_jax.data.sources import PATHS, load_source
from crnn_jax.data.splits import Source, Split, hold_out, labels_of
from crnn_jax.data.statistics import mean_and_std
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.data.views import training_view
from crnn_jax.data.whitening import patch_covariance, whitening_kernel
from crnn_jax.errors import UserError

PIPELINES = ("resident", "streaming")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A source, of whose training split a validation part may be held out."""

    config: ConfigDict  # the whole config: data.*, seed
    source: Source
    splits: dict[str, Split]  # train, test and, where there is one, validation
    cache: pathlib.Path
    view: View | None  # the part of each example that training decodes; None: the whole

    @property
    def num_train(self) -> int:
        """Examples of an epoch."""
        return self.splits["train"].num_examples

    def describe(self) -> dict[str, Any]:
        """Returns the content of dataset.json; see `record.describe`."""
        return record.describe(self.source, self.num_train, self.cache)

    def with_classes(self, class_names: tuple[str, ...]) -> "Dataset":
        """Returns the same with the classes numbered as in `class_names`; see `classes`."""
        return _divide(self.config, classes.with_classes(self.source, class_names), self.view)

    def norm(self) -> dict[str, Any]:
        """Returns {"mean_C", "std_C"}, 0..255, of the training split less the validation part.

        For a model with a whitening layer, its "whitening_HWIO" too, of the same images.
        """
        train, model = self.splits["train"], self.config.model
        stored: dict[str, Any] = {
            "cache_dir": self.cache,
            "fingerprint": self.source.fingerprint,
            "skip_corrupt": self.config.data.skip_corrupt,
        }
        mean_C, std_C = mean_and_std(train, **stored)
        norm = {"mean_C": mean_C, "std_C": std_C}
        if "whiten_size" in model and model.whiten_size > 0:
            covariance_DD = patch_covariance(train, model.whiten_size, **stored)
            norm["whitening_HWIO"] = whitening_kernel(covariance_DD, std_C)
        return norm

    def split(self, name: str) -> Split:
        """Returns the split of that name.

        Raises:
          UserError: there is none.
        """
        if name not in self.splits:
            hint = (
                "; hold one out with data.validation=0.1, or add a folder 'val' beside 'test'"
                if name == "validation"
                else ""
            )
            raise UserError(f"expected a split of {', '.join(self.splits)}, found '{name}'{hint}")
        return self.splits[name]

    def decode(self, split: str) -> None:
        """Decodes the split that is reported and the validation part, unless a cache holds them.

        So a file that cannot be used is known before a training, and not in its course. Streaming
        finds it when it reads it.

        Raises:
          UserError: there is no such split, or see `cache.decoded`.
        """
        evaluated = [self.split(split), self.splits.get("validation")]
        for found in evaluated if self.config.data.pipeline == "resident" else ():
            if found is None:
                continue
            name = entry_name(self.source.fingerprint, found.parent or found)
            if not (self.cache / "decoded" / name).exists():
                decoded(
                    found,
                    cache_dir=self.cache,
                    fingerprint=self.source.fingerprint,
                    skip_corrupt=self.config.data.skip_corrupt,
                )

    def pipeline(self, split: str, batch_size: int, mesh: Mesh) -> Pipeline:
        """Returns the pipeline over `split`.

        Raises:
          UserError: there is none.
        """
        return make_pipeline(
            self.config.data.pipeline,
            self.split(split),
            batch_size=batch_size,
            seed=self.config.seed,
            mesh=mesh,
            cache_dir=self.cache,
            skip_corrupt=self.config.data.skip_corrupt,
            num_workers=self.config.data.num_workers,
            fingerprint=self.source.fingerprint,
            view=self.view,
            groups=self._groups() if split == "train" else None,
        )

    def _groups(self) -> order.Groups | None:
        """Returns the classes of the training split, where they come equally often; else None."""
        if self.config.data.sampling != "balanced":
            return None
        return order.by_group(labels_of(self.splits["train"]))


def with_absolute_paths(config: ConfigDict) -> ConfigDict:
    """Returns a copy whose paths of data and of weights do not depend on the current folder.

    Nor do they end with /. The name of a model of the package stays, unless it is a path too.
    """
    config = ConfigDict(config.to_dict())
    kind, _, location = config.data.source.partition(":")
    if kind in PATHS and location:
        config.data.source = f"{kind}:{_absolute(location)}"
    for key in ("dir", "cache_dir"):
        if config.data[key]:
            config.data[key] = _absolute(config.data[key])
    if (weights := config.init["from"]) and not pretrained.is_name(weights):
        config.init["from"] = _absolute(weights)
    return config


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def make_pipeline(
    kind: str,
    split: Split,
    *,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    cache_dir: pathlib.Path,
    skip_corrupt: bool,
    num_workers: int,
    fingerprint: str,
    view: View | None = None,
    groups: order.Groups | None = None,
) -> Pipeline:
    """Returns the pipeline named `kind` over `split`.

    Args:
      kind: "resident" (decoded once, kept on the devices) or "streaming" (read as needed).
      split: the examples.
      batch_size: global, over all devices and processes.
      seed: decides the training order.
      mesh: with the axis "data".
      cache_dir: where the resident pipeline keeps decoded images.
      skip_corrupt: an unreadable example keeps its place with weight 0, instead of ending the run.
      num_workers: decoding processes of the streaming pipeline; 0: threads.
      fingerprint: that of the split's source; names the decoded images in the cache.
      view: the part of each example that is decoded, streaming alone; None: as the split gives it.
      groups: parts of the examples, each of which training sees as often; None: each example.

    Raises:
      UserError: an empty split.
      CorruptImageError: the resident pipeline met an unreadable image, without `skip_corrupt`.
    """
    if split.num_examples == 0:
        raise UserError(
            f"split '{split.name}' expects at least one example, found none; check 'data.source' "
            "and the fractions 'data.validation' and 'data.test_fraction'"
        )
    if kind == "resident":
        return ResidentPipeline(
            split,
            batch_size=batch_size,
            seed=seed,
            mesh=mesh,
            cache_dir=cache_dir,
            skip_corrupt=skip_corrupt,
            fingerprint=fingerprint,
            groups=groups,
        )
    return StreamingPipeline(
        split,
        batch_size=batch_size,
        seed=seed,
        mesh=mesh,
        skip_corrupt=skip_corrupt,
        num_workers=num_workers,
        view=view,
        groups=groups,
    )


def load_dataset(config: ConfigDict) -> Dataset:
    """Returns the dataset that `config.data` names; decodes nothing yet.

    Raises:
      UserError: see the sources.
    """
    view = training_view(config)
    return _divide(config, load_source(config.data, config.seed), view)


def _divide(config: ConfigDict, source: Source, view: View | None) -> Dataset:
    train, held = hold_out(source.train, config.data.validation, config.seed)
    validation = source.validation if held is None else held
    splits = {"train": train, "test": source.test}
    if validation is not None:
        splits["validation"] = validation
    return Dataset(config, source, splits, cache_dir(config.data), view)
