"""Image classification: what the model sees, its loss and its metrics."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from crnn_jax import losses, metrics
from crnn_jax.data import colour, mixing, transforms
from crnn_jax.data.mixing import Mixing

# Streams of random numbers of an example; its key itself is `transforms.augment`'s.
_CUTOUT, _MIX, _ERASE, _COLOUR = 1, 2, 3, 4


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
    mixing: Mixing = Mixing()  # noqa: RUF009 - frozen
    rand_augment: int = 0  # operations
    rand_augment_magnitude: float = 0.0

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
        if train:
            which = (seed, batch["epoch_B"], batch["example_B"])
            image_BHWC = transforms.augment(
                image_BHWC, *which, crop_padding=self.crop_padding, flip=self.flip
            )
        if train and self.rand_augment > 0:
            image_BHWC = colour.rand_augment(
                image_BHWC,
                _keys(batch, seed, _COLOUR),
                num_ops=self.rand_augment,
                magnitude=self.rand_augment_magnitude,
            )
        image_BHWC = transforms.normalize(image_BHWC, norm["mean_C"], norm["std_C"], self.dtype)
        if train and self.cutout > 0:
            key_B = _keys(batch, seed, _CUTOUT)
            image_BHWC = transforms.cutout(image_BHWC, key_B, self.cutout)
        if train and self.mixing.mixes:
            key_B = _keys(batch, seed, _MIX)
            image_BHWC = mixing.mix_images(self.mixing, image_BHWC, batch["weight_B"], key_B)
        if train and self.mixing.erase > 0:
            key_B = _keys(batch, seed, _ERASE)
            image_BHWC = mixing.erase(image_BHWC, key_B, self.mixing.erase)
        return image_BHWC

    def targets(self, batch: dict[str, jax.Array], seed: jax.Array) -> dict[str, jax.Array]:
        """Returns the batch with the labels of its mixed images; without mixing, as it is."""
        if not self.mixing.mixes:
            return batch
        return mixing.mix_labels(self.mixing, batch, _keys(batch, seed, _MIX))

    def loss(
        self, output: Any, batch: dict[str, jax.Array], *, train: bool
    ) -> tuple[jax.Array, metrics.Classification]:
        """Returns (loss, metrics): the weighted mean cross-entropy, in float32, and sums.

        A model with `step_logits_BTK` (LRCN) is trained on the mean of its steps' losses; an
        evaluation always reads the consensus `logits_BK`, without label smoothing. Of mixed images
        (`targets`) the loss is that of both labels by their shares, which equals that of the soft
        label share * one_hot + (1 - share) * other; a hit is the image's own label.
        """
        label_B, weight_B = batch["label_B"], batch["weight_B"]
        loss_B = self._cross_entropy(output, label_B, train=train)
        if train and "share_B" in batch:
            other_B = self._cross_entropy(output, batch["other_label_B"], train=train)
            loss_B = batch["share_B"] * loss_B + (1 - batch["share_B"]) * other_B
        sums = metrics.Classification.from_batch(output.logits_BK, label_B, loss_B, weight_B)
        return losses.weighted_mean(loss_B, weight_B), sums

    def _cross_entropy(self, output: Any, label_B: jax.Array, *, train: bool) -> jax.Array:
        smoothing = self.label_smoothing if train else 0.0
        if train and output.step_logits_BTK is not None:
            label_BT = jnp.broadcast_to(label_B[:, None], output.step_logits_BTK.shape[:2])
            loss_BT = losses.cross_entropy(
                output.step_logits_BTK, label_BT, label_smoothing=smoothing
            )
            return jnp.mean(loss_BT, axis=1)
        return losses.cross_entropy(output.logits_BK, label_B, label_smoothing=smoothing)


def _keys(batch: dict[str, jax.Array], seed: jax.Array, stream: int) -> jax.Array:
    key_B = transforms.example_keys(seed, batch["epoch_B"], batch["example_B"])
    return jax.vmap(lambda key: jax.random.fold_in(key, stream))(key_B)
