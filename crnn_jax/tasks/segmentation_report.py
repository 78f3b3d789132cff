"""What a report of a segmentation says: IoU and more of each class, and the worst images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crnn_jax.tasks.task import Report

_SHOWN = 12  # images
_MATRIX = 100  # classes, above which there is no confusion matrix in the report
_RESAMPLES = 1000


def make_report(
    mask_NHW: np.ndarray, true_NHW: np.ndarray, read_N: np.ndarray, class_names: Sequence[str]
) -> Report:
    """Returns the report of a split.

    Args:
      mask_NHW: uint8, the predicted classes.
      true_NHW: uint8, those of the masks; K and above are not counted.
      read_N: bool, False where an example could not be read.
      class_names: K.
    """
    num_classes = len(class_names)
    index_N = np.flatnonzero(read_N)
    count_KK = np.zeros((num_classes, num_classes), np.int64)
    parts = []
    for i in index_N:
        one_KK = confusion(mask_NHW[i], true_NHW[i], num_classes)
        count_KK += one_KK
        parts.append((np.diag(one_KK), one_KK.sum(axis=0) + one_KK.sum(axis=1) - np.diag(one_KK)))
    hit_NK, union_NK = (np.stack(part) for part in zip(*parts, strict=True))
    iou_N = mean_iou(hit_NK, union_NK)
    rows = [
        {"index": int(index), "mean_iou": _or_none(iou)}
        for index, iou in zip(index_N, iou_N, strict=True)
    ]
    worst = sorted((row for row in rows if row["mean_iou"] is not None),
                   key=lambda row: row["mean_iou"])  # fmt: skip
    low, high = bootstrap(hit_NK, union_NK)
    facts = {
        "interval": {
            "low": low,
            "high": high,
            "what": f"95% interval of the mean IoU ({_RESAMPLES} resamples of the images), for the "
            "choice of the images and not of the seed",
        },
        "classes": _classes(count_KK, class_names),
        "confusion": count_KK.tolist() if num_classes <= _MATRIX else None,
        "mistakes": worst[:_SHOWN],
    }
    return Report(facts, rows)


def confusion(mask_HW: np.ndarray, true_HW: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns (K, K), int64: pixels of each class (row) taken for each (column)."""
    counted = true_HW < num_classes
    pair = true_HW[counted].astype(np.int64) * num_classes + mask_HW[counted]
    return np.bincount(pair, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(hit_BK: np.ndarray, union_BK: np.ndarray) -> np.ndarray:
    """Returns the mean over the classes with a union above 0, (B,); NaN where there is none."""
    present_BK = union_BK > 0
    iou_BK = np.where(present_BK, hit_BK / np.maximum(union_BK, 1), 0.0)
    count_B = present_BK.sum(axis=1)
    return np.where(count_B > 0, iou_BK.sum(axis=1) / np.maximum(count_B, 1), np.nan)


def bootstrap(hit_NK: np.ndarray, union_NK: np.ndarray) -> tuple[float, float]:
    """Returns the 95% percentile interval of the whole split's mean IoU over resampled images."""
    random, count = np.random.default_rng(0), len(hit_NK)
    found = []
    for _ in range(_RESAMPLES):
        times_N = np.bincount(random.integers(0, count, count), minlength=count)
        found.append(mean_iou((times_N @ hit_NK)[None], (times_N @ union_NK)[None])[0])
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(low), float(high)


def _classes(count_KK: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the figures of each class; None where they have no denominator."""
    rows = []
    for k, name in enumerate(class_names):
        hits, true, predicted = count_KK[k, k], count_KK[k].sum(), count_KK[:, k].sum()
        rows.append(
            {
                "class": name,
                "num_pixels": int(true),
                "iou": _ratio(hits, true + predicted - hits),
                "precision": _ratio(hits, predicted),
                "recall": _ratio(hits, true),
                "f1": _ratio(2 * hits, true + predicted),
            }
        )
    return rows


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
