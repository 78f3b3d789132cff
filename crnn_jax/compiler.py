"""What XLA's compiler is told beside the program."""

import functools
import warnings

import jax

# Measured (docs/performance.md): YNNPACK, the default of XLA's libraries for CPUs, has the
# fastest sums and the slowest convolutions; oneDNN has the fastest convolutions, and where it is
# asked for takes every product that YNNPACK does not, at a lower rate. Without it products are
# Eigen's, the fastest ones.
_CPU_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
_ONEDNN: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{name}" for name in ("DOT", "INDIVIDUAL_DOT", "REDUCE")
    ),
    "xla_cpu_experimental_onednn_custom_call": True,
}
_UNCACHED = "Error writing persistent compilation cache entry"


@functools.cache
def compiler_options(*, onednn: bool) -> dict[str, str | bool] | None:
    """Returns `jax.jit`'s compiler_options for a model's programs; None but on a CPU.

    Args:
      onednn: convolutions by oneDNN, products by YNNPACK. XLA cannot write such a program to the
        compile cache, so that each start compiles it again.
    """
    if jax.default_backend() != "cpu":
        return None
    options = {**_CPU_OPTIONS, **(_ONEDNN if onednn else {})}
    try:  # Experimental: a version of XLA that no longer has them must train as well.
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    if onednn:
        warnings.filterwarnings("ignore", message=_UNCACHED)  # known, and the run goes on
    return options
