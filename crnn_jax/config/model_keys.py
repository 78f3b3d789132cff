"""The keys of each model, `config.model`: the fields of its Flax module."""

from collections.abc import Sequence
from dataclasses import replace

from crnn_jax.config import registries
from crnn_jax.config.key import SHARE, Key, Range, above_0
from crnn_jax.errors import UserError

_IMAGE_SHARE = above_0(1)
_TRUNK = {
    "width": Key(64, "channels of the first stage", within=Range(1, 8192)),
    "stage_multipliers": Key(
        (1, 2, 4),
        "channels of each stage / width; each stage halves the map",
        within=above_0(1024),
    ),
    "num_conv_layers": Key(
        6, "3x3 convolutions in all, spread evenly over the stages", within=Range(1, 256)
    ),
    "norm": Key(True, "BatchNorm after each convolution"),
    "norm_momentum": Key(
        0.9,
        "share of BatchNorm's running statistics that stays each step; short runs need less",
        within=SHARE,
    ),
    "norm_scale": Key(True, "trained scale of BatchNorm, beside its trained bias"),
    "activation": Key("relu", "function after each convolution", choices=registries.activations),
    "conv_init": Key(
        "he_normal",
        "start of the kernels; dirac: the first channels start as the identity",
        choices=registries.conv_inits,
    ),
    "whiten_size": Key(
        0,
        "patch side of a fixed whitening layer before all others; 0: none; airbench: 2",
        within=Range(0, 16),
    ),
}
_IMPLEMENTATION = Key(
    "auto",
    "auto: measured fastest, chosen when the run starts | scan | hoisted (input projection of all "
    "steps in one matmul) | associative (all steps at once; mingru alone) | fused (all steps in "
    "one kernel; gru on a GPU, elsewhere as hoisted)",
    choices=registries.implementations,
    auto="auto",
)
_RECURRENT = {
    "cell": Key(
        "gru",
        "elman (Eq. 1) | gru | gru_cho (reset gate before the matmul) | lstm | mingru",
        choices=registries.cells,
    ),
    "hidden_units": Key(256, "units N of each layer and direction", within=Range(1, 65536)),
    "num_recurrent_layers": Key(
        1, "recurrent layers; each reads the states of the one before", within=Range(1, 64)
    ),
    "bidirectional": Key(False, "a second layer reads from the last step to the first"),
    "implementation": _IMPLEMENTATION,
    "remat": Key(False, "compute steps again in the backward pass: less memory for long sequences"),
}
_STEP_ORDER = {
    "step_order": Key(
        "natural",
        "order of the steps in the recurrence: natural | fixed (one shuffle for all) | "
        "per_image (another for each image, in each epoch)",
        choices=registries.step_orders,
    )
}
_READOUT = {
    "readout": Key(
        "last",
        "what is read of the recurrent states: last (the paper's) | mean | attention (Bahdanau et "
        "al. 2014)",
        choices=registries.readouts,
    )
}
_HEAD = {
    "dropout": Key(
        0.0, "probability of dropout before the last fully connected layer", within=SHARE
    ),
    "logit_scale": Key(
        1.0, "factor on the scores of the last fully connected layer", within=above_0(1e6)
    ),
}

_MOST_BLOCKS = 64  # each is compiled for itself; Sequencer2D-L has 36


def _check_blocks(name: str, depths: Sequence[int]) -> None:
    if sum(depths) > _MOST_BLOCKS:
        raise UserError(
            f"config key '{name}' expects at most {_MOST_BLOCKS} blocks in all, found {sum(depths)}"
        )


# Blocks of each stage of Sequencer2D-S, -M and -L; all else is the same in the three.
SEQUENCER_DEPTHS = {"s": (4, 3, 8, 3), "m": (4, 3, 14, 3), "l": (8, 8, 16, 4)}

MODEL_KEYS: dict[str, dict[str, Key]] = {
    "cnn": {**_TRUNK, **_HEAD},
    "rnn": {
        **_RECURRENT,
        **_READOUT,
        **_HEAD,
        **_STEP_ORDER,
        "tokens": Key("rows", "what a step reads of the image", choices=registries.tokens),
        "patch_size": Key(4, "side of a patch in pixels", within=Range(1, 4096)),
    },
    "rnn_deep": {
        "cell": _RECURRENT["cell"],
        "hidden_units": replace(_RECURRENT["hidden_units"], default=128),
        "patch_sizes": Key(
            (2, 2),
            "side of each layer's patches; the first are of pixels",
            within=Range(1, 4096),
            whole=True,
        ),
        "implementation": _IMPLEMENTATION,
        **_HEAD,
    },
    "lrcn": {
        **_TRUNK,
        **_RECURRENT,
        **_READOUT,
        **_HEAD,
        **_STEP_ORDER,
        "cell": replace(_RECURRENT["cell"], default="lstm"),
        "num_frames": Key(4, "T overlapping bands of the image", within=Range(1, 256)),
        "frame_height": Key(
            0.5, "height of a band, as a fraction of the image's", within=_IMAGE_SHARE
        ),
    },
    "tsn": {
        **_TRUNK,
        **_HEAD,
        "num_segments": Key(3, "K, of which each gives one snippet", within=Range(1, 256)),
        "snippet_height": Key(
            0.5, "height of a snippet, as a fraction of the image's", within=_IMAGE_SHARE
        ),
        "consensus": Key(
            "mean",
            "how the snippets' scores are joined",
            choices=registries.consensuses,
        ),
    },
    "crnn": {
        **_TRUNK,
        **_RECURRENT,
        **_READOUT,
        **_HEAD,
        **_STEP_ORDER,
        "sequence": Key(
            "rows",
            "what a step reads of the last map; raster: one cell, row by row",
            choices=registries.sequences,
        ),
    },
    "sequencer": {
        "depths": Key(
            SEQUENCER_DEPTHS["s"],
            f"blocks of each stage, at most {_MOST_BLOCKS} in all",
            within=Range(1, _MOST_BLOCKS),
            whole=True,
            check=_check_blocks,
        ),
        "channels": Key(
            (192, 384, 384, 384),
            "C of each stage; a recurrent layer has C / 4 units in each direction",
            within=Range(1, 8192),
            whole=True,
        ),
        "patch_sizes": Key(
            (7, 2, 1, 1),
            "side of each stage's patches; the first are of pixels",
            within=Range(1, 4096),
            whole=True,
        ),
        "mlp_ratio": Key(3.0, "hidden width of a block's MLP / C", within=above_0(64)),
        "stochastic_depth": Key(
            0.0,
            "probability, in training, that an image skips a half of a block",
            within=SHARE,
        ),
        "cell": replace(_RECURRENT["cell"], default="lstm"),
        "implementation": _IMPLEMENTATION,
        **_HEAD,
    },
    "reseg": {
        **_TRUNK,
        "cell": _RECURRENT["cell"],
        "hidden_units": replace(_RECURRENT["hidden_units"], default=64),
        "patch_sizes": Key(
            (1,),
            "side of each layer's patches; the first are of the trunk's last map",
            within=Range(1, 4096),
            whole=True,
        ),
        "implementation": _IMPLEMENTATION,
        "decoder_width": Key(16, "channels at the image's size", within=Range(1, 8192)),
        **_HEAD,
    },
}
