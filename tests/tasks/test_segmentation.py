"""What is trained on and counted of a mask, and that it moves with its pixels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from crnn_jax.data.fields import IGNORE
from crnn_jax.errors import UserError
from crnn_jax.models.heads import DenseOutput
from crnn_jax.tasks import Segmentation, make_task
from crnn_jax.tasks.augmentation import Augmentation
from crnn_jax.tasks.mask_pictures import PALETTE, colours
from crnn_jax.validation import validate

K = 4
PLAIN = {"mean_C": jnp.zeros(1), "std_C": jnp.ones(1)}  # normalised pixels are the stored ones


def segmentation(**changes):
    fields = {"crop_padding": 0, "flip": "none", "cutout": 0, "dtype": jnp.float32, **changes}
    return Segmentation(Augmentation(**fields), K)


def batch_of(mask_BHW, weight_B=None, epoch=0):
    """Returns a batch whose pixels equal its mask."""
    size = len(mask_BHW)
    return {
        "image": jnp.asarray(mask_BHW, jnp.uint8)[..., None],
        "mask": jnp.asarray(mask_BHW, jnp.uint8),
        "weight_B": jnp.ones(size) if weight_B is None else jnp.asarray(weight_B, jnp.float32),
        "epoch_B": jnp.full(size, epoch, jnp.int32),
        "example_B": jnp.arange(size, dtype=jnp.int32),
    }


def random_masks(size=6, height=7, width=5, seed=0):
    random = np.random.default_rng(seed)
    mask_BHW = random.integers(0, K, (size, height, width)).astype(np.uint8)
    mask_BHW[random.random(mask_BHW.shape) < 0.2] = IGNORE
    return mask_BHW


def random_output(mask_BHW, seed=0):
    logits = np.random.default_rng(seed).normal(size=(*mask_BHW.shape, K))
    return DenseOutput(jnp.asarray(logits, jnp.float32))


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"crop_padding": 3}, {"flip": "random"}, {"flip": "alternating"},
     {"crop_padding": 2, "flip": "alternating"}],
)  # fmt: skip
def test_a_mask_moves_with_its_pixels(changes, train):
    mask_BHW = random_masks(size=32)
    task = segmentation(**changes)
    for epoch in range(2):
        batch = batch_of(mask_BHW, epoch=epoch)
        pixels, prepared = task.prepare(batch, PLAIN, jnp.uint32(1), train=train)
        np.testing.assert_array_equal(pixels[..., 0], prepared["mask"].astype(jnp.float32))
        moved = not np.array_equal(prepared["mask"], mask_BHW)
        assert moved == (train and bool(changes))
        assert prepared["mask"].dtype == jnp.uint8


@pytest.mark.parametrize(
    "changes", [{"cutout": 3}, {"rand_augment": 2, "rand_augment_magnitude": 9.0}]
)
def test_what_leaves_pixels_in_their_place_leaves_the_mask(changes):
    mask_BHW = random_masks()
    task = segmentation(**changes)
    pixels, prepared = task.prepare(batch_of(mask_BHW), PLAIN, jnp.uint32(1), train=True)
    np.testing.assert_array_equal(prepared["mask"], mask_BHW)
    assert not np.array_equal(pixels[..., 0], mask_BHW.astype(np.float32))


def test_counts_are_those_of_scikit_learn():
    """Over several batches, with ignored pixels, an example of weight 0 and a class left out."""
    task = segmentation()
    metrics, truths, guesses = task.empty(), [], []
    for number in range(3):
        mask_BHW = random_masks(seed=number)
        mask_BHW[mask_BHW == 2] = 1  # class 2 is in no mask
        weight_B = np.array([1, 1, 0, 1, 1, 0])
        output = random_output(mask_BHW, number)
        output = DenseOutput(output.logits_BHWK.at[..., 2].set(-9.0))  # nor in a prediction
        metrics = metrics.merge(task.loss(output, batch_of(mask_BHW, weight_B), train=False)[1])
        guess_BHW = np.asarray(task.predictions(output)["mask"])
        assert guess_BHW.dtype == np.uint8
        kept = (weight_B > 0)[:, None, None] & (mask_BHW != IGNORE)
        truths.append(mask_BHW[kept])
        guesses.append(guess_BHW[kept])
    truth, guess = np.concatenate(truths), np.concatenate(guesses)
    np.testing.assert_array_equal(metrics.counts(), confusion_matrix(truth, guess, labels=range(K)))
    summary = task.summarize(metrics)
    present = [0, 1, 3]
    every_class: Any = None
    iou: Any = jaccard_score(truth, guess, labels=present, average=every_class)
    np.testing.assert_allclose([summary["iou"][k] for k in present], iou, rtol=1e-12)
    assert summary["iou"][2] is None
    np.testing.assert_allclose(summary["mean_iou"], iou.mean(), rtol=1e-12)
    np.testing.assert_allclose(summary["pixel_accuracy"], np.mean(truth == guess), rtol=1e-12)
    assert summary["num_examples"] == 12
    assert summary["num_pixels"] == len(truth)
    assert task.counts(summary) == "(12 images)"


def test_counts_are_exact_beyond_int32_and_float32():
    task = segmentation()
    one: Any = task.empty()
    one = one.replace(low_KK=one.low_KK.at[0, 0].set(2**30 - 1).at[1, 2].set(1))
    total = task.empty()
    for _ in range(9):
        total = total.merge(one)
    assert total.counts()[0, 0] == 9 * (2**30 - 1)
    assert total.counts()[1, 2] == 9
    assert int(jnp.max(total.low_KK)) < 2**30


def test_the_loss_is_that_of_the_pixels_that_count():
    task = segmentation()
    mask_BHW = random_masks()
    mask_BHW[1] = IGNORE
    weight_B = np.array([1, 1, 0, 2, 1, 1])
    output = random_output(mask_BHW)
    loss, metrics = task.loss(output, batch_of(mask_BHW, weight_B), train=True)
    log = np.asarray(jax.nn.log_softmax(output.logits_BHWK))
    expected = 0.0
    for mask_HW, log_HWK, weight in zip(mask_BHW, log, weight_B, strict=True):
        rows, columns = np.nonzero(mask_HW != IGNORE)
        if len(rows):
            expected -= weight * log_HWK[rows, columns, mask_HW[rows, columns]].mean()
    np.testing.assert_allclose(loss, expected / weight_B.sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics.loss(), loss, rtol=1e-6)
    gradient = jax.grad(
        lambda x: task.loss(DenseOutput(x), batch_of(mask_BHW, weight_B), train=True)[0]
    )(output.logits_BHWK)
    ignored = (mask_BHW == IGNORE) | (weight_B == 0)[:, None, None]
    assert np.all(np.asarray(gradient)[ignored] == 0)
    assert np.all(np.any(np.asarray(gradient)[~ignored] != 0, axis=-1))


def test_the_mirrored_view_is_mirrored_back():
    task = segmentation()
    image_BHWC = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 1)), jnp.float32)

    def model(pixels):  # answers each pixel by itself
        return DenseOutput(pixels * jnp.arange(K, dtype=jnp.float32)[None, None, None])

    weights, views = zip(*task.views(image_BHWC, "mirror"), strict=True)
    combined = task.combine([model(view) for view in views], weights, "mirror")
    np.testing.assert_allclose(combined.logits_BHWK, model(image_BHWC).logits_BHWK, rtol=1e-6)
    with pytest.raises(UserError, match=r"mirror_shift.*'eval\.tta'"):
        task.views(image_BHWC, "mirror_shift")


def test_a_prediction_is_drawn_over_its_image():
    task = segmentation()
    image_HWC = np.full((4, 6, 1), 100, np.uint8)
    mask_HW = np.zeros((4, 6), np.uint8)
    mask_HW[:2, :3] = 2
    rendered = task.render({"mask": mask_HW}, list("abcd"), {"image": image_HWC})
    assert rendered.text == "a\t0.7500\tc\t0.2500"
    assert rendered.facts == {"shares": {"a": 0.75, "c": 0.25}}
    picture = rendered.picture_HWC
    assert picture is not None
    assert picture.shape == (256, 768, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(picture[0, 384], np.round(0.4 * 100 + 0.6 * PALETTE[2]))
    np.testing.assert_array_equal(picture[255, 767], np.round(0.4 * 100 + 0.6 * PALETTE[0]))
    with_truth = task.render(
        {"mask": mask_HW}, list("abcd"), {"image": image_HWC, "mask": np.full((4, 6), IGNORE)}
    )
    assert with_truth.picture_HWC is not None
    assert with_truth.picture_HWC.shape == (256, 1152, 3)


def test_panels_show_the_very_colours_that_the_legend_names():
    task, names = segmentation(), ["ground", "", "b", "c"]
    image_HWC = np.full((2, 3, 1), 100, np.uint8)
    found_HW = np.array([[0, 0, 2], [0, 2, 2]], np.uint8)
    truth_HW = np.array([[0, IGNORE, 1], [0, 2, K]], np.uint8)
    panels = task.render({"mask": found_HW}, names, {"image": image_HWC}).panels
    assert panels is not None
    assert list(panels.pictures) == ["image", "prediction"]
    assert [name for name, _ in panels.legend.values()] == ["ground", "b"]
    panels = task.render({"mask": found_HW}, names, {"image": image_HWC, "mask": truth_HW}).panels
    assert panels is not None
    assert list(panels.pictures) == ["image", "prediction", "truth"]
    np.testing.assert_array_equal(panels.pictures["image"], image_HWC.repeat(3, axis=2))
    named = {k: name for k, (name, _) in panels.legend.items()}
    assert named == {0: "ground", 1: "class 1", 2: "b", IGNORE: "(ignored)"}
    for title, mask_HW in (("prediction", found_HW), ("truth", truth_HW)):
        for k, colour in zip(mask_HW.ravel(), panels.pictures[title].reshape(-1, 3), strict=True):
            number = int(k) if k < K else IGNORE  # K and above are not counted
            assert panels.legend[number][1] == tuple(colour)


def test_only_class_0_and_what_is_ignored_are_black_and_white():
    shown_K3 = colours(np.arange(256, dtype=np.uint8)[None])[0].astype(int)
    assert shown_K3[[0, IGNORE]].tolist() == [[0] * 3, [255] * 3]
    assert shown_K3[1:IGNORE].sum(axis=1).min() > 0
    assert shown_K3[1:IGNORE].min(axis=1).max() < 255
    np.testing.assert_array_equal(shown_K3[: len(PALETTE)], PALETTE)


def test_every_colour_of_the_palette_is_its_own():
    distance = np.abs(PALETTE[:, None].astype(int) - PALETTE[None]).sum(axis=-1)
    assert distance[~np.eye(len(PALETTE), dtype=bool)].min() >= 40


def scene_config(tiny, model="reseg", **changes):
    common = {"task": "segmentation", "data__source": "digit_scenes"}
    return tiny(model, **{**common, "optim__label_smoothing": 0.0, **changes})


def validated_task(config):
    validate(config)
    return make_task(config, 11)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data__mixup": 0.2}, "data.mixup"),
        ({"data__cutmix": 1.0}, "data.cutmix"),
        (
            {"data__crop": "paper", "data__pipeline": "streaming", "data__image_size": 32},
            "'data.crop' expects none for task 'segmentation'",
        ),
        ({"optim__label_smoothing": 0.1}, "optim.label_smoothing"),
        ({"eval__tta": "mirror_shift"}, "eval.tta"),
    ],
)
def test_keys_that_do_not_apply_are_refused(tiny, changes, key):
    with pytest.raises(UserError, match=key):
        validated_task(scene_config(tiny, **changes))


def test_models_of_another_kind_are_refused_both_ways(tiny):
    with pytest.raises(UserError, match=r"'segmentation'.*reseg, found 'crnn'"):
        make_task(scene_config(tiny, "crnn"), 11)
    with pytest.raises(UserError, match=r"'classification'.*crnn, sequencer, found 'reseg'"):
        make_task(scene_config(tiny, task="classification"), 10)
    with pytest.raises(UserError, match="at most 255 classes, found 256"):
        make_task(scene_config(tiny), 256)
