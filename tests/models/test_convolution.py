"""The convolution equals XLA's in value and gradients; only the CPU gets the chunked gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import export, lax

from crnn_jax.models import kernel_gradient
from crnn_jax.models.convolution import Conv, conv2d

# batch, height, width, in, out channels, kernel, strides, padding
CASES = [
    (48, 32, 32, 16, 8, (3, 3), (1, 1), "SAME"),  # many chunks, tiles
    (11, 9, 13, 16, 6, (3, 3), (1, 1), "SAME"),  # half tiles at both ends
    (9, 6, 11, 20, 8, (3, 3), (1, 1), "VALID"),
    (9, 4, 7, 16, 8, (3, 3), (1, 1), ((2, 0), (0, 3))),
    (12, 32, 32, 16, 8, (2, 3), (1, 1), "SAME"),  # many chunks, patches
    (47, 17, 19, 16, 6, (4, 3), (1, 1), "VALID"),  # a prime batch: filled up with zeros
    (1, 33, 17, 20, 8, (3, 5), (1, 1), "SAME"),
    (7, 9, 11, 3, 5, (3, 2), (2, 1), "VALID"),
    (7, 19, 21, 16, 5, (3, 2), (2, 1), "SAME"),  # strides with many channels
    (70, 32, 32, 3, 8, (3, 3), (1, 1), "SAME"),  # many chunks, planes
    (5, 48, 48, 1, 4, (2, 2), (4, 3), "SAME"),  # strides beyond the kernel
    (9, 20, 18, 16, 4, (2, 5), (1, 1), ((0, 3), (2, 1))),
    (9, 6, 8, 16, 4, (2, 2), (1, 1), ((0, 3), (4, 2))),  # padding beyond the kernel
    (24, 8, 8, 32, 4, (1, 1), (1, 1), "SAME"),
    (24, 2, 4, 16, 8, (3, 3), (1, 1), "SAME"),  # smaller than the kernel
    (6, 1, 1, 4, 3, (3, 3), (1, 1), "SAME"),
    (5, 2, 6, 4, 3, (3, 5), (1, 1), ((0, 3), (2, 1))),
    (5, 2, 2, 4, 3, (3, 3), (2, 2), "SAME"),
]
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}


def reference(image, kernel, strides=(1, 1), padding="SAME"):
    return lax.conv_general_dilated(
        image, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def normal(shape, dtype="float32", seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def assert_close(got, want, tolerance):
    assert got.dtype == want.dtype
    got, want = np.asarray(got, "float32"), np.asarray(want, "float32")
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def spy(monkeypatch, name):
    """Returns a list that gets an entry at each call of kernel_gradient's function."""
    calls, function = [], getattr(kernel_gradient, name)

    def called(*arguments):
        calls.append(name)
        return function(*arguments)

    monkeypatch.setattr(kernel_gradient, name, called)
    return calls


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("case", "dtype", "tiles"),
    [
        *((case, "float32", True) for case in CASES),
        *((case, "bfloat16", False) for case in CASES[::2]),
        (CASES[0], "bfloat16", True),  # many chunks, shifts
        (CASES[1], "bfloat16", True),
        ((47, 17, 19, 16, 6, (3, 3), (1, 1), "SAME"), "bfloat16", True),  # filled up with zeros
        ((1, 32, 32, 16, 6, (3, 3), (1, 1), "SAME"), "bfloat16", True),
        (CASES[3], "bfloat16", True),  # no SAME padding: Winograd's all the same
    ],
    ids=str,
)
def test_value_and_gradients_equal_xla(case, dtype, tiles, monkeypatch):
    monkeypatch.setattr("crnn_jax.processor.has_bfloat16_tiles", lambda: tiles)
    monkeypatch.setattr(kernel_gradient, "SHIFTED_BYTES", 2**17)
    shifted = spy(monkeypatch, "_shifted_products")
    batch, height, width, inputs, outputs, window, strides, padding = case
    image = normal((batch, height, width, inputs), dtype)
    kernel = normal((*window, inputs, outputs), dtype, seed=1)

    def run(convolution):
        def of(image, kernel):
            return convolution(image, kernel, strides=strides, padding=padding)

        output, backward = jax.vjp(of, image, kernel)
        return output, *backward(normal(output.shape, dtype, seed=2))

    for got, want in zip(jax.jit(run, static_argnums=0)(conv2d), run(reference), strict=True):
        assert_close(got, want, TOLERANCE[dtype])
    assert bool(shifted) == (tiles and dtype == "bfloat16" and padding == "SAME")


def test_the_border_of_a_small_image_is_no_padding_of_the_convolution():
    """XLA's CPU computes one that pads an image smaller than its kernel number by number."""

    def both(image, kernel):
        output, backward = jax.vjp(conv2d, image, kernel)
        return backward(output)[0]

    text = jax.jit(both).lower(normal((8, 2, 4, 16)), normal((3, 3, 16, 8))).compile().as_text()
    assert text is not None
    windows = [line for line in text.splitlines() if "window={size=3x3" in line]
    assert len(windows) == 2
    assert not [line for line in windows if "pad=" in line]


@pytest.mark.parametrize(("dtype", "count"), [("float32", 0), ("bfloat16", 1)])
def test_in_bfloat16_nothing_is_fused_with_the_convolution_on_a_cpu(dtype, count):
    program = jax.jit(conv2d).lower(normal((2, 8, 8, 16), dtype), normal((3, 3, 16, 4), dtype))
    assert program.as_text().count("optimization_barrier") == count


def test_works_under_checkpoint_scan_and_vmap():
    images, kernel = normal((3, 4, 18, 16, 16)), normal((3, 3, 16, 4), seed=1)

    def loss(kernel, image, convolution=conv2d):
        return (convolution(image, kernel) ** 2).sum()

    want = jnp.stack([jax.grad(loss)(kernel, image, reference) for image in images])
    gradient = jax.grad(jax.checkpoint(loss))
    scanned = lax.scan(lambda _, image: (None, gradient(kernel, image)), None, images)[1]
    assert_close(scanned, want, 1e-5)
    assert_close(jax.vmap(gradient, (None, 0))(kernel, images), want, 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sharded_batch_is_not_gathered(dtype, monkeypatch):
    monkeypatch.setattr("crnn_jax.processor.has_bfloat16_tiles", lambda: True)
    monkeypatch.setattr(kernel_gradient, "SHIFTED_BYTES", 2**17)
    devices = jax.devices()
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    by_batch = jax.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    image = normal((3 * len(devices), 32, 32, 16), dtype)
    kernel = normal((3, 3, 16, 4), dtype, seed=1)
    gradient = jax.jit(jax.grad(lambda kernel, image: (conv2d(image, kernel) ** 2).sum()))
    want = gradient(kernel, image)
    image = jax.device_put(image, by_batch)
    program = gradient.lower(kernel, image).compile()
    assert_close(program(kernel, image), want, TOLERANCE[dtype])
    text = program.as_text()
    assert text is not None
    assert "all-gather" not in text
    assert "while" in text


def test_other_platforms_keep_xlas_gradient():
    gradient = jax.jit(jax.grad(lambda kernel, image: conv2d(image, kernel).sum()))
    arguments = normal((3, 3, 16, 8)), normal((64, 32, 32, 16))
    # The call sets a gradient's memory layout on a GPU; another XLA need not know it.
    checks = [export.DisabledSafetyCheck.custom_call("LayoutConstraint")]
    text = {
        platform: export.export(gradient, platforms=[platform], disabled_checks=checks)(
            *arguments
        ).mlir_module()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert "while" in text["cpu"]
    assert "while" not in text["cuda"]
    assert "while" not in text["tpu"]


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_layer_equals_flax(dtype, use_bias):
    image, key = normal((2, 9, 8, 3)), jax.random.key(3)
    options: dict[str, Any] = dict(
        features=6, strides=(2, 1), padding="VALID", use_bias=use_bias, dtype=dtype
    )
    ours, flax = Conv(**options), nn.Conv(kernel_size=(3, 3), **options)
    variables = ours.init(key, image)
    jax.tree.map(np.testing.assert_array_equal, variables, flax.init(key, image))
    got, want = ours.apply(variables, image), flax.apply(variables, image)
    assert_close(got, want, TOLERANCE[dtype or "float32"])
