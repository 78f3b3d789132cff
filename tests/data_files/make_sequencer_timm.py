"""Writes sequencer_timm.npz: a tiny Sequencer2D of timm with random weights, and what it computes.

    pip install -e ".[bench]"
    python tests/data_files/make_sequencer_timm.py

Three stages, so that all there is of downsampling occurs (a stem, a 2 x 2 and a 1 x 1), and images
that are wider than high, so that columns and rows cannot be confused. Every weight is random: the
head's would be zero. The stem's are so small that the epsilon of the first LayerNorm shows. The
file holds the weights under timm's names, "image_BHWC", "feature_BHWC" (after the last norm) and
"logits_BK".
"""

import pathlib

import numpy as np
import timm  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]
from timm.models.sequencer import Sequencer2d  # pyright: ignore[reportMissingImports]

PATH = pathlib.Path(__file__).with_name("sequencer_timm.npz")
SETTINGS = {
    "layers": (2, 1, 1),
    "patch_sizes": (3, 2, 1),
    "embed_dims": (8, 16, 12),
    "hidden_sizes": (2, 4, 3),
    "mlp_ratios": (2.5, 2.5, 2.5),
    "num_classes": 5,
}


def main() -> None:
    """Writes the file."""
    random = np.random.default_rng(0)
    model = Sequencer2d(**SETTINGS).eval()
    weights = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            noise = random.normal(size=tuple(tensor.shape))
            noise *= 5e-4 if name.startswith("stem") else 0.5
            is_scale = "norm" in name and name.endswith("weight")
            tensor.copy_(torch.tensor(noise + is_scale))
    image_BHWC = random.normal(size=(2, 12, 18, 3)).astype(np.float32)
    with torch.no_grad():
        feature = model.forward_features(torch.tensor(image_BHWC).permute(0, 3, 1, 2))
        logits = model.forward_head(feature)
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    arrays |= {
        "image_BHWC": image_BHWC,
        "feature_BHWC": feature.numpy(),
        "logits_BK": logits.numpy(),
    }
    np.savez_compressed(PATH, allow_pickle=False, **arrays)
    print(f"{PATH}: timm {timm.__version__}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
