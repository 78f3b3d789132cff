"""What XLA's compiler is told beside the program."""

import functools

import jax

# Measured (docs/performance.md): of the libraries in XLA for CPUs, oneDNN has the fastest
# convolutions and YNNPACK, the default for both, the fastest products and sums.
_CPU_OPTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_onednn_custom_call": True,
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{name}" for name in ("DOT", "INDIVIDUAL_DOT", "REDUCE")
    ),
}


@functools.cache
def compiler_options() -> dict[str, str | bool] | None:
    """Returns `jax.jit`'s compiler_options for a model's programs; None but on a CPU."""
    if jax.default_backend() != "cpu":
        return None
    try:  # Experimental: a version of XLA that no longer has them must train as well.
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return None
    return _CPU_OPTIONS
