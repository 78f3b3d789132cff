"""The keys of a run as a whole, and of the sections `eval`, `checkpoint`, `log` and `mesh`."""

from crnn_jax.config import registries
from crnn_jax.config.durations import check_duration, profile_window
from crnn_jax.config.key import Former, Key, Range, above_0, from_0

_BATCH = Range(0, 2**24)
_DEVICES = 2**16
RUN_KEYS: dict[str, Key] = {
    "seed": Key(
        0,
        "initialisation, order, augmentation, dropout and held-out splits",
        within=Range(0, 2**32 - 1),
    ),
    "task": Key("classification", "what is learned", choices=registries.tasks),
    "batch_size": Key(
        128,
        "examples of a step, over all devices and processes; 0: from batch_size_per_device",
        within=_BATCH,
    ),
    "batch_size_per_device": Key(
        0,
        "examples on each device of the axes data and fsdp; one of the two sizes must be 0",
        within=_BATCH,
    ),
    "duration": Key(
        "10 epochs",
        "length of the training: N epochs | N steps | N examples",
        check=check_duration,
        changes="longer",
    ),
    "precision": Key(
        "float32",
        "number format of the computation; parameters stay float32. auto: bfloat16 where the "
        "device multiplies it faster, chosen when the run starts",
        choices=("float32", "bfloat16", "auto"),
        auto="auto",
        program=False,
    ),
    "reproducible": Key(
        False, "equal bits on any number of devices of one kind (train/reproducible.py)"
    ),
    "logical_shards": Key(
        8,
        "parts of a batch, where reproducible: a multiple of the devices",
        within=Range(1, _DEVICES),
    ),
    "steps_per_dispatch": Key(
        0,
        "optimizer steps in one program (a scan), with resident data; 0: chosen for the device "
        "when the run starts. All durations but the warm-up are rounded up to a multiple of it",
        within=Range(0, 10**6),
        auto=0,
        absent=1,
    ),
    "compile_cache": Key(
        True, "keep compiled programs on disk, under data.cache_dir", changes="always"
    ),
}
REPORT_KEYS: dict[str, Key] = {
    "eval.every": Key(
        "1 epochs",
        'time between evaluations on the validation part; "0 steps": only at the end',
        check=check_duration,
        changes="always",
    ),
    "eval.patience": Key(
        0,
        "validations in a row without a better score after which training ends; 0: it does not",
        within=Range(0, 10**6),
    ),
    "eval.batch_size": Key(
        500, "examples at a time, over all devices", within=Range(1, 2**24), changes="always"
    ),
    "eval.weights": Key(
        "last", "which weights are evaluated and reported", choices=("last", "ema")
    ),
    "eval.tta": Key(
        "none",
        "a second accuracy, with test-time augmentation",
        choices=registries.views,
    ),
    "eval.report": Key(
        "test",
        "split that is evaluated at the end; choices must use validation",
        choices=("test", "validation"),
    ),
    "checkpoint.every": Key(
        "1 epochs",
        'time between checkpoints; one more after the last step; "0 steps": only that',
        check=check_duration,
        changes="always",
    ),
    "checkpoint.keep_latest": Key(
        2, "how many of the newest checkpoints are kept", within=Range(1, 10**6), changes="always"
    ),
    "checkpoint.keep_best": Key(
        True, "also keep the best on the validation part", changes="always"
    ),
    "log.every": Key(
        "50 steps",
        'time between lines of metrics.jsonl and of the tracker; "0 steps": with checkpoints and '
        "at the end",
        check=check_duration,
        changes="always",
    ),
    "log.seconds": Key(
        5.0,
        "seconds between progress lines where stdout is no terminal",
        within=above_0(1e9),
        changes="always",
    ),
    "log.tracker": Key(
        "tensorboard",
        "what keeps a record of the run, beside metrics.jsonl (docs/tracking.md)",
        choices=registries.trackers,
        changes="always",
        former=Former("log.tensorboard", {True: "tensorboard", False: "none"}),
    ),
    "log.profile": Key(
        "",
        '"10:20": trace these steps, counted from the start or resume; empty: none',
        check=lambda key, text: profile_window(text, key),
        changes="always",
    ),
    "mesh.data": Key(
        -1,
        "devices that split the batch and hold all parameters; -1: all that are left",
        within=Range(-1, _DEVICES),
        changes="always",
    ),
    "mesh.fsdp": Key(
        1,
        "devices that split the batch, the parameters and the optimizer's state",
        within=Range(1, _DEVICES),
        changes="always",
    ),
    "mesh.model": Key(
        1,
        "devices that split wide recurrent and dense weights",
        within=Range(1, _DEVICES),
        changes="always",
    ),
    "mesh.explain": Key(
        False, "print the sharding and the bytes a device of every array", changes="always"
    ),
    "mesh.stuck_seconds": Key(
        600.0,
        "end a process that makes no step, or waits for a batch of an evaluation, for so long; 0: "
        "never",
        within=from_0(1e9),
        changes="always",
    ),
}
