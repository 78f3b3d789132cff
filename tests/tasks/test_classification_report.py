"""The figures of a classification's report, against numbers computed by hand or by others."""

import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.tasks import TASKS
from crnn_jax.tasks.classification_report import (
    BINS,
    Judged,
    calibration,
    calibration_facts,
    fit_temperature,
    make_report,
    warmed,
)

NAMES = ("cat", "dog", "eel")
# Three classes; predicted 0, 0, 1, 1, 0, 2 of which the second and fifth are wrong.
PROBABILITY_NK = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.9, 0.05, 0.05],
        [0.2, 0.7, 0.1],
        [0.1, 0.55, 0.35],
        [0.6, 0.3, 0.1],
        [0.0, 0.0, 1.0],
    ]
)
TRUE_N = np.array([0, 1, 1, 1, 2, 2])
FOUND = Judged(np.array([0, 1, 2, 4, 5, 6]), PROBABILITY_NK, TRUE_N)


def drawn(temperature, num=4000, classes=6, seed=0):
    """Returns examples whose true classes are drawn from softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits_NK = 3 * random.normal(size=(num, classes))
    sharp_NK = np.exp(logits_NK / temperature)
    sharp_NK /= sharp_NK.sum(axis=1, keepdims=True)
    true_N = np.array([random.choice(classes, p=row) for row in sharp_NK])
    probability_NK = np.exp(logits_NK)
    probability_NK /= probability_NK.sum(axis=1, keepdims=True)
    return Judged(np.arange(num), probability_NK.astype(np.float32), true_N)


def test_figures_of_each_class():
    facts = make_report(FOUND, NAMES, None).facts
    assert [(c["class"], c["num_examples"]) for c in facts["classes"]] == [
        ("cat", 1),
        ("dog", 3),
        ("eel", 2),
    ]
    assert [c["precision"] for c in facts["classes"]] == pytest.approx([1 / 3, 1.0, 1.0])
    assert [c["recall"] for c in facts["classes"]] == pytest.approx([1.0, 2 / 3, 1 / 2])
    assert facts["classes"][1]["f1"] == pytest.approx(0.8)
    assert facts["means"]["precision"] == pytest.approx((1 / 3 + 2) / 3)
    assert facts["confusion"] == [[1, 0, 0], [1, 2, 0], [1, 0, 1]]
    assert facts["confused"] == [
        {"true": "dog", "predicted": "cat", "count": 1},
        {"true": "eel", "predicted": "cat", "count": 1},
    ]


def test_a_figure_without_a_denominator_is_none():
    probability_NK = np.c_[PROBABILITY_NK, np.zeros(6)]
    facts = make_report(Judged(np.arange(6), probability_NK, TRUE_N), (*NAMES, "fox"), None).facts
    fox = facts["classes"][3]
    assert (fox["num_examples"], fox["precision"], fox["recall"]) == (0, None, None)
    assert facts["means"]["recall"] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_interval_is_wilson_s():
    low, high = (make_report(FOUND, NAMES, None).facts["interval"][end] for end in ("low", "high"))
    # Computed from Wilson's formula: 4 of 6, z = 1.959964.
    assert (low, high) == (pytest.approx(0.299993, abs=1e-5), pytest.approx(0.903228, abs=1e-5))


def test_top5_is_of_more_than_five_classes():
    assert make_report(FOUND, NAMES, None).facts["top5_accuracy"] is None
    probability_NK = np.tile([0.3, 0.25, 0.2, 0.15, 0.06, 0.04], (4, 1))
    found = Judged(np.arange(4), probability_NK, np.array([0, 4, 5, 5]))
    assert make_report(found, tuple("abcdef"), None).facts["top5_accuracy"] == 0.5


def test_mistakes_are_the_surest_first_and_rows_keep_the_split_s_index():
    report = make_report(FOUND, NAMES, None)
    assert [(m["index"], m["predicted"], m["true"]) for m in report.facts["mistakes"]] == [
        (1, "cat", "dog"),
        (5, "cat", "eel"),
    ]
    assert report.facts["mistakes"][0]["probability"] == 0.9
    assert report.facts["mistakes"][0]["true_probability"] == 0.05
    assert [row["index"] for row in report.rows] == [0, 1, 2, 4, 5, 6]
    assert [item["class"] for item in report.rows[3]["top"]] == ["dog", "eel", "cat"]


def test_calibration_error_by_hand():
    # 0.95 and 0.99 in the last bin, one right: |0.97 - 0.5|; 0.62 in bin 9, right: |0.62 - 1|.
    probability_NK = np.array([[0.95, 0.05], [0.99, 0.01], [0.62, 0.38], [0.62, 0.38]])
    facts = calibration(probability_NK, np.array([0, 1, 0, 0]))
    assert facts["ece"] == pytest.approx((2 * 0.47 + 2 * 0.38) / 4)
    assert facts["nll"] == pytest.approx(-np.log([0.95, 0.01, 0.62, 0.62]).mean())
    assert len(facts["bins"]) == BINS
    assert [b["count"] for b in facts["bins"]][9:] == [2, 0, 0, 0, 0, 2]
    assert facts["bins"][10]["confidence"] is None
    # A bin's upper edge belongs to it.
    edge = calibration(np.array([[9 / 15, 6 / 15]]), np.array([0]))
    assert [b["count"] for b in edge["bins"]].index(1) == 8


def test_the_temperature_is_found_and_calibrates_other_examples():
    held, found = drawn(2.0, seed=1), drawn(2.0, seed=2)
    assert fit_temperature(held.probability_NK, held.true_N) == pytest.approx(2.0, rel=0.06)
    facts = calibration_facts(found, held)
    fitted = facts["temperature"]
    assert (fitted["fitted_on"], fitted["num_fitted"]) == ("validation", 4000)
    assert facts["ece"] > 0.1
    assert fitted["ece"] < 0.03
    assert fitted["nll"] < facts["nll"]
    after_NK = warmed(found.probability_NK, fitted["temperature"])
    np.testing.assert_array_equal(after_NK.argmax(1), found.probability_NK.argmax(1))


def test_the_temperature_is_that_of_the_held_out_part_alone():
    held = drawn(0.5, seed=1)
    sharp, soft = (calibration_facts(drawn(t, seed=2), held)["temperature"] for t in (0.5, 4.0))
    assert sharp["temperature"] == soft["temperature"]


def test_there_is_no_temperature_where_none_can_be_fitted():
    facts = calibration_facts(FOUND, None)
    assert facts["temperature"] is None
    assert "no validation part" in facts["no_temperature"]
    right = Judged(np.arange(2), PROBABILITY_NK[[0, 2]], TRUE_N[[0, 2]])
    facts = calibration_facts(FOUND, right)
    assert facts["temperature"] is None
    assert "all 2 validation examples are right" in facts["no_temperature"]


def test_an_unreadable_example_is_left_out():
    task = TASKS["classification"].of(default_config("cnn"), 3)
    found = {
        "probability": PROBABILITY_NK,
        "true_label": TRUE_N,
        "weight": np.array([1, 0, 1, 1, 1, 1]),
    }
    report = task.report(found, NAMES, None)
    assert [row["index"] for row in report.rows] == [0, 2, 3, 4, 5]
    assert report.facts["confusion"] == [[1, 0, 0], [0, 2, 0], [1, 0, 1]]


def test_of_many_classes_the_matrix_is_left_out_and_its_largest_pairs_stay():
    random = np.random.default_rng(0)
    probability_NK = random.dirichlet(np.ones(101), 300)
    found = Judged(np.arange(300), probability_NK, random.integers(0, 101, 300))
    facts = make_report(found, [str(k) for k in range(101)], None).facts
    assert facts["confusion"] is None
    assert len(facts["confused"]) == 50
