"""A training step with memory from malloc in four ways (crnn_jax/huge_pages.py), on a Linux CPU.

    python benchmarks/huge_pages.py [--config FILE:MODEL] [--repeats 3] [--write]

Starts one process after the other: as glibc is (plain), with huge pages (huge), with one heap of
them that is kept but for blocks of 64 MiB and more, which leave no holes then and are fresh at each
step (mapped: ours), and with one heap of all below 1 GiB (kept). Each takes 8 steps on one constant
batch. Prints the median seconds and page faults of a step and the ratio, plain over mapped.
--write appends a JSON line to results/benchmarks/huge_pages.jsonl.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

from crnn_jax.huge_pages import SETTING

SETTINGS = {
    "mapped": SETTING,
    "kept": SETTING.replace("mmap_threshold=67108864", "mmap_threshold=1073741824"),
    "huge": "glibc.malloc.hugetlb=1",
    "plain": "glibc.malloc.hugetlb=0",
}
STEPS, WARM_UP = 8, 2


def measure(config_name: str) -> dict[str, float]:
    """Returns {"seconds", "page_faults"} of a step in this process."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from crnn_jax.flags import resolve_config
    from crnn_jax.train.experiment import build, enable_compile_cache
    from crnn_jax.train.step import make_train_step

    config = resolve_config(config_name, {"mesh.data": "1"})
    enable_compile_cache(config)
    experiment = build(config, (32, 32, 3), 10, 50_000)
    size = config.batch_size
    batch: Any = {
        "image": jnp.zeros((size, 32, 32, 3), jnp.uint8),
        "label": jnp.arange(size, dtype=jnp.int32) % 10,
        "weight_B": jnp.ones(size),
        "epoch_B": jnp.zeros(size, jnp.int32),
        "example_B": jnp.arange(size, dtype=jnp.int32),
    }
    step = jax.jit(
        make_train_step(
            experiment.model,
            experiment.task,
            experiment.optimizer,
            lambda inputs, step: inputs,
            ema_decay=0.0,
        ),
        donate_argnums=0,
        compiler_options=experiment.compiler_options,
    )
    state = experiment.init_state({"mean_C": np.zeros(3), "std_C": np.ones(3)})
    start, faults = 0.0, 0
    for index in range(WARM_UP + STEPS):
        if index == WARM_UP:
            start = time.perf_counter()
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        state, _ = step(state, experiment.task.empty(), batch)
        jax.block_until_ready(state)
    seconds = (time.perf_counter() - start) / STEPS
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"seconds": seconds, "page_faults": faults / STEPS}


def main() -> None:
    """Starts the processes, prints the ratio and appends it where asked."""
    from timing import PLAIN_CONFIG, append, spread

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=PLAIN_CONFIG)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    parser.add_argument("--child", action="store_true", help="measure in this process")
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(measure(flags.config)))
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(flags.repeats):
        for name, setting in SETTINGS.items():
            command = [sys.executable, __file__, "--child", f"--config={flags.config}"]
            env = {**os.environ, "GLIBC_TUNABLES": setting}
            out = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            runs[name].append(json.loads(out.stdout))
    found = {
        name: {key: spread([run[key] for run in of]) for key in ("seconds", "page_faults")}
        for name, of in runs.items()
    }
    for name, values in found.items():
        seconds, faults = values["seconds"][1], values["page_faults"][1]
        print(f"{name:6} {seconds:.3f} s  {faults:,.0f} page faults a step")
    ratio = found["plain"]["seconds"][1] / found["mapped"]["seconds"][1]
    print(f"with our setting a step is {ratio:.2f} times as fast")
    if flags.write:
        setting = {"config": flags.config, "repeats": flags.repeats, "unit": "[min, median, max]"}
        append("huge_pages", {**setting, **found, "ratio": ratio})


if __name__ == "__main__":
    main()
