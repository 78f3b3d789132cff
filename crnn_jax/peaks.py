"""Published peak rates of devices: what a measured rate is a fraction of. Unknown stays unknown."""

from typing import NamedTuple


class Peak(NamedTuple):
    """Dense products without sparsity, in FLOP/s; None where the maker publishes no figure."""

    bf16: float
    tf32: float | None  # what JAX's default precision makes of float32 on a GPU
    f32: float | None


# By the exact `device_kind` that JAX reports, so that a part with another clock, or a slice of a
# device, is unknown and not taken for its neighbour. NVIDIA prints tensor-core rates with sparsity
# since Hopper (and for the L4 and L40S): halved here.
PEAKS: dict[str, Peak] = {}
for _kinds, _peak in (
    # NVIDIA A100 data sheet (2021): 312, 156, 19.5 TFLOP/s, SXM and PCIe alike.
    (
        "NVIDIA A100-SXM4-40GB|NVIDIA A100-SXM4-80GB|NVIDIA A100-PCIE-40GB|NVIDIA A100 80GB PCIe",
        Peak(312e12, 156e12, 19.5e12),
    ),
    # NVIDIA A10 data sheet (2021): 125, 62.5, 31.2. The A10G is another part.
    ("NVIDIA A10", Peak(125e12, 62.5e12, 31.2e12)),
    # NVIDIA L4 data sheet (2023): 242 and 120 with sparsity, 30.3.
    ("NVIDIA L4", Peak(121e12, 60e12, 30.3e12)),
    # NVIDIA L40S data sheet (2023): 362 and 183 dense, 91.6.
    ("NVIDIA L40S", Peak(362e12, 183e12, 91.6e12)),
    # NVIDIA H100 data sheet (2023), SXM: 1,979 and 989 with sparsity, 67.
    ("NVIDIA H100 80GB HBM3", Peak(989.5e12, 494.5e12, 67e12)),
    # The same for PCIe: 1,513 and 756 with sparsity, 51; and NVL: 1,671, 835, 60.
    ("NVIDIA H100 PCIe", Peak(756.5e12, 378e12, 51e12)),
    ("NVIDIA H100 NVL", Peak(835.5e12, 417.5e12, 60e12)),
    # NVIDIA GH200 data sheet (2023), 96 GB of HBM3: 1,979 and 989 with sparsity, 67.
    ("NVIDIA GH200 480GB", Peak(989.5e12, 494.5e12, 67e12)),
    # NVIDIA H200 data sheet (2024), SXM: as the H100's; NVL: 1,671, 835, 60.
    ("NVIDIA H200", Peak(989.5e12, 494.5e12, 67e12)),
    ("NVIDIA H200 NVL", Peak(835.5e12, 417.5e12, 60e12)),
    # NVIDIA Blackwell data sheet (2024), a GPU of the HGX B200: 4,500 and 2,200 with sparsity, 75.
    ("NVIDIA B200", Peak(2250e12, 1100e12, 75e12)),
    # Google Cloud documentation, "TPU architecture", peak compute of a chip: v4 275, v5e 197,
    # v5p 459, v6e 918. JAX has one device a chip from v4 on. TPU v2, v3 (a device a core) and
    # Ironwood (two devices a chip) are left out.
    ("TPU v4", Peak(275e12, None, None)),
    ("TPU v5 lite|TPU v5e", Peak(197e12, None, None)),
    ("TPU v5|TPU v5p", Peak(459e12, None, None)),
    ("TPU v6 lite|TPU v6e", Peak(918e12, None, None)),
):
    PEAKS |= dict.fromkeys(_kinds.split("|"), _peak)

_FULL_FLOAT32 = ("highest", "float32")


def peak_flops(
    device_kind: str, precision: str, matmul_precision: str | None = None
) -> float | None:
    """Returns the published peak of one device in FLOP/s, None where it is not known.

    Args:
      device_kind: as JAX reports it.
      precision: "bfloat16" or "float32", of the operands.
      matmul_precision: `jax_default_matmul_precision`. By default a float32 product runs in TF32 on
        a GPU and in one bfloat16 pass on a TPU, and that unit's peak counts.
    """
    peak = PEAKS.get(device_kind)
    if peak is None:
        return None
    if precision == "bfloat16":
        return peak.bf16
    if matmul_precision in _FULL_FLOAT32:
        return peak.f32
    if matmul_precision in (None, "default"):
        return peak.bf16 if device_kind.startswith("TPU") else peak.tf32
    return None
