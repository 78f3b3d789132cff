"""What a report of a classification says: figures by class, confusion, calibration, mistakes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from crnn_jax.tasks.task import Report

BINS = 15  # equal parts of the confidence's range
_TOP = 5
_SHOWN = 24  # mistakes
_PAIRS = 50  # confused classes
_MATRIX = 100  # classes, above which the confusion matrix is given as its largest pairs alone
# Within which a temperature is looked for.
_TEMPERATURES = (0.05, 20.0)
_ECE = (
    f"Expected calibration error (Guo et al. 2017): {BINS} bins of equal width of the probability "
    "of the predicted class; the mean over the examples of |mean probability - accuracy| of a bin"
)


class Judged(NamedTuple):
    """Examples, what was said of them, and what is true.

    Attributes:
      index_N: int, in their split.
      probability_NK: float, rows sum to 1.
      true_N: int, 0 to K-1.
    """

    index_N: np.ndarray
    probability_NK: np.ndarray
    true_N: np.ndarray


def make_report(found: Judged, class_names: Sequence[str], held: Judged | None) -> Report:
    """Returns the report of a split.

    Args:
      found: the split's examples.
      class_names: K.
      held: those of the validation part, on which the temperature is fitted; None: there is none.
    """
    from scipy.stats import binomtest
    from sklearn.metrics import top_k_accuracy_score

    probability_NK, true_N = found.probability_NK, found.true_N
    num_classes, predicted_N = len(class_names), probability_NK.argmax(axis=1)
    num_correct = int((predicted_N == true_N).sum())
    interval = binomtest(num_correct, len(true_N)).proportion_ci(0.95, "wilson")
    top5 = None
    if num_classes > _TOP:
        every = np.arange(num_classes)
        top5 = float(top_k_accuracy_score(true_N, probability_NK, k=_TOP, labels=every))
    facts: dict[str, Any] = {
        "interval": {
            "low": float(interval.low),
            "high": float(interval.high),
            "what": "95% interval of the accuracy (Wilson 1927), for the choice of the examples "
            "and not of the seed",
        },
        "top5_accuracy": top5,
        **by_class(true_N, predicted_N, class_names),
        "calibration": calibration_facts(found, held),
        "mistakes": _mistakes(found, class_names),
    }
    return Report(facts, _rows(found, class_names))


def by_class(
    true_N: np.ndarray, predicted_N: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Returns {"classes", "means", "confusion", "confused"}: figures of scikit-learn's functions.

    A precision of a class that was never predicted is None, as is the recall of one without an
    example; means leave them out. `confusion` is (K, K), rows are true, or None for many classes;
    `confused` has the largest numbers beside its diagonal.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every, undefined = range(len(class_names)), cast(Any, np.nan)  # stubs know no NaN
    found: Any = precision_recall_fscore_support(
        true_N, predicted_N, labels=every, zero_division=undefined
    )
    precision_K, recall_K, f1_K, support_K = found
    count_KK = confusion_matrix(true_N, predicted_N, labels=every)
    figures = {"precision": precision_K, "recall": recall_K, "f1": f1_K}
    classes = [
        {
            "class": class_names[k],
            "num_examples": int(support_K[k]),
            **{name: _or_none(value_K[k]) for name, value_K in figures.items()},
        }
        for k in every
    ]
    wrong_KK = count_KK - np.diag(np.diag(count_KK))
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(flat), len(every)) for flat in order if wrong_KK.flat[flat]]
    return {
        "classes": classes,
        "means": {name: _or_none(_mean(value_K)) for name, value_K in figures.items()},
        "confusion": count_KK.tolist() if len(every) <= _MATRIX else None,
        "confused": [
            {"true": class_names[t], "predicted": class_names[p], "count": int(count_KK[t, p])}
            for t, p in pairs
        ],
    }


def calibration_facts(found: Judged, held: Judged | None) -> dict[str, Any]:
    """Returns the calibration of `found` as it is and, fitted on `held`, with a temperature."""
    facts: dict[str, Any] = {"definition": _ECE, **calibration(found.probability_NK, found.true_N)}
    facts["temperature"] = None
    if held is None:
        return {
            **facts,
            "no_temperature": "there is no validation part beside this split to fit one on",
        }
    if (held.probability_NK.argmax(axis=1) == held.true_N).all():
        why = f"all {len(held.true_N)} validation examples are right: no finite temperature is best"
        return {**facts, "no_temperature": why}
    temperature = fit_temperature(held.probability_NK, held.true_N)
    facts["temperature"] = {
        "temperature": temperature,
        "fitted_on": "validation",
        "num_fitted": len(held.true_N),
        "definition": "softmax(logits / temperature); the predicted class is the same",
        **calibration(warmed(found.probability_NK, temperature), found.true_N),
    }
    return facts


def calibration(probability_NK: np.ndarray, true_N: np.ndarray) -> dict[str, Any]:
    """Returns {"ece" (0..1), "nll" (nats), "bins"}, of the probability of the predicted class.

    A bin holds what is above "low" and at most "high"; its "confidence" and "accuracy" are means,
    None where it is empty.
    """
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import log_loss

    confidence_N = np.clip(probability_NK.max(axis=1), 0.0, 1.0).astype(np.float64)
    correct_N = (probability_NK.argmax(axis=1) == true_N).astype(int)
    accuracy, confidence = calibration_curve(correct_N, confidence_N, n_bins=BINS, pos_label=1)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    count = np.bincount(np.searchsorted(edges[1:-1], confidence_N), minlength=BINS)
    means = iter(zip(confidence.tolist(), accuracy.tolist(), strict=True))  # where not empty
    bins = []
    for low, high, size in zip(edges[:-1], edges[1:], count.tolist(), strict=True):
        mean, right = next(means) if size else (None, None)
        bins.append({"low": float(low), "high": float(high), "count": size,
                     "confidence": mean, "accuracy": right})  # fmt: skip
    gap = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins if b["count"])
    safe_NK = np.maximum(probability_NK, np.finfo(np.float32).tiny).astype(np.float64)
    safe_NK /= safe_NK.sum(axis=1, keepdims=True)
    every = np.arange(probability_NK.shape[1])
    nll = float(log_loss(true_N, safe_NK, labels=every)) if len(every) > 1 else 0.0
    return {"ece": gap / len(true_N), "nll": nll, "bins": bins}


def warmed(probability_NK: np.ndarray, temperature: float) -> np.ndarray:
    """Returns softmax(logits / temperature), float64, of the softmax of the logits."""
    from scipy.special import softmax

    safe_NK = np.maximum(probability_NK, np.finfo(np.float32).tiny).astype(np.float64)
    return softmax(np.log(safe_NK) / temperature, axis=1)


def fit_temperature(probability_NK: np.ndarray, true_N: np.ndarray) -> float:
    """Returns the temperature, 0.05 to 20, with the least mean -log probability of the truth.

    Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"). The loss is
    convex in the reciprocal of the temperature, so that the search ends at its only minimum.
    """
    from scipy.optimize import minimize_scalar

    row_N = np.arange(len(true_N))

    def nll(log_temperature: float) -> float:
        warmed_NK = warmed(probability_NK, float(np.exp(log_temperature)))
        true_probability_N = warmed_NK[row_N, true_N]
        return float(-np.log(np.maximum(true_probability_N, np.finfo(np.float64).tiny)).mean())

    low, high = np.log(_TEMPERATURES)
    found: Any = minimize_scalar(nll, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def _mistakes(found: Judged, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the wrong examples whose predicted class is the most probable, that one first."""
    predicted_N = found.probability_NK.argmax(axis=1)
    wrong = np.flatnonzero(predicted_N != found.true_N)
    order = wrong[np.argsort(-found.probability_NK[wrong].max(axis=1), kind="stable")]
    return [_row(found, class_names, int(i)) for i in order[:_SHOWN]]


def _rows(found: Judged, class_names: Sequence[str]) -> list[dict[str, Any]]:
    top_N5 = np.argsort(-found.probability_NK, axis=1, kind="stable")[:, :_TOP]
    rows = []
    for i, best in enumerate(top_N5):
        top = [{"class": class_names[k], "probability": float(found.probability_NK[i, k])}
               for k in best]  # fmt: skip
        rows.append({**_row(found, class_names, i), "top": top})
    return rows


def _row(found: Judged, class_names: Sequence[str], i: int) -> dict[str, Any]:
    probability_K, true = found.probability_NK[i], int(found.true_N[i])
    predicted = int(probability_K.argmax())
    return {
        "index": int(found.index_N[i]),
        "true": class_names[true],
        "predicted": class_names[predicted],
        "probability": float(probability_K[predicted]),
        "true_probability": float(probability_K[true]),
    }


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mean(value_K: np.ndarray) -> float:
    known = value_K[np.isfinite(value_K)]
    return float(known.mean()) if len(known) else float("nan")
