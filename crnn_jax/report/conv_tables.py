"""The table of benchmarks/conv_gradient.py."""

import pathlib

from crnn_jax.report.speed_tables import newest_machine, read_records, where


def conv_gradient_table(results: pathlib.Path, dtype: str) -> str:
    """Returns the median GFLOP/s of each shape."""
    every = read_records(results, "conv_gradient", "shape", "dtype")
    records = newest_machine([record for record in every if record["dtype"] == dtype])
    passes = ("forward", "image_grad", "kernel_grad")
    winograd = "kernel_grad_winograd"  # beside ours where ours is another
    more = " Winograd |" * (winograd in records[-1])
    lines = [
        "| H=W, in, out | forward, XLA | ours | input gradient, XLA | ours | weight gradient, XLA "
        f"| ours | ours / XLA |{more}",
        "|---|---|---|---|---|---|---|---|" + "---|" * bool(more),
    ]
    for record in records:
        shape = ", ".join(map(str, record["shape"]))
        xla = [  # older records have it by its defaults alone
            max(record[key][1] for key in (f"{name}_xla", f"{name}_onednn") if key in record)
            for name in passes
        ]
        ours = [record[f"{name}_ours"][1] for name in passes]
        rates = " | ".join(f"{a:.0f} | {b:.0f}" for a, b in zip(xla, ours, strict=True))
        last = f" {record[winograd][1]:.0f} |" if more else ""
        lines.append(f"| {shape} | {rates} | {record['ratio']:.1f} |{last}")
    last = records[-1]
    measured = f"batch {last['batch']}; matmul of 2048: {last['matmul'][1]:.0f} GFLOP/s"
    return "\n".join([*lines, "", f"Median GFLOP/s, {measured}. {where(last)}."])
