"""Image classification: one class an image; top-1 accuracy."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from ml_collections import ConfigDict

from crnn_jax.data import class_weights, mixing, transforms
from crnn_jax.data.fields import Example, Fields
from crnn_jax.data.splits import LOSS_WEIGHT, Split, labelled_fields, labels_of
from crnn_jax.errors import printable
from crnn_jax.models.heads import Output
from crnn_jax.tasks import losses
from crnn_jax.tasks.augmentation import Augmentation
from crnn_jax.tasks.classification_report import Judged, make_report
from crnn_jax.tasks.sums import Sums, loss_sums, no_sums
from crnn_jax.tasks.task import Batch, Evidence, Predictions, Rendered, Report

_TOP = 5


@struct.dataclass
class Hits(Sums):
    """`Sums`, and the number of examples whose likeliest class is their own."""

    num_correct: jax.Array  # int32


@dataclasses.dataclass(frozen=True)
class Classification:
    """The task; see `task.Task`.

    Attributes:
      augmentation: what happens to the pixels.
      label_smoothing: in [0, 1), in training alone.
      class_weights: by which an example's loss is multiplied in training, K numbers; () for none.
      pixels: the field that the model reads.
    """

    output: ClassVar[type] = Output
    keys: ClassVar[tuple[str, ...]] = (
        "optim.label_smoothing",
        "optim.class_weights",
        "data.sampling",
        "data.mixup",
        "data.cutmix",
    )
    score: ClassVar[str] = "accuracy"
    pixels: ClassVar[str] = "image"

    augmentation: Augmentation
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        num_classes: int,
        train: Split | None = None,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Returns the task of a validated config; `train` is read for balanced class weights.

        Raises:
          UserError: class weights that do not fit the classes.
        """
        augmentation = Augmentation.of(config.data, jnp.dtype(config.precision))
        weights, chosen = (), config.optim.class_weights
        if train is not None and chosen == "balanced":
            weights = balanced_weights(labels_of(train), num_classes)
        elif train is not None and chosen != "none":
            weights = class_weights.given_weights(chosen, class_names)
        return cls(augmentation, config.optim.label_smoothing, weights)

    @classmethod
    def fields(cls, input_shape: tuple[int, ...]) -> Fields:
        """Returns the fields of images with a label each."""
        return labelled_fields(input_shape, cls.pixels)

    def empty(self) -> Hits:
        """Returns the metrics of no example."""
        return Hits(**no_sums(), num_correct=jnp.zeros((), jnp.int32))

    def prepare(
        self, batch: Batch, norm: dict[str, jax.Array], seed: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Batch]:
        """Returns (the normalised pixels, the batch); mixed images have the neighbours' labels too.

        See `Augmentation` for the arguments.
        """
        fields = self.fields(batch[self.pixels].shape[1:])
        prepared = self.augmentation(batch, fields, norm, seed, train=train)
        batch = prepared.batch
        if prepared.mix is not None:
            other_B = mixing.neighbour(batch["label"])
            batch = {**batch, "other_label_B": other_B, "share_B": prepared.mix.share_B}
        return prepared.pixels, batch

    def loss(self, output: Output, batch: Batch, *, train: bool) -> tuple[jax.Array, Hits]:
        """Returns (loss, metrics): the weighted mean cross-entropy (Eq. 2), in nats, and sums.

        A model with `step_logits_BTK` (LRCN) is trained on the mean of its steps' losses; an
        evaluation always reads the consensus `logits_BK`, without label smoothing. For mixed images
        the loss is that of both labels by their shares, which equals that of the soft label
        share * one_hot + (1 - share) * other; a hit is the image's own label. Class weights
        multiply an example's loss and do not divide the batch's; the mean of balanced ones over
        the split is 1.
        """
        label_B, weight_B = batch["label"], batch["weight_B"]
        loss_B = self._cross_entropy(output, label_B, train=train)
        if train and "share_B" in batch:
            other_B = self._cross_entropy(output, batch["other_label_B"], train=train)
            loss_B = batch["share_B"] * loss_B + (1 - batch["share_B"]) * other_B
        if train and LOSS_WEIGHT in batch:
            loss_B = loss_B * batch[LOSS_WEIGHT]
        correct_B = (jnp.argmax(output.logits_BK, axis=-1) == label_B) & (weight_B > 0)
        hits = Hits(**loss_sums(loss_B, weight_B), num_correct=jnp.sum(correct_B.astype(jnp.int32)))
        return losses.weighted_mean(loss_B, weight_B), hits

    def _cross_entropy(self, output: Output, label_B: jax.Array, *, train: bool) -> jax.Array:
        smoothing = self.label_smoothing if train else 0.0
        if train and self.class_weights:
            weight_B = jnp.asarray(self.class_weights, jnp.float32)[label_B]
            unweighted = dataclasses.replace(self, class_weights=())
            return weight_B * unweighted._cross_entropy(output, label_B, train=train)
        if train and output.step_logits_BTK is not None:
            label_BT = jnp.broadcast_to(label_B[:, None], output.step_logits_BTK.shape[:2])
            loss_BT = losses.cross_entropy(
                output.step_logits_BTK, label_BT, label_smoothing=smoothing
            )
            return jnp.mean(loss_BT, axis=1)
        return losses.cross_entropy(output.logits_BK, label_B, label_smoothing=smoothing)

    def predictions(self, output: Output) -> Predictions:
        """Returns {"probability": (B, K)}, float32."""
        return {"probability": jax.nn.softmax(output.logits_BK.astype(jnp.float32))}

    def as_output(self, predictions: Predictions) -> Output:
        """Returns the logarithms as logits; a probability of 0 counts as the least above it."""
        probability_BK = jnp.asarray(predictions["probability"])
        return Output(jnp.log(jnp.maximum(probability_BK, jnp.finfo(jnp.float32).tiny)))

    def summarize(self, metrics: Hits) -> dict[str, float | int]:
        """Returns {"loss" (nats), "accuracy" (0..1), "num_correct", "num_examples"}."""
        host = jax.device_get(metrics)
        count, correct = int(host.num_examples), int(host.num_correct)
        accuracy = correct / count if count else float("nan")
        return {
            "loss": host.loss(),
            "accuracy": accuracy,
            "num_correct": correct,
            "num_examples": count,
        }

    def counts(self, summary: dict[str, Any]) -> str:
        """Returns "(9312/10000)"."""
        return f"({summary['num_correct']}/{summary['num_examples']})"

    def views(self, pixels: jax.Array, tta: str) -> list[tuple[float, jax.Array]]:
        """Returns the views of `transforms.views`."""
        return transforms.views(pixels, tta)

    def combine(self, outputs: Sequence[Output], weights: Sequence[float], tta: str) -> Output:
        """Returns the weighted sum of the views' logits."""
        del tta
        logits_BK = jnp.float32(0)
        for weight, output in zip(weights, outputs, strict=True):
            logits_BK += weight * output.logits_BK
        return Output(logits_BK)

    def render(
        self, prediction: Predictions, class_names: Sequence[str], example: Example
    ) -> Rendered:
        """Returns the likeliest class with its probability, and the first five."""
        probability_K = prediction["probability"]
        order = np.argsort(-probability_K)[:_TOP]
        top = [{"class": class_names[k], "probability": float(probability_K[k])} for k in order]
        facts = {**top[0], "top": top}
        if "label" in example:
            facts["true"] = class_names[int(example["label"])]
        return Rendered(f"{printable(top[0]['class'])}\t{top[0]['probability']:.4f}", facts)

    def report(
        self, found: Evidence, class_names: Sequence[str], held: Callable[[], Evidence] | None
    ) -> Report:
        """Returns the figures of `classification_report`; the temperature is fitted on `held`."""
        return make_report(_judged(found), class_names, None if held is None else _judged(held()))


def _judged(found: Evidence) -> Judged:
    read_N = np.flatnonzero(found["weight"] > 0)
    return Judged(read_N, found["probability"][read_N], found["true_label"][read_N])


def balanced_weights(label_N: np.ndarray, num_classes: int) -> tuple[float, ...]:
    """Returns N / (K N_k) for each class k: those of `sklearn.utils.compute_class_weight`.

    The mean over the examples is 1. A class without an example has the weight of one with one.

    Args:
      label_N: int, of the training split; negative ones do not count.
      num_classes: K.
    """
    count_K = np.bincount(label_N[label_N >= 0], minlength=num_classes)
    return tuple((count_K.sum() / (num_classes * np.maximum(count_K, 1))).tolist())
