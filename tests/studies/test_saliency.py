"""Gradient maps against finite differences, and the figure's file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from crnn_jax.models import CLASSIFIERS
from crnn_jax.studies import saliency
from crnn_jax.train.loop import train


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_gradient_equals_finite_differences(tiny, start_run, model):
    experiment, _, _, _, state = start_run(tiny(model, mesh__data=1))
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    random = np.random.default_rng(0)
    image_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
    direction_BHWC = jnp.asarray(random.normal(size=(3, 8, 8, 1)), jnp.float32)
    class_B = jnp.array([1, 5, 9])

    @jax.jit
    def score_B(image_BHWC):
        logits_BK = experiment.model.apply(weights, image_BHWC, train=False).logits_BK
        return logits_BK[jnp.arange(3), class_B]

    step = 1e-3  # small enough that few of the ReLUs and maxima in between change sides
    difference_B = score_B(image_BHWC + step * direction_BHWC)
    difference_B = (difference_B - score_B(image_BHWC - step * direction_BHWC)) / (2 * step)
    gradient = jax.jit(saliency.class_gradient, static_argnums=0)
    gradient_BHWC = gradient(experiment.model, weights, image_BHWC, class_B)
    slope_B = jnp.sum(gradient_BHWC * direction_BHWC, axis=(1, 2, 3))
    np.testing.assert_allclose(slope_B, difference_B, atol=0.05 * np.abs(difference_B).max())


def test_map_is_the_largest_channel_by_hand():
    gradient_BHWC = jnp.array([[[[0.5, -2.0, 1.0], [0.0, 0.1, -0.3]]]])
    np.testing.assert_allclose(saliency.saliency_map(gradient_BHWC), [[[2.0, 0.3]]])


def test_figure_of_test_images_and_of_files(tiny, tmp_path):
    train(tiny("crnn"), str(tmp_path / "run"))
    common = [f"--workdir={tmp_path}/run", f"--results={tmp_path}"]
    saliency.main([*common, "--num=7"])
    with Image.open(tmp_path / "saliency_digits_crnn.png") as picture:
        assert picture.width > 500
    content = json.loads((tmp_path / "saliency_digits_crnn.json").read_text())
    assert len(content["predictions"]) == 7
    assert all(item["true"] in "0123456789" for item in content["predictions"])
    Image.new("RGB", (30, 20), "white").save(tmp_path / "a.png")
    saliency.main([*common, "--name=own", str(tmp_path / "a.png")])
    (item,) = json.loads((tmp_path / "own.json").read_text())["predictions"]
    assert "true" not in item
    assert (tmp_path / "own.png").exists()


def test_class_names_are_no_formulas(tmp_path):
    titles = [("true: $a_\nb\\frac{ 0.50", True), ("100 $ $ _ ^ 0.25", False)]
    zeros = np.zeros((2, 8, 8, 1), np.uint8)
    saliency.draw(tmp_path / "a.png", zeros, np.zeros((2, 8, 8)), titles)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 100
