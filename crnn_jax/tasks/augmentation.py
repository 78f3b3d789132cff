"""What is done to the pixels of a batch before a model reads them; the same for every task."""

import dataclasses
from typing import Any, NamedTuple, Self

import jax
from ml_collections import ConfigDict

from crnn_jax.data import colour, mixing, transforms
from crnn_jax.data.fields import Fields, pixels_of
from crnn_jax.data.mixing import Mix, Mixing

# Streams of random numbers of an example; its key itself is `transforms.draw_placement`'s.
_CUTOUT, _MIX, _ERASE, _COLOUR = 1, 2, 3, 4


class Prepared(NamedTuple):
    """A batch as the model and the loss read it.

    Attributes:
      pixels: normalised, in the dtype of the compute; the model's input.
      batch: the pipeline's, its fields moved with the pixels.
      mix: with which neighbours the examples are mixed; None: with none.
    """

    pixels: jax.Array
    batch: dict[str, jax.Array]
    mix: Mix | None


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Placement, colours, normalisation, cutout, mixing and erasing, in this order.

    Attributes:
      crop_padding: largest translation, pixels.
      flip: one of `transforms.FLIPS`.
      cutout: side of the square, pixels; 0: none.
      mixing: with what pixels are mixed or erased.
      rand_augment: operations on colours.
      rand_augment_magnitude: 0..10.
      dtype: in which the model computes.
    """

    crop_padding: int
    flip: str
    cutout: int
    dtype: Any
    mixing: Mixing = Mixing()  # noqa: RUF009 - frozen
    rand_augment: int = 0
    rand_augment_magnitude: float = 0.0

    @classmethod
    def of(cls, data_config: ConfigDict, dtype: Any) -> Self:
        """Returns the augmentation of the `data` part of a config."""
        return cls(
            crop_padding=data_config.crop_padding,
            flip=data_config.flip,
            cutout=data_config.cutout,
            dtype=dtype,
            mixing=Mixing(data_config.mixup, data_config.cutmix, data_config.erase),
            rand_augment=data_config.rand_augment,
            rand_augment_magnitude=data_config.rand_augment_magnitude,
        )

    def __call__(
        self,
        batch: dict[str, jax.Array],
        fields: Fields,
        norm: dict[str, jax.Array],
        seed: jax.Array,
        *,
        train: bool,
    ) -> Prepared:
        """Returns the batch, augmented in training.

        Args:
          batch: a pipeline's, pixels in uint8.
          fields: what the batch has; their kinds say how each moves.
          norm: {"mean_C", "std_C"}, float32 in 0..255, of the training split, as in the paper.
          seed: uint32; the augmentation of an example is a function of (seed, epoch, example).
          train: whether to augment.
        """
        name = pixels_of(fields)
        if not train:
            image = transforms.normalize(batch[name], norm["mean_C"], norm["std_C"], self.dtype)
            return Prepared(image, batch, None)
        height, width = batch[name].shape[-3:-1]
        size = (height, width)
        placement = transforms.draw_placement(
            size,
            seed,
            batch["epoch_B"],
            batch["example_B"],
            crop_padding=self.crop_padding,
            flip=self.flip,
        )
        moved = {
            field: transforms.move(batch[field], of.kind, placement, size)
            for field, of in fields.items()
        }
        batch = {**batch, **moved}
        image, mix = self._change(batch, batch[name], norm, seed, size)
        return Prepared(image, batch, mix)

    def _change(
        self,
        batch: dict[str, jax.Array],
        image: jax.Array,
        norm: dict[str, jax.Array],
        seed: jax.Array,
        size: tuple[int, int],
    ) -> tuple[jax.Array, Mix | None]:
        """Returns (the normalised pixels after all that leaves them in their place, the mix)."""

        def keys(stream: int) -> jax.Array:
            key_B = transforms.example_keys(seed, batch["epoch_B"], batch["example_B"])
            return jax.vmap(lambda key: jax.random.fold_in(key, stream))(key_B)

        if self.rand_augment > 0:
            ops, magnitude = self.rand_augment, self.rand_augment_magnitude
            image = colour.rand_augment(image, keys(_COLOUR), num_ops=ops, magnitude=magnitude)
        image = transforms.normalize(image, norm["mean_C"], norm["std_C"], self.dtype)
        if self.cutout > 0:
            image = transforms.cutout(image, keys(_CUTOUT), self.cutout)
        mix = None
        if self.mixing.mixes:
            mix = mixing.draw_mix(self.mixing, size, batch["weight_B"], keys(_MIX))
            image = mixing.mix_pixels(mix, image)
        if self.mixing.erase > 0:
            image = mixing.erase(image, keys(_ERASE), self.mixing.erase)
        return image, mix
