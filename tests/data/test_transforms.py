import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.data import transforms
from crnn_jax.errors import UserError

make_keys = jax.jit(transforms.example_keys)  # one by one, its operations compile for seconds
cutout = jax.jit(transforms.cutout, static_argnums=2)


def move_at_random(image_BHWC, *which, crop_padding, flip):
    size = image_BHWC.shape[-3:-1]
    placement = transforms.draw_placement(size, *which, crop_padding=crop_padding, flip=flip)
    return transforms.move(jnp.asarray(image_BHWC), "pixels", placement, size)


augment = jax.jit(move_at_random, static_argnames=("crop_padding", "flip"))


def images(batch, height=5, width=7, channels=3):
    return np.random.default_rng(0).integers(
        0, 256, (batch, height, width, channels), dtype=np.uint8
    )


def keys(batch, seed=0):
    return make_keys(np.uint32(seed), np.zeros(batch, np.int32), np.arange(batch))


def which(batch, epoch=0):
    return np.uint32(0), np.full(batch, epoch, np.int32), np.arange(batch)


def crops(image_HWC, padding, flip):
    """Every possible result, by numpy's own reflection padding, with its offset and mirror."""
    height, width, _ = image_HWC.shape
    padded = np.pad(image_HWC, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + height, column : column + width]
            yield (row, column, 0), crop
            if flip != "none":
                yield (row, column, 1), crop[:, ::-1]


@pytest.mark.parametrize(
    ("padding", "flip"),
    [(0, "random"), (1, "none"), (2, "random"), (3, "none"), (1, "alternating")],
)
def test_augment_gives_every_crop_and_mirror_equally_often(padding, flip):
    batch = 4000
    image_HWC = images(1)[0]
    image_BHWC = jnp.asarray(np.broadcast_to(image_HWC, (batch, *image_HWC.shape)))
    result_BHWC = np.asarray(augment(image_BHWC, *which(batch), crop_padding=padding, flip=flip))
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
    result = move_at_random(image_BHWC, *which(3), crop_padding=0, flip="none")
    np.testing.assert_array_equal(result, image_BHWC)


def test_boxes_move_with_their_pixels():
    """In an image of 10 x 8 that shows rows 2.. and columns 3.., mirrored in the second."""
    offset_B2 = jnp.array([[2, 3], [2, 3]])
    placement = transforms.Placement(offset_B2, jnp.array([0, 1], jnp.uint32))
    boxes_BM4 = jnp.array([[[4, 4, 6, 7], [0, 0, 3, 4], [1, 2, 5, 5], [0, 0, 0, 0]]] * 2, jnp.int32)
    found = transforms.move(boxes_BM4, "boxes", placement, (10, 8))
    plain = [[2, 1, 4, 4], [0, 0, 0, 0], [0, 0, 3, 2], [0, 0, 0, 0]]
    mirrored = [[2, 4, 4, 7], [0, 0, 0, 0], [0, 6, 3, 8], [0, 0, 0, 0]]
    np.testing.assert_array_equal(found, [plain, mirrored])
    assert found.dtype == jnp.int32
    # A map in which a box is drawn shows the same.
    map_BHW1 = np.zeros((2, 10, 8, 1), np.uint8)
    map_BHW1[:, 4:6, 4:7] = 1
    moved_BHW1 = np.asarray(transforms.move(jnp.asarray(map_BHW1), "map", placement, (10, 8)))
    for image, (top, left, bottom, right) in zip(moved_BHW1, found[:, 0].tolist(), strict=True):
        assert image[top:bottom, left:right].sum() == (bottom - top) * (right - left) == 6


def test_augment_depends_on_the_example_and_not_on_its_place():
    image_BHWC, order_B = images(64), np.random.default_rng(1).permutation(64)
    seed, zero_B, _ = which(64)
    settings = {"crop_padding": 2, "flip": "random"}
    whole = np.asarray(augment(image_BHWC, *which(64), **settings))
    shuffled = augment(image_BHWC[order_B], seed, zero_B, order_B, **settings)
    np.testing.assert_array_equal(whole[order_B], shuffled)


def test_alternating_mirrors_start_at_random_and_then_change_every_epoch():
    image_BHWC = images(64)

    def mirrored(epoch, flip):
        result = np.asarray(augment(image_BHWC, *which(64, epoch), crop_padding=0, flip=flip))
        same = (result == image_BHWC).all((1, 2, 3))
        np.testing.assert_array_equal(result[~same], image_BHWC[~same, :, ::-1])
        return ~same

    first = mirrored(0, "alternating")
    assert 16 < first.sum() < 48
    np.testing.assert_array_equal(first, mirrored(0, "random"))
    for epoch in (1, 2, 7):
        np.testing.assert_array_equal(mirrored(epoch, "alternating"), first ^ (epoch % 2 == 1))


def test_cutout_takes_every_square_inside_the_image_equally_often():
    cut = np.asarray(cutout(jnp.ones((4000, 5, 7, 2)), keys(4000), 3))
    assert (cut[..., 0] == cut[..., 1]).all()
    found, count = np.unique(cut[..., 0], axis=0, return_counts=True)
    assert len(found) == 3 * 5  # places of the 3 x 3 square
    for image_HW in found:
        rows, columns = np.nonzero(image_HW == 0)
        assert len(rows) == 9
        assert np.ptp(rows) == np.ptp(columns) == 2
    expected = 4000 / 15
    assert np.sum((count - expected) ** 2 / expected) < 14 + 5 * np.sqrt(28)


def test_cutout_refuses_a_square_as_large_as_the_image():
    with pytest.raises(UserError, match=r"'data.cutout'.*5x7, found 5"):
        transforms.cutout(jnp.ones((1, 5, 7, 3)), keys(1), 5)


def test_augment_refuses_padding_as_large_as_the_image():
    with pytest.raises(UserError, match=r"'data.crop_padding'.*5x7, found 5"):
        move_at_random(jnp.asarray(images(1)), *which(1), crop_padding=5, flip="none")


def test_views_by_hand():
    image_BHWC = jnp.arange(6).reshape(1, 2, 3, 1)
    assert [weight for weight, _ in transforms.views(image_BHWC, "mirror")] == [0.5, 0.5]
    found = transforms.views(image_BHWC, "mirror_shift")
    assert [weight for weight, _ in found] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    rows = [np.asarray(view_BHWC)[0, :, :, 0].tolist() for _, view_BHWC in found]
    assert rows == [
        [[0, 1, 2], [3, 4, 5]],
        [[2, 1, 0], [5, 4, 3]],
        [[4, 5, 4], [1, 2, 1]],  # moved up and left: row 2 is row 0 again, column 3 column 1
        [[4, 3, 4], [1, 0, 1]],
        [[4, 3, 4], [1, 0, 1]],
        [[4, 5, 4], [1, 2, 1]],
    ]
    assert [v.shape for _, v in transforms.views(jnp.ones((2, 1, 1, 3)), "mirror_shift")] == [
        (2, 1, 1, 3)
    ] * 6


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
