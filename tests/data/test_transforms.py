import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.data import transforms
from crnn_jax.errors import UserError

make_keys = jax.jit(transforms.example_keys)  # one by one, its operations compile for seconds
augment = jax.jit(transforms.augment, static_argnames=("crop_padding", "flip"))


def images(batch, height=5, width=7, channels=3):
    return np.random.default_rng(0).integers(
        0, 256, (batch, height, width, channels), dtype=np.uint8
    )


def keys(batch, seed=0):
    return make_keys(np.uint32(seed), np.zeros(batch, np.int32), np.arange(batch))


def crops(image_HWC, padding, flip):
    """Every possible result, by numpy's own reflection padding, with its offset and mirror."""
    height, width, _ = image_HWC.shape
    padded = np.pad(image_HWC, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + height, column : column + width]
            yield (row, column, 0), crop
            if flip:
                yield (row, column, 1), crop[:, ::-1]


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (1, False), (2, True), (3, False)])
def test_augment_gives_every_crop_and_mirror_equally_often(padding, flip):
    batch = 4000
    image_HWC = images(1)[0]
    image_BHWC = jnp.asarray(np.broadcast_to(image_HWC, (batch, *image_HWC.shape)))
    result_BHWC = np.asarray(augment(image_BHWC, keys(batch), crop_padding=padding, flip=flip))
    assert result_BHWC.dtype == np.uint8
    kinds = {crop.tobytes(): kind for kind, crop in crops(image_HWC, padding, flip)}
    found = [kinds[result.tobytes()] for result in result_BHWC]  # KeyError: no such crop
    count = np.unique(found, axis=0, return_counts=True)[1]
    assert len(count) == len(kinds)
    expected = batch / len(kinds)
    chi_square = np.sum((count - expected) ** 2 / expected)
    freedom = max(len(kinds) - 1, 1)
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_augment_without_anything_is_the_image():
    image_BHWC = jnp.asarray(images(3))
    result = transforms.augment(image_BHWC, keys(3), crop_padding=0, flip=False)
    np.testing.assert_array_equal(result, image_BHWC)


def test_augment_depends_on_the_example_and_not_on_its_place():
    image_BHWC, order_B = images(64), np.random.default_rng(1).permutation(64)
    zero_B = np.zeros(64, np.int32)
    shuffled_keys = make_keys(np.uint32(0), zero_B, order_B)
    whole = np.asarray(augment(image_BHWC, keys(64), crop_padding=2, flip=True))
    shuffled = augment(image_BHWC[order_B], shuffled_keys, crop_padding=2, flip=True)
    np.testing.assert_array_equal(whole[order_B], shuffled)


def test_augment_refuses_padding_as_large_as_the_image():
    with pytest.raises(UserError, match=r"'data.crop_padding'.*5x7, found 5"):
        transforms.augment(jnp.asarray(images(1)), keys(1), crop_padding=5, flip=False)


def test_keys_differ_by_seed_epoch_and_example():
    zero_B, index_B = np.zeros(10, np.int32), np.arange(10)
    all_keys = [
        make_keys(np.uint32(0), zero_B, index_B),
        make_keys(np.uint32(1), zero_B, index_B),
        make_keys(np.uint32(0), zero_B + 1, index_B),
    ]
    data = np.concatenate([jax.random.key_data(key_B) for key_B in all_keys])
    assert len(np.unique(data, axis=0)) == 30
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(1), 0), 7)
    np.testing.assert_array_equal(jax.random.key_data(expected), data[17])


def test_normalize_by_hand():
    image_BHWC = jnp.array([0, 255, 100, 30], jnp.uint8).reshape(1, 1, 2, 2)
    mean_C, std_C = jnp.array([50.0, 55.0]), jnp.array([25.0, 100.0])
    result = transforms.normalize(image_BHWC, mean_C, std_C, jnp.float32)
    np.testing.assert_allclose(result.reshape(-1), [-2.0, 2.0, 2.0, -0.25], rtol=1e-6)
    assert transforms.normalize(image_BHWC, mean_C, std_C, jnp.bfloat16).dtype == jnp.bfloat16
