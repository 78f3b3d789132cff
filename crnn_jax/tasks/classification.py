"""Image classification: what the model sees, its loss and its metrics."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax import losses, metrics
from crnn_jax.data import transforms


@dataclasses.dataclass(frozen=True)
class Classification:
    """One label an image; top-1 accuracy.

    A task is plain data, so that two equal tasks share one compiled program.
    """

    label_smoothing: float
    crop_padding: int  # pixels
    flip: str  # none | random | alternating
    cutout: int  # pixels
    dtype: Any  # of the compute

    def image(
        self,
        batch: dict[str, jax.Array],
        norm: dict[str, jax.Array],
        seed: jax.Array,
        *,
        train: bool,
    ) -> jax.Array:
        """Returns the normalised image_BHWC of a batch, augmented in training.

        Args:
          batch: of a pipeline, images in uint8.
          norm: {"mean_C", "std_C"}, float32 in 0..255, of the training split, as in the paper.
          seed: uint32; the augmentation of an example is a function of (seed, epoch, example).
          train: whether to augment.
        """
        image_BHWC = batch["image_BHWC"]
        which = (seed, batch["epoch_B"], batch["example_B"]) if train else None
        if which is not None:
            image_BHWC = transforms.augment(
                image_BHWC, *which, crop_padding=self.crop_padding, flip=self.flip
            )
        image_BHWC = transforms.normalize(image_BHWC, norm["mean_C"], norm["std_C"], self.dtype)
        if which is not None and self.cutout > 0:
            fold = jax.vmap(lambda key: jax.random.fold_in(key, 1))  # augment draws from the key
            key_B = fold(transforms.example_keys(*which))
            image_BHWC = transforms.cutout(image_BHWC, key_B, self.cutout)
        return image_BHWC

    def loss(
        self, output: Any, batch: dict[str, jax.Array], *, train: bool
    ) -> tuple[jax.Array, metrics.Classification]:
        """Returns (loss, metrics): the weighted mean cross-entropy, in float32, and sums.

        A model with `step_logits_BTK` (LRCN) is trained on the mean of its steps' losses; an
        evaluation always reads the consensus `logits_BK`, without label smoothing.
        """
        label_B, weight_B = batch["label_B"], batch["weight_B"]
        smoothing = self.label_smoothing if train else 0.0
        if train and output.step_logits_BTK is not None:
            label_BT = jnp.broadcast_to(label_B[:, None], output.step_logits_BTK.shape[:2])
            loss_BT = losses.cross_entropy(
                output.step_logits_BTK, label_BT, label_smoothing=smoothing
            )
            loss_B = jnp.mean(loss_BT, axis=1)
        else:
            loss_B = losses.cross_entropy(output.logits_BK, label_B, label_smoothing=smoothing)
        sums = metrics.Classification.from_batch(output.logits_BK, label_B, loss_B, weight_B)
        return losses.weighted_mean(loss_B, weight_B), sums
