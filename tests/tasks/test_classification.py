"""What the model sees and what it is judged by."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.data.dataset import load_dataset
from crnn_jax.data.mixing import Mixing
from crnn_jax.data.splits import labels_of
from crnn_jax.errors import UserError
from crnn_jax.models.heads import Output
from crnn_jax.tasks.augmentation import Augmentation
from crnn_jax.tasks.classification import Classification, balanced_weights
from crnn_jax.validation import validate

NORM = {"mean_C": jnp.array([10.0]), "std_C": jnp.array([2.0])}


def make_task(**changes):
    smoothing = changes.pop("label_smoothing", 0.0)
    fields = {"crop_padding": 0, "flip": "none", "cutout": 0, "dtype": jnp.float32}
    return Classification(Augmentation(**{**fields, **changes}), smoothing)


def image(task, batch, norm, seed, *, train):
    return task.prepare(batch, norm, seed, train=train)[0]


def make_batch(size=8):
    image_BHWC = np.random.default_rng(0).integers(0, 256, (size, 6, 6, 1), np.uint8)
    return {
        "image": jnp.asarray(image_BHWC),
        "label": jnp.arange(size, dtype=jnp.int32) % 3,
        "weight_B": jnp.ones(size),
        "epoch_B": jnp.zeros(size, jnp.int32),
        "example_B": jnp.arange(size, dtype=jnp.int32),
    }


def test_images_are_normalised_and_augmented_in_training_alone():
    task, batch, seed = make_task(crop_padding=2), make_batch(), jnp.uint32(0)
    plain = image(task, batch, NORM, seed, train=False)
    np.testing.assert_allclose(plain, (batch["image"].astype(jnp.float32) - 10) / 2)
    augmented = image(task, batch, NORM, seed, train=True)
    assert not np.array_equal(augmented, plain)
    np.testing.assert_array_equal(image(task, batch, NORM, seed, train=True), augmented)


def test_class_weights_by_hand_and_as_scikit_learn_has_them(tiny):
    from sklearn.utils import compute_class_weight

    label_N = np.array([0, 0, 0, 1, 2, 2])
    weights = balanced_weights(label_N, 3)
    assert weights == pytest.approx((2 / 3, 2.0, 1.0))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label_N)
    np.testing.assert_allclose(weights, expected)
    assert balanced_weights(np.array([1, -1, 1]), 2) == (1.0, 0.5)
    plain, task = make_task(), dataclasses.replace(make_task(), class_weights=weights)
    logits_BK = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    batch = {"label": jnp.array([0, 1]), "weight_B": jnp.array([1.0, 1.0])}
    loss_0, loss_1 = np.log(np.exp([1, 0, 0]).sum()) - 1, np.log(np.exp([0, 0, 2]).sum())
    loss, metrics = task.loss(Output(logits_BK), batch, train=True)
    np.testing.assert_allclose(loss, (2 / 3 * loss_0 + 2 * loss_1) / 2, rtol=1e-6)
    assert int(metrics.num_examples) == 2
    evaluated, _ = task.loss(Output(logits_BK), batch, train=False)
    np.testing.assert_allclose(evaluated, (loss_0 + loss_1) / 2, rtol=1e-6)
    np.testing.assert_allclose(evaluated, plain.loss(Output(logits_BK), batch, train=True)[0])


def test_class_weights_of_mixed_images_are_those_of_each_class():
    weights = (0.5, 2.0, 1.0)
    task = dataclasses.replace(make_task(), class_weights=weights)
    share_B = jnp.array([0.25])
    mixed = {"share_B": share_B, "other_label_B": jnp.array([1])}
    batch = {"label": jnp.array([0]), "weight_B": jnp.ones(1), **mixed}
    logits_BK = jnp.array([[1.0, 0.0, 0.0]])
    total = np.log(np.exp([1, 0, 0]).sum())
    loss, _ = task.loss(Output(logits_BK), batch, train=True)
    np.testing.assert_allclose(loss, 0.25 * 0.5 * (total - 1) + 0.75 * 2 * total, rtol=1e-6)


def test_weights_are_of_the_training_split(tiny):
    config = tiny("cnn", optim__class_weights="balanced", data__validation=0.1)
    train = load_dataset(config).splits["train"]
    unknown = dataclasses.replace(train, group_N=None)
    np.testing.assert_array_equal(labels_of(unknown), train.group_N)
    task = Classification.of(config, 10, unknown)
    assert train.group_N is not None
    counts = np.bincount(train.group_N)
    np.testing.assert_allclose(task.class_weights, len(train) / (10 * counts))
    assert Classification.of(config, 10).class_weights == ()
    assert Classification.of(tiny("cnn"), 10, train).class_weights == ()


def test_weights_are_given_by_name(tiny):
    config = tiny("cnn", optim__class_weights="cat:2, a, b:c:0.5")
    names, train = ("dog", "cat", "a, b:c"), load_dataset(tiny("cnn")).splits["train"]
    task = Classification.of(config, 3, train, names)
    assert task.class_weights == (1.0, 2.0, 0.5)
    assert Classification.of(config, 3).class_weights == ()
    logits_BK = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    batch = {"label": jnp.array([0, 1]), "weight_B": jnp.array([1.0, 1.0])}
    loss_0, loss_1 = np.log(np.exp([1, 0, 0]).sum()) - 1, np.log(np.exp([0, 0, 2]).sum())
    weighted = dataclasses.replace(make_task(), class_weights=task.class_weights)
    loss, _ = weighted.loss(Output(logits_BK), batch, train=True)
    np.testing.assert_allclose(loss, (loss_0 + 2 * loss_1) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "found ''"),
        ("cat", "expects none, balanced or CLASS:WEIGHT,.*such as cat:2,dog:1, found 'cat'"),
        ("blanced", r"found 'blanced' \(did you mean 'balanced'\?\)"),
        ("cat:2,dog", "found 'cat:2,dog'"),
        (":2", "found ':2'"),
        ("cat:-1", "expects 0, or 1e-06 to 1e\\+06, for class 'cat', found '-1'"),
        ("cat:nan", "for class 'cat', found 'nan'"),
        ("cat:inf", "for class 'cat', found 'inf'"),
        ("cat:1e-50", "for class 'cat', found '1e-50'"),
        ("cat:two", "for class 'cat', found 'two'"),
        ("cat:1,cat:2", "each class once, found 'cat' twice"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(text, expected, tiny):
    """What needs no data is found before it is read."""
    with pytest.raises(UserError, match=f"'optim.class_weights' .*{expected}"):
        validate(tiny("cnn", optim__class_weights=text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cta:2", r"expects classes of the data, dog, cat, found 'cta' \(did you mean 'cat'\?\)"),
        ("cat:2,,dog:1", "classes of the data, dog, cat, found ',dog'"),
        ("cat:0,dog:0", "a weight above 0, found 0 for every class"),
    ],
)
def test_weights_of_other_classes_are_one_line(text, expected, tiny):
    config = tiny("cnn", optim__class_weights=text)
    train = load_dataset(tiny("cnn")).splits["train"]
    validate(config)
    with pytest.raises(UserError, match=f"'optim.class_weights' .*{expected}"):
        Classification.of(config, 2, train, ("dog", "cat"))


def test_a_square_is_cut_out_in_training_alone():
    task, batch, seed = make_task(cutout=2), make_batch(), jnp.uint32(0)
    plain = np.asarray(image(task, batch, NORM, seed, train=False))
    cut = np.asarray(image(task, batch, NORM, seed, train=True))
    changed = cut != plain
    assert np.count_nonzero(cut[changed]) == 0
    assert changed.sum(axis=(1, 2, 3)).tolist() == [4] * 8


@pytest.mark.parametrize("key", ["epoch_B", "seed"])
def test_augmentation_differs_by_epoch_and_seed(key):
    task, batch = make_task(crop_padding=2), make_batch()
    first = image(task, batch, NORM, jnp.uint32(0), train=True)
    if key == "seed":
        other = image(task, batch, NORM, jnp.uint32(1), train=True)
    else:
        other = image(task, {**batch, key: batch[key] + 1}, NORM, jnp.uint32(0), train=True)
    assert not np.array_equal(first, other)


def test_smoothing_is_for_training():
    task, batch = make_task(label_smoothing=0.3), make_batch()
    output = Output(jnp.eye(3)[batch["label"]] * 5)
    plain, _ = make_task().loss(output, batch, train=True)
    smoothed, _ = task.loss(output, batch, train=True)
    evaluated, metrics = task.loss(output, batch, train=False)
    assert smoothed > plain + 0.1
    np.testing.assert_allclose(evaluated, plain)
    assert task.summarize(metrics)["accuracy"] == 1.0


def test_steps_are_trained_one_by_one_and_judged_by_the_consensus():
    """LRCN by hand: two steps give the true class 1/2 and 1/8 in training, 5/16 on average."""
    batch = {"label": jnp.array([0]), "weight_B": jnp.array([1.0])}
    probability_BTK = jnp.array([[[0.5, 0.5], [0.125, 0.875]]])
    logits_BK = jnp.log(probability_BTK.mean(axis=1))
    output = Output(logits_BK, jnp.log(probability_BTK))
    trained, _ = make_task().loss(output, batch, train=True)
    np.testing.assert_allclose(trained, (np.log(2) + np.log(8)) / 2, rtol=1e-6)
    evaluated, metrics = make_task().loss(output, batch, train=False)
    np.testing.assert_allclose(evaluated, np.log(16 / 5), rtol=1e-6)
    assert int(metrics.num_correct) == 0  # the mean says class 1


def test_mixed_images_have_the_loss_of_the_soft_label():
    task = make_task(mixing=Mixing(mixup=0.4, cutmix=1.0), label_smoothing=0.1)
    batch, seed = make_batch(), jnp.uint32(3)
    mixed = task.prepare(batch, NORM, seed, train=True)[1]
    logits_BK = jnp.asarray(np.random.default_rng(1).normal(size=(8, 3)), jnp.float32)
    loss, _ = task.loss(Output(logits_BK), mixed, train=True)
    one_hot_KK = np.eye(3)
    share_B1 = np.asarray(mixed["share_B"])[:, None]
    other_B = np.asarray(batch["label"]).reshape(-1, 2)[:, ::-1].ravel()
    soft_BK = share_B1 * one_hot_KK[batch["label"]] + (1 - share_B1) * one_hot_KK[other_B]
    soft_BK = 0.9 * soft_BK + 0.1 / 3
    log_BK = np.asarray(jax.nn.log_softmax(logits_BK))
    np.testing.assert_allclose(loss, -np.mean(np.sum(soft_BK * log_BK, axis=1)), rtol=1e-5)
    assert 0.05 < share_B1.mean() < 0.95
    np.testing.assert_allclose(
        task.loss(Output(logits_BK), batch, train=False)[0],
        make_task().loss(Output(logits_BK), batch, train=True)[0],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "changes",
    [{"mixing": Mixing(mixup=0.4)}, {"mixing": Mixing(erase=1.0)},
     {"rand_augment": 2, "rand_augment_magnitude": 9.0}],
)  # fmt: skip
def test_other_augmentations_change_training_alone(changes):
    task, batch, seed = make_task(**changes), make_batch(), jnp.uint32(0)
    plain = image(make_task(), batch, NORM, seed, train=False)
    np.testing.assert_array_equal(image(task, batch, NORM, seed, train=False), plain)
    assert not np.array_equal(image(task, batch, NORM, seed, train=True), plain)


LOGITS = jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
LABELS = jnp.array([0, 1, 1, 0])


def hits(rows, weight_B):
    batch = {"label": LABELS[rows], "weight_B": jnp.asarray(weight_B, jnp.float32)}
    return make_task().loss(Output(LOGITS[rows]), batch, train=False)[1]


def summary(metrics):
    return make_task().summarize(metrics)


def test_metrics_by_hand():
    found = summary(hits(slice(4), np.ones(4)))
    losses = np.log(1 + np.exp([-1.0, -3.0, 1.0, 1.0]))
    np.testing.assert_allclose(found.pop("loss"), losses.mean(), rtol=1e-6)
    assert found == {"accuracy": 0.5, "num_correct": 2, "num_examples": 4}
    assert make_task().counts(found) == "(2/4)"


def test_a_mask_equals_a_subset():
    masked, subset = hits(slice(4), [1, 0, 1, 0]), hits(slice(0, 4, 2), [1, 1])
    assert summary(masked) == summary(subset)
    assert int(masked.num_examples) == 2


def test_the_merge_of_parts_equals_the_whole():
    merged = make_task().empty()
    for row in range(4):
        merged = merged.merge(hits(slice(row, row + 1), [1]))
    whole = hits(slice(4), np.ones(4))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged, whole)


def test_counts_are_exact_beyond_float32():
    empty: Any = make_task().empty()
    big = empty.replace(num_correct=jnp.int32(2**24), num_examples=jnp.int32(2**25))
    assert int(big.merge(hits(slice(1), [1])).num_correct) == 2**24 + 1


def test_no_example_has_no_accuracy():
    assert np.isnan(summary(make_task().empty())["accuracy"])


def test_the_five_likeliest_in_order():
    prediction = {"probability": np.array([0.05, 0.5, 0.1, 0.2, 0.08, 0.07])}
    example: Any = {"label": np.int32(3)}
    found = make_task().render(prediction, list("abcdef"), example)
    assert found.text == "b\t0.5000"
    assert (found.facts["class"], found.facts["probability"], found.facts["true"]) == (
        "b",
        0.5,
        "d",
    )
    assert [item["class"] for item in found.facts["top"]] == ["b", "d", "c", "e", "f"]
    assert found.picture_HWC is None
