"""The compiler's options are known to it, and do what they are for."""

from typing import cast

import jax
import jax.numpy as jnp
import pytest

from crnn_jax import compiler
from crnn_jax.flags import resolve_config
from crnn_jax.train.experiment import build


@pytest.mark.smoke
def test_the_options_are_known_and_keep_convolutions_from_the_slow_library():
    options = compiler.compiler_options(onednn=True)
    assert options is not None
    image, kernel = jnp.ones((8, 8, 8, 32)), jnp.ones((3, 3, 32, 32))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def text(options):
        program = jax.jit(convolve, compiler_options=options).lower(image, kernel).compile()
        return cast(str, program.as_text())

    assert "ynn" in text(None)  # else the options are no longer needed
    assert "ynn" not in text(options)
    assert "ynn" not in text(compiler.compiler_options(onednn=False))


@pytest.mark.smoke
def test_products_go_to_the_library_that_is_fastest_beside_the_convolutions():
    left, right = jnp.ones((1024, 64)), jnp.ones((64, 96))

    def text(options):
        program = jax.jit(jnp.dot, compiler_options=options).lower(left, right).compile()
        return cast(str, program.as_text())

    assert "ynn" in text(compiler.compiler_options(onednn=True))
    assert "ynn" not in text(compiler.compiler_options(onednn=False))


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    compiler.compiler_options.cache_clear()
    monkeypatch.setattr(compiler, "_CPU_OPTIONS", {"xla_cpu_no_such_option": True})
    assert compiler.compiler_options(onednn=True) is None
    compiler.compiler_options.cache_clear()


def test_other_platforms_have_none(monkeypatch):
    compiler.compiler_options.cache_clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler.compiler_options(onednn=True) is None
    compiler.compiler_options.cache_clear()


@pytest.mark.parametrize(
    ("name", "duration", "tiles", "onednn"),
    [
        ("crnn", "2000 epochs", True, True),
        ("crnn", "1 epochs", True, False),
        ("crnn,precision=bfloat16", "1 epochs", False, True),
        ("rnn", "2000 epochs", True, False),
        ("rnn,precision=bfloat16", "2000 epochs", False, False),
        ("rnn,precision=bfloat16", "1 epochs", True, True),
    ],
)
def test_onednn_is_for_long_trainings_and_bfloat16(name, duration, tiles, onednn, monkeypatch):
    monkeypatch.setattr("crnn_jax.processor.has_bfloat16_tiles", lambda: tiles)
    config = resolve_config(f"configs/digits.py:{name}", {"duration": duration})
    experiment = build(config, (8, 8, 1), 10, 1437)
    assert experiment.compiler_options == compiler.compiler_options(onednn=onednn)
    in_bfloat16 = "bfloat16" in name
    evaluation = compiler.compiler_options(onednn=onednn and in_bfloat16)
    assert experiment.evaluation_options == evaluation
