"""TSN: one snippet from each segment of the input, a CNN on each, a consensus of their scores."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from crnn_jax.errors import UserError
from crnn_jax.models.frames import is_clip, over_frames
from crnn_jax.models.heads import Output
from crnn_jax.models.trunk import Trunk

Array = jax.Array
CONSENSUSES = ("mean", "max", "learned")  # ways to join the snippets' scores


def segment_bounds(num_offsets: int, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (first, stop): each segment's offsets are first <= offset < stop.

    The offsets 0 .. num_offsets - 1 are cut into `num_segments` intervals as equal as whole numbers
    allow; a segment without an offset of its own takes the one at its start.
    """
    edges = np.arange(num_segments + 1) * num_offsets // num_segments
    first = np.minimum(edges[:-1], num_offsets - 1)
    return first, np.maximum(edges[1:], first + 1)


def centre_offsets(height: int, num_segments: int, snippet_height: float) -> tuple[np.ndarray, int]:
    """Returns (the first row of each snippet of an evaluation, the rows of a snippet).

    Args:
      height: rows of the image.
      num_segments: S.
      snippet_height: as a fraction of the image's height.
    """
    rows = max(1, round(snippet_height * height))
    first, stop = segment_bounds(height - rows + 1, num_segments)
    return (first + stop - 1) // 2, rows


def take_snippets(image_BHWC: Array, offset_BS: Array, height: int) -> Array:
    """Returns video_BFHWC: `height` rows of each image from each of its S offsets."""
    row_BSR = offset_BS[:, :, None] + jnp.arange(height)[None, None, :]
    return jax.vmap(lambda image_HWC, row_SR: image_HWC[row_SR])(image_BHWC, row_BSR)


class TSN(nn.Module):
    """Temporal segment network, on clips or on the vertical segments of a still image.

    Wang et al. 2016, "Temporal Segment Networks: Towards Good Practices for Deep Action
    Recognition": a video is cut into K segments of equal duration, one snippet is drawn from each,
    one CNN scores each, and a segmental consensus of the class scores is classified. A clip's
    frames are its snippets: whoever made the clip has drawn them. A still image has no time: a
    snippet is a horizontal band, and its vertical offset takes the place of time. Training draws
    the offset in each segment, for each image anew; evaluation takes the centre one (they average
    25 frames). The loss is that of the consensus.

    Attributes:
      head: maps a snippet's mean over the last map, (..., D), to logits (..., K).
      num_segments: K, here S in shapes; for a clip S = F.
      snippet_height: height of a snippet, as a fraction of the image's, in (0, 1].
      consensus: how the scores are joined: 'mean', 'max', or 'learned', their weighted average
        sum_k w_k score_k, with one weight a segment that starts at 1 / K and is not normalised.
    """

    trunk: Trunk
    head: nn.Module
    num_segments: int
    snippet_height: float
    consensus: str

    @nn.compact
    def __call__(self, pixels: Array, *, train: bool) -> Output:
        """Returns `logits_BK`, the consensus.

        Args:
          pixels: normalised float images (B, H, W, C), which need the rng 'snippet' to train, or
            clips (B, F, H, W, C).
          train: whether it is a training step.

        Raises:
          UserError: the consensus is 'learned', and a clip has not `num_segments` frames.
        """
        video_BFHWC = pixels if is_clip(pixels) else self._cut(pixels, train=train)
        feature_BSD = over_frames(lambda x: self.trunk(x, train=train).pooled_BD, video_BFHWC)
        return Output(self._reduce(self.head(feature_BSD, train=train)))

    def _cut(self, image_BHWC: Array, *, train: bool) -> Array:
        """Returns video_BFHWC, a snippet from each segment."""
        batch, image_height = image_BHWC.shape[:2]
        offset_S, height = centre_offsets(image_height, self.num_segments, self.snippet_height)
        shape = (batch, self.num_segments)
        if train:
            first, stop = segment_bounds(image_height - height + 1, self.num_segments)
            # One draw for the global batch: an image's offsets depend on no device count.
            offset_BS = jax.random.randint(self.make_rng("snippet"), shape, first[None], stop[None])
        else:
            offset_BS = jnp.broadcast_to(offset_S, shape)
        return take_snippets(image_BHWC, offset_BS, height)

    def _reduce(self, score_BSK: Array) -> Array:
        if self.consensus == "mean":
            return score_BSK.mean(axis=1)
        if self.consensus == "max":
            return score_BSK.max(axis=1)
        if score_BSK.shape[1] != self.num_segments:
            raise UserError(
                "config key 'model.consensus' is 'learned', a weight for each segment: set "
                f"'model.num_segments' to the frames of a clip ({score_BSK.shape[1]}), found "
                f"{self.num_segments}"
            )
        start = nn.initializers.constant(1.0 / self.num_segments)
        weight_S = self.param("consensus_weight", start, (self.num_segments,), jnp.float32)
        return jnp.einsum("bsk,s->bk", score_BSK, weight_S)
