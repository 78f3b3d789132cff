"""The keys of section `optim`."""

from crnn_jax.config import registries
from crnn_jax.config.durations import check_duration
from crnn_jax.config.key import SHARE, Key, Range, above_0, from_0
from crnn_jax.data import class_weights

_RATE = Range(1e-18, 1e18)  # two rates, one divided by the other, fit float32
_MULTIPLIER = above_0(1e6)
OPTIM_KEYS: dict[str, Key] = {
    "optim.name": Key(
        "adamw",
        "muon is for matrices; all else, and the head, is adamw's then",
        choices=registries.optimizers,
    ),
    "optim.learning_rate": Key(1e-3, "peak learning rate", within=_RATE, changes="rescue"),
    "optim.schedule": Key(
        "cosine", "course of the learning rate after the warm-up", choices=registries.schedules
    ),
    "optim.warmup": Key(
        "0 steps",
        "duration in which the learning rate rises from 0, linearly",
        check=check_duration,
    ),
    "optim.weight_decay": Key(
        0.0,
        "decoupled for adamw and muon, L2 for sgd; never on norms and biases",
        within=from_0(1e6),
    ),
    "optim.bias_learning_rate_multiplier": Key(
        1.0, "factor on the learning rate of biases, those of norms included", within=_MULTIPLIER
    ),
    "optim.head_learning_rate_multiplier": Key(
        1.0,
        "factor on the learning rate of the last fully connected layer's matrix",
        within=_MULTIPLIER,
    ),
    "optim.momentum": Key(0.9, "momentum of sgd and muon", within=SHARE),
    "optim.nesterov": Key(True, "Nesterov momentum of sgd and muon"),
    "optim.muon_iterations": Key(5, "Newton-Schulz iterations of muon", within=Range(1, 100)),
    "optim.muon_adamw_learning_rate": Key(
        1e-3,
        "peak learning rate of muon's adamw, on the same schedule",
        within=_RATE,
        changes="rescue",
    ),
    "optim.b1": Key(0.9, "decay of the first moment of adam and adamw", within=SHARE),
    "optim.b2": Key(0.999, "decay of the second moment of adam and adamw", within=SHARE),
    "optim.lookahead_steps": Key(
        0,
        "steps between averages of the slow weights with the fast ones; 0: none",
        within=Range(0, 10**6),
    ),
    "optim.lookahead_alpha": Key(
        0.5, "how far the slow weights move to the fast ones", within=above_0(1)
    ),
    "optim.lookahead_ramp": Key(
        0.0,
        "alpha falls to that from 1, as (step / steps)^ramp; 0: constant",
        within=from_0(1000),
    ),
    "optim.clip_norm": Key(
        0.0, "largest global gradient norm; 0: none", within=from_0(1e30), changes="rescue"
    ),
    "optim.skip_nonfinite": Key(
        0,
        "greatest number of updates in a row that are skipped, and counted, because they would "
        "leave NaN or inf; 0: none",
        within=Range(0, 10**6),
        changes="rescue",
    ),
    "optim.label_smoothing": Key(0.0, "share of the target given to all classes", within=SHARE),
    "optim.class_weights": Key(
        "none",
        "weights of the loss; balanced: each class counts as much, however few examples it has; "
        "cat:2,dog:1: by name, 1 for all others",
        check=class_weights.check,
    ),
    "optim.accumulation_steps": Key(
        1,
        "equal parts of a batch whose gradients are added, one at a time",
        within=Range(1, 65536),
    ),
    "optim.ema_decay": Key(
        0.0,
        "decay of the average of parameters and batch statistics, per step; 0: no average",
        within=SHARE,
    ),
}
