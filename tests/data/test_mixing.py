import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import mesh as mesh_lib
from crnn_jax.data import mixing, transforms
from crnn_jax.data.mixing import Mixing
from crnn_jax.errors import UserError

BATCH, SIDE = 512, 12
BOTH = Mixing(mixup=0.4, cutmix=1.0)


def keys(seed=0):
    index_B: Any = np.arange(BATCH, dtype=np.int32)
    epoch_B: Any = np.zeros_like(index_B)
    return transforms.example_keys(np.uint32(seed), epoch_B, index_B)


def batch(weight_B=None):
    """Image i is i everywhere, so that pixels say whose they are."""
    index_B = jnp.arange(BATCH)
    image_BHWC = jnp.broadcast_to(index_B[:, None, None, None], (BATCH, SIDE, SIDE, 1))
    weight_B = jnp.ones(BATCH) if weight_B is None else weight_B
    return {
        "image": image_BHWC.astype(jnp.float32),
        "label": index_B,
        "weight_B": weight_B,
    }


@jax.jit(static_argnums=0)
def mix(how, data, key_B):
    drawn = mixing.draw_mix(how, data["image"].shape[1:3], data["weight_B"], key_B)
    mixed = {"share_B": drawn.share_B, "other_label_B": mixing.neighbour(data["label"])}
    return mixing.mix_pixels(drawn, data["image"]), mixed


def test_mixup_mixes_images_and_labels_by_the_same_share():
    data, key_B = batch(), keys()
    image_BHWC, mixed = mix(Mixing(mixup=0.4), data, key_B)
    other_B = np.arange(BATCH) ^ 1
    np.testing.assert_array_equal(mixed["other_label_B"], other_B)
    share_B = np.asarray(mixed["share_B"])
    expected_B = share_B * np.arange(BATCH) + (1 - share_B) * other_B
    np.testing.assert_allclose(image_BHWC[:, 3, 4, 0], expected_B, rtol=1e-5)
    np.testing.assert_array_equal(image_BHWC.min((1, 2, 3)), image_BHWC.max((1, 2, 3)))
    assert np.mean(share_B) == pytest.approx(0.5, abs=0.06)
    assert np.var(share_B) == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.02)  # of Beta(a, a)


def test_cutmix_shows_a_rectangle_of_the_other_and_weighs_it_by_its_area():
    image_BHWC, mixed = mix(Mixing(cutmix=1.0), batch(), keys())
    other_B = np.arange(BATCH) ^ 1
    is_other_BHW = np.asarray(image_BHWC)[..., 0] == other_B[:, None, None]
    is_own_BHW = np.asarray(image_BHWC)[..., 0] == np.arange(BATCH)[:, None, None]
    assert (is_other_BHW ^ is_own_BHW).all()
    np.testing.assert_allclose(mixed["share_B"], 1 - is_other_BHW.mean((1, 2)), rtol=1e-5)
    rows, columns = is_other_BHW.any(2).sum(1), is_other_BHW.any(1).sum(1)
    np.testing.assert_array_equal(is_other_BHW.sum((1, 2)), rows * columns)
    assert np.mean(mixed["share_B"]) == pytest.approx(0.5, abs=0.06)  # uniform


def test_with_both_each_example_has_one():
    image_BHWC, _ = mix(BOTH, batch(), keys())
    whole_B = np.asarray(image_BHWC) % 1 == 0
    assert 0.4 < whole_B.all((1, 2, 3)).mean() < 0.62  # CutMix, or a share of nearly 0 or 1


def test_an_unreadable_neighbour_has_no_share():
    weight_B = jnp.ones(BATCH).at[5].set(0)
    image_BHWC, mixed = mix(BOTH, batch(weight_B), keys())
    assert mixed["share_B"][4] == 1
    assert (image_BHWC[4] == 4).all()


@pytest.mark.long
def test_a_function_of_the_example_and_equal_on_any_number_of_devices():
    data, key_B = batch(), keys()
    erase = jax.jit(mixing.erase, static_argnums=2)
    for how in (BOTH, Mixing(mixup=0.2), Mixing(cutmix=0.5)):
        one = mix(how, data, key_B)
        sharding = mesh_lib.batch_sharding(mesh_lib.make_mesh())
        on_eight = jax.device_put((data, key_B), sharding)
        compiled = mix.lower(how, *on_eight).compile()
        text = compiled.as_text()
        assert text is not None
        assert not any(name in text for name in ("all-gather", "all-to-all"))
        # Beta's logarithms differ in the last bit by where in a vector register they are taken.
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
        jax.tree.map(close, one, mix(how, *on_eight))
    erased = erase(data["image"], key_B, 0.5)
    np.testing.assert_array_equal(erased, erase(on_eight[0]["image"], on_eight[1], 0.5))
    assert not np.array_equal(mix(BOTH, data, keys(1))[0], mix(BOTH, data, key_B)[0])


def test_erase_sets_a_rectangle_to_zero():
    image_BHWC = jnp.ones((BATCH, 60, 40, 3))
    erased = np.asarray(mixing.erase(image_BHWC, keys(), 0.25))
    gone_BHW = erased[..., 0] == 0
    np.testing.assert_array_equal(erased, np.repeat(1.0 * ~gone_BHW[..., None], 3, axis=3))
    assert np.mean(gone_BHW.any((1, 2))) == pytest.approx(0.25, abs=0.06)
    rows, columns = gone_BHW.any(2).sum(1), gone_BHW.any(1).sum(1)
    np.testing.assert_array_equal(gone_BHW.sum((1, 2)), rows * columns)
    always = np.asarray(mixing.erase(image_BHWC, keys(), 1.0))[..., 0] == 0
    area_B = always.mean((1, 2))
    assert 0.01 < area_B.min() < 0.04
    assert area_B.max() < 0.36


def test_an_odd_batch_has_no_neighbours():
    data = jax.tree.map(lambda x: x[:3], batch())
    with pytest.raises(UserError, match=r"'batch_size' expects an even number.*found 3"):
        mixing.draw_mix(BOTH, (SIDE, SIDE), data["weight_B"], keys()[:3])
