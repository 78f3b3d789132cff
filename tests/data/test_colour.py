from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from crnn_jax.data import colour, transforms

IMAGE_HWC = np.random.default_rng(0).integers(20, 200, (9, 8, 3), np.uint8)


def pillow(name, signed):
    image, amount = Image.fromarray(IMAGE_HWC), 1 + 0.9 * signed
    return np.asarray(
        {
            "_identity": lambda: image,
            "_brightness": lambda: ImageEnhance.Brightness(image).enhance(amount),
            "_saturation": lambda: ImageEnhance.Color(image).enhance(amount),
            "_contrast": lambda: ImageEnhance.Contrast(image).enhance(amount),
            "_posterize": lambda: ImageOps.posterize(image, 8 - round(4 * abs(signed))),
            "_solarize": lambda: ImageOps.solarize(image, round(256 * (1 - abs(signed)))),
            "_auto_contrast": lambda: ImageOps.autocontrast(image),
        }[name]()
    )


@pytest.mark.parametrize("signed", [0.5, -0.75])
@pytest.mark.parametrize("operation", colour.OPERATIONS, ids=lambda f: f.__name__)
def test_operations_are_pillows(operation, signed):
    found = jnp.clip(operation(jnp.float32(IMAGE_HWC), jnp.float32(signed)), 0, 255)
    expected = pillow(operation.__name__, signed)
    assert np.abs(np.asarray(found) - expected).max() <= 2  # Pillow rounds gray and the result


def test_each_example_has_its_own_operations():
    index_B: Any = np.arange(200, dtype=np.int32)
    epoch_B: Any = np.zeros_like(index_B)
    key_B = transforms.example_keys(np.uint32(0), epoch_B, index_B)
    image_BHWC = jnp.broadcast_to(IMAGE_HWC, (200, *IMAGE_HWC.shape))
    augment = jax.jit(colour.rand_augment, static_argnames=("num_ops", "magnitude"))
    found = np.asarray(augment(image_BHWC, key_B, num_ops=1, magnitude=5.0))
    assert found.dtype == np.uint8
    kinds = {image.tobytes() for image in found}
    expected = {(f.__name__, s) for f in colour.OPERATIONS for s in (0.5, -0.5)}
    once = {name for name, _ in expected} & {
        "_identity", "_posterize", "_solarize", "_auto_contrast"
    }  # fmt: skip
    assert len(kinds) == len(expected) - len(once)  # those know no direction
    np.testing.assert_array_equal(
        found[::-1], augment(image_BHWC, key_B[::-1], num_ops=1, magnitude=5.0)
    )
    gray = augment(image_BHWC[:8, :, :, :1], key_B[:8], num_ops=3, magnitude=9.0)
    assert gray.shape == (8, 9, 8, 1)
