"""Semantic segmentation: a class for each pixel; mean intersection over union (IoU)."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from ml_collections import ConfigDict

from crnn_jax.data import transforms
from crnn_jax.data.fields import IGNORE, Example, Fields
from crnn_jax.data.splits import Split, masked_fields
from crnn_jax.errors import UserError, printable
from crnn_jax.models.heads import DenseOutput
from crnn_jax.tasks import losses
from crnn_jax.tasks.augmentation import Augmentation
from crnn_jax.tasks.mask_pictures import draw, make_panels
from crnn_jax.tasks.segmentation_report import make_report
from crnn_jax.tasks.sums import Sums, loss_sums, no_sums
from crnn_jax.tasks.task import Batch, Evidence, Predictions, Rendered, Report

_LIMB = 30  # bits of a count in its low half
_TOP = 5


@struct.dataclass
class Confusion(Sums):
    """`Sums`, and how many pixels of each class (row) are taken for each (column).

    A count is low + 2**30 * high, so that no number of pixels overflows and none is rounded.
    """

    low_KK: jax.Array  # int32, below 2**30 after a merge
    high_KK: jax.Array  # int32

    def merge(self, other: Self) -> Self:
        """Returns the sums over the examples of both; a batch of `other` has below 2**30 pixels."""
        merged = super().merge(other)
        carry_KK = merged.low_KK >> _LIMB
        return merged.replace(  # type: ignore[attr-defined]
            low_KK=merged.low_KK - (carry_KK << _LIMB), high_KK=merged.high_KK + carry_KK
        )

    def counts(self) -> np.ndarray:
        """Returns (K, K), int64, on the host."""
        low_KK, high_KK = jax.device_get((self.low_KK, self.high_KK))
        return low_KK.astype(np.int64) + (high_KK.astype(np.int64) << _LIMB)


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The task; see `task.Task`.

    A pixel whose mask is `IGNORE` (255) is neither trained on nor counted. Cutout and erasing hide
    pixels and leave the mask: the classes of what is hidden are still asked for.

    Attributes:
      augmentation: what happens to the pixels and, where these move, to the mask.
      num_classes: K, at most 255.
    """

    output: ClassVar[type] = DenseOutput
    keys: ClassVar[tuple[str, ...]] = ()
    score: ClassVar[str] = "mean_iou"
    pixels: ClassVar[str] = "image"

    augmentation: Augmentation
    num_classes: int

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        num_classes: int,
        train: Split | None = None,
        class_names: Sequence[str] = (),
    ) -> Self:
        """Returns the task of a validated config.

        Raises:
          UserError: crops or views that have no masks, or too many classes.
        """
        del train, class_names
        if config.data.crop != "none":
            raise UserError(
                "config key 'data.crop' expects none for task 'segmentation', since crops of files "
                f"have no masks, found {config.data.crop}"
            )
        _check_views(config.eval.tta)
        if num_classes > IGNORE:
            raise UserError(
                f"task 'segmentation' expects at most {IGNORE} classes, found {num_classes} in "
                f"'{config.data.source}': change config key 'data.source'"
            )
        return cls(Augmentation.of(config.data, jnp.dtype(config.precision)), num_classes)

    @classmethod
    def fields(cls, input_shape: tuple[int, ...]) -> Fields:
        """Returns the fields of images with a mask each."""
        return masked_fields(input_shape, cls.pixels)

    def empty(self) -> Confusion:
        """Returns the metrics of no example."""
        none_KK = jnp.zeros((self.num_classes, self.num_classes), jnp.int32)
        return Confusion(**no_sums(), low_KK=none_KK, high_KK=none_KK)

    def prepare(
        self, batch: Batch, norm: dict[str, jax.Array], seed: jax.Array, *, train: bool
    ) -> tuple[jax.Array, Batch]:
        """Returns (the normalised pixels, the batch); see `Augmentation` for the arguments."""
        fields = self.fields(batch[self.pixels].shape[1:])
        prepared = self.augmentation(batch, fields, norm, seed, train=train)
        return prepared.pixels, prepared.batch

    def loss(
        self, output: DenseOutput, batch: Batch, *, train: bool
    ) -> tuple[jax.Array, Confusion]:
        """Returns (loss, metrics): the weighted mean of the examples' cross-entropies, in nats.

        That of an example is the mean over its pixels that are not ignored, and 0 where all are: so
        that the loss of a batch is the weighted mean of those of its parts, whatever is ignored.
        """
        del train
        mask_BHW, weight_B = batch["mask"].astype(jnp.int32), batch["weight_B"]
        counted_BHW = mask_BHW < self.num_classes
        class_BHW = jnp.where(counted_BHW, mask_BHW, 0)
        loss_BHW = jnp.where(counted_BHW, losses.cross_entropy(output.logits_BHWK, class_BHW), 0.0)
        loss_B = jnp.sum(loss_BHW, axis=(1, 2)) / jnp.maximum(jnp.sum(counted_BHW, axis=(1, 2)), 1)
        counted_BHW &= (weight_B > 0)[:, None, None]
        pair_BHW = class_BHW * self.num_classes + _classes(output)
        none = self.num_classes**2  # beyond the last pair: not counted
        pairs = jnp.where(counted_BHW, pair_BHW, none).reshape(-1)
        count_KK = jnp.zeros(none, jnp.int32).at[pairs].add(1, mode="drop")
        count_KK = count_KK.reshape(self.num_classes, self.num_classes)
        sums = loss_sums(loss_B, weight_B)
        metrics = Confusion(**sums, low_KK=count_KK, high_KK=jnp.zeros_like(count_KK))
        return losses.weighted_mean(loss_B, weight_B), metrics

    def predictions(self, output: DenseOutput) -> Predictions:
        """Returns {"mask": (B, H, W)}, uint8, the likeliest class of each pixel."""
        return {"mask": _classes(output).astype(jnp.uint8)}

    def as_output(self, predictions: Predictions) -> DenseOutput:
        """Returns 1 as the logit of each pixel's class and 0 as those of the others."""
        return DenseOutput(jax.nn.one_hot(jnp.asarray(predictions["mask"]), self.num_classes))

    def summarize(self, metrics: Confusion) -> dict[str, Any]:
        """Returns {"loss" (nats), "mean_iou", "pixel_accuracy" (0..1), "iou", counts}.

        The whole split has one confusion matrix, not each batch or image: the IoU of a class is
        hits / (pixels of it + pixels taken for it - hits). A class that is in no mask and no
        prediction is left out of the mean; its entry in "iou", a list of K, is None.
        """
        host, count_KK = jax.device_get(metrics), metrics.counts()
        hit_K = np.diag(count_KK)
        union_K = count_KK.sum(axis=0) + count_KK.sum(axis=1) - hit_K
        iou = [float(h / u) if u else None for h, u in zip(hit_K, union_K, strict=True)]
        present = [value for value in iou if value is not None]
        num_pixels = int(count_KK.sum())
        return {
            "loss": host.loss(),
            "mean_iou": float(np.mean(present)) if present else float("nan"),
            "pixel_accuracy": int(hit_K.sum()) / num_pixels if num_pixels else float("nan"),
            "iou": iou,
            "num_pixels": num_pixels,
            "num_examples": int(host.num_examples),
        }

    def counts(self, summary: dict[str, Any]) -> str:
        """Returns "(1000 images)"."""
        return f"({summary['num_examples']} images)"

    def views(self, pixels: jax.Array, tta: str) -> list[tuple[float, jax.Array]]:
        """Returns the image and, with tta 'mirror', its mirror.

        Raises:
          UserError: tta is 'mirror_shift'.
        """
        _check_views(tta)
        return transforms.views(pixels, tta)

    def combine(
        self, outputs: Sequence[DenseOutput], weights: Sequence[float], tta: str
    ) -> DenseOutput:
        """Returns the weighted sum of the views' logits, the mirrored ones mirrored back."""
        logits_BHWK = jnp.float32(0)
        for index, (weight, output) in enumerate(zip(weights, outputs, strict=True)):
            is_mirrored = tta == "mirror" and index == 1
            view_BHWK = output.logits_BHWK[:, :, ::-1] if is_mirrored else output.logits_BHWK
            logits_BHWK += weight * view_BHWK
        return DenseOutput(logits_BHWK)

    def render(
        self, prediction: Predictions, class_names: Sequence[str], example: Example
    ) -> Rendered:
        """Returns the classes' shares of the pixels, and the image beside its mask.

        Where the example has its own mask, that stands in the picture too, as the last. A figure's
        panels show the masks without the image, so that their colours are those of the legend.
        """
        mask_HW = prediction["mask"]
        share_K = np.bincount(mask_HW.ravel(), minlength=len(class_names)) / mask_HW.size
        order = [int(k) for k in np.argsort(-share_K, kind="stable") if share_K[k] > 0]
        shares = {class_names[k]: float(share_K[k]) for k in order}
        text = "\t".join(
            f"{printable(name)}\t{share:.4f}" for name, share in list(shares.items())[:_TOP]
        )
        masks = {"prediction": mask_HW}
        if "mask" in example:
            masks["truth"] = example["mask"]
        image_HWC = example[self.pixels]
        return Rendered(
            text,
            {"shares": shares},
            draw(image_HWC, list(masks.values())),
            make_panels(image_HWC, masks, class_names),
        )

    def report(
        self, found: Evidence, class_names: Sequence[str], held: Callable[[], Evidence] | None
    ) -> Report:
        """Returns the figures of `segmentation_report`; nothing is fitted to `held`."""
        del held
        return make_report(found["mask"], found["true_mask"], found["weight"] > 0, class_names)


def _classes(output: DenseOutput) -> jax.Array:
    return jnp.argmax(output.logits_BHWK, axis=-1).astype(jnp.int32)


def _check_views(tta: str) -> None:
    if tta == "mirror_shift":
        raise UserError(
            "test-time augmentation of task 'segmentation' expects none or mirror, found "
            "'mirror_shift', whose views show other pixels: change 'eval.tta' or --tta"
        )
