"""When a training ends before its last step: its score on the validation part gets no better."""

import dataclasses

from ml_collections import ConfigDict

from crnn_jax.data.dataset import Dataset
from crnn_jax.errors import UserError


@dataclasses.dataclass
class Patience:
    """What validations have shown so far.

    Attributes:
      limit: how many in a row may be no better than the best before them; 0: any number.
      scores: by step, more is better; a run that goes on has them from metrics.jsonl.
    """

    limit: int
    scores: dict[int, float]

    @property
    def best_step(self) -> int:
        """The first step with the best score."""
        return max(sorted(self.scores), key=lambda step: self.scores[step])

    @property
    def is_over(self) -> bool:
        """Whether training ends."""
        if self.limit == 0 or not self.scores:
            return False
        best = self.best_step
        return sum(step > best for step in self.scores) >= self.limit

    def describe(self, score: str) -> str:
        """Returns a line on the end."""
        best = self.best_step
        return (
            f"stopped early ('eval.patience'): validation {score} is not above "
            f"{self.scores[best]:.4f} of step {best} in {self.limit} validations since"
        )


def check_validation(config: ConfigDict, dataset: Dataset) -> None:
    """Checks that there is what `eval.patience` looks at.

    Raises:
      UserError: there is no validation part.
    """
    if config.eval.patience > 0 and "validation" not in dataset.splits:
        raise UserError(
            f"config key 'eval.patience' is {config.eval.patience}, which needs a validation part: "
            "hold one out with data.validation=0.1, or add a folder 'val' beside 'test', found none"
        )
