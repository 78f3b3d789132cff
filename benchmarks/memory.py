"""The resident memory of a training on a Linux CPU, phase by phase, beside what XLA plans for it.

    python benchmarks/memory.py [--config FILE:MODEL] [--steps 12] [--write] [--config.K=V ...]

Starts a training of a few steps in a process of its own, as `python -m crnn_jax.main` would, with
the program of a long one (convolutions by oneDNN) and its evaluation at the end. A phase's peak is
the largest resident memory of the whole process while it lasts: Python, JAX, the data and the
compiler's programs included. The plan is `memory_analysis()` of the compiled program: arguments,
outputs that are no argument's, temporaries.
--malloc=plain, huge or kept measures another setting than ours (benchmarks/huge_pages.py).
--write appends a JSON line to results/benchmarks/memory.jsonl.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from huge_pages import SETTINGS
from steady import peak_resident_bytes, reset_peak

GB = 10**9
CONFIG = "configs/cifar10.py:crnn_small"


def planned_bytes(compiled: Any) -> int:
    """Returns what a compiled program needs at once, as XLA plans it."""
    plan = compiled.memory_analysis()
    outputs = plan.output_size_in_bytes - plan.alias_size_in_bytes
    return plan.argument_size_in_bytes + outputs + plan.temp_size_in_bytes


def measure(config_name: str, overrides: dict[str, str]) -> dict[str, Any]:
    """Returns {"plan", "peak", "images_per_second"} of a training in this process; bytes."""
    from crnn_jax.flags import resolve_config
    from crnn_jax.train import experiment as experiment_module
    from crnn_jax.train import loop

    experiment_module.ONEDNN_FLOPS = 0.0  # however few the steps are
    plan: dict[str, int] = {}
    peak: dict[str, int] = {}

    def end(phase: str) -> None:
        peak[phase] = peak_resident_bytes()
        reset_peak()

    compile_step, evaluate, evaluator_of = loop.compile_step, loop.evaluate, loop.evaluator_of

    def noted_compile(*arguments: Any) -> Any:
        end("setup")
        step: Any = compile_step(*arguments)
        end("compilation")
        plan["training"] = planned_bytes(step)
        return step

    def noted_evaluate(experiment: Any, dataset: Any, split: str, state: Any) -> Any:
        end("steps")
        results = evaluate(experiment, dataset, split, state)
        end("evaluation")
        evaluator = evaluator_of(experiment, dataset, split)
        arguments = next(iter(evaluator.pipeline.eval_inputs()))
        program: Any = evaluator.count
        compiled = program.lower(state, evaluator.empty, *arguments).compile()
        plan["evaluation"] = planned_bytes(compiled)
        reset_peak()
        return results

    loop.compile_step, loop.evaluate = noted_compile, noted_evaluate
    with tempfile.TemporaryDirectory() as workdir:
        result = loop.train(resolve_config(config_name, overrides), workdir)
    return {"plan": plan, "peak": peak, "images_per_second": result["images_per_second"]}


def measure_apart(arguments: list[str], tunables: str) -> dict[str, Any]:
    """Returns `measure` of a process of its own with this setting of malloc."""
    command = [sys.executable, str(pathlib.Path(__file__)), "--child", *arguments]
    env = {**os.environ, "GLIBC_TUNABLES": tunables}
    out = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def main() -> None:
    """Measures a training, prints its phases and appends them where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--malloc", choices=list(SETTINGS), default="mapped")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    parser.add_argument("--child", action="store_true", help="measure in this process")
    flags, rest = parser.parse_known_args()
    if flags.child:
        from crnn_jax.flags import parse_overrides

        overrides = {"duration": f"{flags.steps} steps", "log.tracker": "none"}
        print(json.dumps(measure(flags.config, {**overrides, **parse_overrides(rest)})))
        return
    setting = [f"--config={flags.config}", f"--steps={flags.steps}", *rest]
    found = measure_apart(setting, SETTINGS[flags.malloc])
    for phase, size in found["peak"].items():
        print(f"{phase:12} {size / GB:6.2f} GB")
    for phase, size in found["plan"].items():
        print(f"plan of {phase:12} {size / GB:6.2f} GB")
    plan, most = found["plan"]["training"], max(found["peak"].values())
    print(f"peak / plan {most / plan:.2f}; 1.5 x plan + 1 GB is {1.5 * plan / GB + 1:.2f} GB")
    print(f"{found['images_per_second']:,.0f} images/s")
    if flags.write:
        from timing import append

        text = " ".join([flags.config, f"{flags.steps} steps", *rest])
        append("memory", {"setting": text, "malloc": flags.malloc, **found})


if __name__ == "__main__":
    main()
