"""The part of each example that a run decodes, by its config."""

from ml_collections import ConfigDict

from crnn_jax.data.crops import make_crop
from crnn_jax.data.frames import Frames
from crnn_jax.data.reading import View
from crnn_jax.errors import UserError


def make_view(config: ConfigDict) -> View | None:
    """Returns the view of training; None where examples are decoded as their source gives them.

    Raises:
      UserError: a crop of videos, or random frames of anything else or of resident data.
    """
    data = config.data
    is_video = data.source.startswith("video:")
    if is_video and data.crop != "none":
        raise UserError(
            f"config key 'data.crop' expects 'none' for the videos of '{data.source}', found "
            f"'{data.crop}'"
        )
    if data.frames == "center":
        return make_crop(config)
    if not is_video:
        raise UserError(
            f"config key 'data.frames' is '{data.frames}': set 'data.source' to video:PATH, found "
            f"'{data.source}', or it to 'center'"
        )
    if data.pipeline != "streaming":
        raise UserError(
            f"config key 'data.frames' is '{data.frames}', other frames of each video in each "
            f"epoch: set 'data.pipeline' to 'streaming', found '{data.pipeline}'"
        )
    return Frames(data.frames, config.seed, data.max_pixels)
