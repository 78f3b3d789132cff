"""The three parts of a run's data, and a pipeline for each."""

import dataclasses
import pathlib
from typing import Any

from jax.sharding import Mesh
from ml_collections import ConfigDict

from crnn_jax.data.cache import cache_dir
from crnn_jax.data.crops import make_crop
from crnn_jax.data.pipeline import Pipeline, make_pipeline
from crnn_jax.data.sources import Source, Split, hold_out, load_source
from crnn_jax.data.statistics import mean_and_std
from crnn_jax.data.whitening import patch_covariance, whitening_kernel
from crnn_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A source whose training split may have a validation part held out."""

    config: ConfigDict  # the whole config: data.*, seed
    source: Source
    splits: dict[str, Split]  # train, test and, where held out, validation
    cache: pathlib.Path

    @property
    def num_train(self) -> int:
        """Examples of an epoch."""
        return self.splits["train"].num_examples

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

    def pipeline(self, split: str, batch_size: int, mesh: Mesh) -> Pipeline:
        """Returns the pipeline over `split`.

        Raises:
          UserError: the run has no such split.
        """
        if split not in self.splits:
            hint = "; hold one out with data.validation=0.1" if split == "validation" else ""
            raise UserError(f"expected a split of {', '.join(self.splits)}, found '{split}'{hint}")
        return make_pipeline(
            self.config.data.pipeline,
            self.splits[split],
            batch_size=batch_size,
            seed=self.config.seed,
            mesh=mesh,
            cache_dir=self.cache,
            skip_corrupt=self.config.data.skip_corrupt,
            num_workers=self.config.data.num_workers,
            fingerprint=self.source.fingerprint,
            crop=make_crop(self.config),
        )


def load_dataset(config: ConfigDict) -> Dataset:
    """Returns the dataset that `config.data` names; decodes nothing yet.

    Raises:
      UserError: see the sources.
    """
    source = load_source(config.data, config.seed)
    train, validation = hold_out(source.train, config.data.validation, config.seed)
    splits = {"train": train, "test": source.test}
    if validation is not None:
        splits["validation"] = validation
    return Dataset(config, source, splits, cache_dir(config.data))
