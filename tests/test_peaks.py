"""Peaks are published ones or none."""

import pytest

from crnn_jax.peaks import PEAKS, peak_flops


@pytest.mark.parametrize(
    ("kind", "precision", "matmul_precision", "expected"),
    [
        ("NVIDIA H200", "bfloat16", None, 989.5e12),
        ("NVIDIA H200", "float32", None, 494.5e12),  # TF32 is JAX's default there
        ("NVIDIA H200", "float32", "highest", 67e12),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", None, 312e12),
        ("TPU v5 lite", "float32", None, 197e12),  # one pass in bfloat16
        ("TPU v5 lite", "float32", "highest", None),  # nothing is published
        ("TPU v4", "bfloat16", None, 275e12),
        ("NVIDIA H200", "float32", "BF16_BF16_F32_X3", None),
        ("cpu", "float32", None, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bfloat16", None, None),  # a seventh of a device
    ],
)
def test_peaks(kind, precision, matmul_precision, expected):
    assert peak_flops(kind, precision, matmul_precision) == expected


@pytest.mark.parametrize("kind", PEAKS)
def test_less_precision_is_faster(kind):
    peak = PEAKS[kind]
    assert 1e13 < peak.bf16 < 1e16  # FLOP/s and not TFLOP/s
    if peak.tf32 is not None and peak.f32 is not None:
        assert peak.bf16 > peak.tf32 > peak.f32
