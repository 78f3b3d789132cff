"""The real JPEGs that the input benchmarks decode."""

from crnn_jax.config import default_config
from crnn_jax.data.crops import Crop
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import Source
from crnn_jax.errors import CorruptImageError

SIZE = 224
CROP = Crop("random_resized", SIZE, 256, 0.08, seed=0)


def load(name: str = "tfds:imagenet2012") -> Source:
    """Returns the source, in `$TFDS_DATA_DIR`, with images of 224 pixels."""
    config = default_config("crnn").data
    config.source, config.image_size = name, SIZE
    return load_source(config, 0)


def files(source: Source) -> list[bytes]:
    """Returns every image file of both splits."""
    found: list[bytes] = []
    for split in (source.train, source.test):
        assert split.encoded is not None
        for item in split.encoded(range(len(split))):
            if isinstance(item, CorruptImageError):
                raise item
            found.append(bytes(item.data))
    return found
