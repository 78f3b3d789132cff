"""The keys of section `data`."""

from crnn_jax.config import registries
from crnn_jax.config.key import SHARE, Key, Range, above_0, from_0

_PIXELS = from_0(16384)
DATA_KEYS: dict[str, Key] = {
    "data.source": Key(
        "digits",
        "digits | moving_digits | digit_scenes | tfds:NAME | folder:PATH | csv:FILE | video:PATH | "
        "masks:PATH",
        changes="moved",
    ),
    "data.dir": Key(
        "",
        "folder of TFDS data; empty: $TFDS_DATA_DIR, else TFDS's default folder",
        changes="always",
    ),
    "data.cache_dir": Key(
        "",
        "folder of decoded images and programs; empty: $XDG_CACHE_HOME or ~/.cache/crnn_jax",
        changes="always",
    ),
    "data.pipeline": Key(
        "resident",
        "where the data are: resident (in device memory) or streaming (Grain)",
        choices=registries.pipelines,
    ),
    "data.validation": Key(
        0.0, "fraction of the training split held out for choices", within=SHARE
    ),
    "data.sampling": Key(
        "uniform",
        "which example comes next in training; balanced: of each class as often as of any other, "
        "and an epoch is as many examples as before",
        choices=("uniform", "balanced"),
    ),
    "data.test_fraction": Key(
        0.2, "fraction held out as test split where the source has none of its own", within=SHARE
    ),
    "data.image_size": Key(
        0,
        "side in pixels, or height and width; 0: as stored (all images must then have one size)",
        within=_PIXELS,
        pair=True,
    ),
    "data.max_pixels": Key(
        89_478_485,
        "most pixels of an image or a frame: a file that declares more is corrupt; at most "
        "Pillow's limit",
        within=Range(1, 89_478_485),
    ),
    "data.bit_depth": Key(
        0,
        "how many bits count in 16-bit samples of PNG and TIFF, 9 to 16; 0: all. The upper 8 "
        "of them are read",
        within=Range(0, 16),
    ),
    "data.crop_padding": Key(
        0, "pixels of reflected padding for random translation; 0: none", within=_PIXELS
    ),
    "data.flip": Key(
        "none",
        "horizontal mirror; alternating: from one epoch to the next",
        choices=registries.flips,
    ),
    "data.cutout": Key(0, "side in pixels of a square set to the mean; 0: none", within=_PIXELS),
    "data.crop": Key(
        "none",
        "crop of each image as it is decoded; with data.pipeline=streaming",
        choices=("none", "random_resized", "paper"),
    ),
    "data.crop_min_area": Key(
        0.08, "least area of a random_resized crop, as a fraction of the image", within=above_0(1)
    ),
    "data.short_side": Key(
        0,
        "pixels of the shorter side before paper's and the test's crop; 0: 8/7 of image_size",
        within=_PIXELS,
    ),
    "data.num_frames": Key(
        8,
        "frames of a clip: one from each of as many equal parts of a video",
        within=Range(1, 4096),
    ),
    "data.frames": Key(
        "center",
        "which frame of each part is taken; random (in training) with data.pipeline=streaming",
        choices=("center", "random"),
    ),
    "data.mixup": Key(
        0.0, "alpha of the shares of two images and labels; 0: none", within=from_0(1000)
    ),
    "data.cutmix": Key(
        0.0,
        "alpha of the shares by area; with mixup too, each example has one of them; 0: none",
        within=from_0(1000),
    ),
    "data.erase": Key(0.0, "probability of a rectangle set to the mean", within=from_0(1)),
    "data.rand_augment": Key(0, "operations on the colours of each image", within=Range(0, 16)),
    "data.rand_augment_magnitude": Key(
        9.0, "strength of each of these operations", within=from_0(10)
    ),
    "data.skip_corrupt": Key(False, "keep the place of an unreadable image, with weight 0"),
    "data.num_workers": Key(
        0,
        "decoding processes of the streaming pipeline; 0: threads",
        within=Range(0, 1024),
        changes="always",
    ),
}
