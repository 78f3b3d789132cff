"""Clips of handwritten digits that move in a circle: the class is the motion, and only the motion.

Made from the embedded digits; no download.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from crnn_jax.data.decode import resize_and_crop
from crnn_jax.data.digits import choose_test, read_digits
from crnn_jax.data.fields import Example
from crnn_jax.data.splits import Source, Split, fingerprint, labelled, labelled_fields
from crnn_jax.errors import UserError

CANVAS = 16  # pixels of each side; what leaves it comes in again on the other side
NUM_FRAMES = 8
# Places on the circle, row and column from its middle; clockwise from the top, as rows grow down.
CIRCLE = np.array([(-4, 0), (-3, 3), (0, 4), (3, 3), (4, 0), (3, -3), (0, -4), (-3, -3)])
# From one frame to the next, in places. All are odd, so that each motion visits each place once.
MOTIONS = {"clockwise": 1, "anticlockwise": -1, "clockwise_fast": 3, "anticlockwise_fast": -3}
_MAKING = 1  # raise it when the pixels change
_START_TAG = 4  # keeps these random numbers apart from those of the seed's other uses


def load(location: str, data_config: Any, seed: int) -> Source:
    """Returns clips (8, 16, 16, 1) of one digit each, with the class names `MOTIONS`.

    Each digit gives one clip of each class, and they start alike: at a uniformly random middle of
    the circle and place on it. So the four clips of a digit consist of the same frames in another
    order, and:

    - a frame, whichever, shows a digit at a uniformly random position in every class;
    - whoever sees the frames without their order (the mean of their scores, the statistics of a
      batch) cannot tell the classes apart at all.

    A mirror turns each class into another, so the source is handed (`handed`).

    Args:
      location: empty.
      data_config: reads test_fraction, of the digits: none has clips in both splits; image_size (0
        keeps 16) and num_frames, which must be 8.
      seed: chooses the test split and where each digit starts.

    Raises:
      UserError: test_fraction leaves one of the splits empty, or another num_frames.
    """
    del location
    if data_config.num_frames != NUM_FRAMES:
        raise UserError(
            f"config key 'data.num_frames' expects {NUM_FRAMES} for 'moving_digits', found "
            f"{data_config.num_frames}"
        )
    image_NHWC, labels_N = read_digits()
    is_test_N = choose_test(labels_N, data_config.test_fraction, seed)
    start_N3 = _draw_starts(len(labels_N), seed)
    data_hash = hashlib.sha256(image_NHWC.tobytes() + start_N3.tobytes()).hexdigest()
    size = data_config.image_size or CANVAS
    train, test = (
        _split(name, image_NHWC[mask_N], start_N3[mask_N], size)
        for name, mask_N in (("train", ~is_test_N), ("test", is_test_N))
    )
    return Source(
        name="moving_digits",
        class_names=tuple(MOTIONS),
        train=train,
        test=test,
        fingerprint=fingerprint(
            "moving_digits", _MAKING, data_hash, size, int(is_test_N.sum()), seed
        ),
        handed=True,
    )


def make_clip(image_HWC: np.ndarray, middle: tuple[int, int], start: int, step: int) -> np.ndarray:
    """Returns clip_FHWC, uint8: the digit on a black canvas without borders.

    Args:
      image_HWC: the digit.
      middle: row and column, of the circle that the digit's upper left pixel moves on.
      start: place in `CIRCLE` of the first frame.
      step: places from one frame to the next.
    """
    height, width, channels = image_HWC.shape
    clip_FHWC = np.zeros((NUM_FRAMES, CANVAS, CANVAS, channels), np.uint8)
    place_F = (start + step * np.arange(NUM_FRAMES)) % len(CIRCLE)
    for frame_HWC, (row, column) in zip(clip_FHWC, CIRCLE[place_F] + middle, strict=True):
        row_H, column_W = np.arange(row, row + height), np.arange(column, column + width)
        frame_HWC[np.ix_(row_H % CANVAS, column_W % CANVAS)] = image_HWC
    return clip_FHWC


def _draw_starts(num_digits: int, seed: int) -> np.ndarray:
    """Returns of each digit the row and column of the circle's middle and the first place on it."""
    # random_raw, because NumPy keeps the stream of a bit generator for ever, but not of Generator.
    bits = np.random.PCG64(np.random.SeedSequence([seed, _START_TAG]))
    raw_N3 = bits.random_raw((num_digits, 3))
    return (raw_N3 % np.array([CANVAS, CANVAS, len(CIRCLE)], np.uint64)).astype(np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class _Reader:
    image_NHWC: np.ndarray
    start_N3: np.ndarray
    size: int

    def __call__(self, index: int) -> Example:
        digit, label = divmod(index, len(MOTIONS))
        row, column, place = self.start_N3[digit].tolist()
        step = tuple(MOTIONS.values())[label]
        clip_FHWC = make_clip(self.image_NHWC[digit], (row, column), place, step)
        if self.size != CANVAS:
            clip_FHWC = np.stack([resize_and_crop(frame, self.size) for frame in clip_FHWC])
        return labelled(label, clip=clip_FHWC)


def _split(name: str, image_NHWC: np.ndarray, start_N3: np.ndarray, size: int) -> Split:
    num_clips = len(image_NHWC) * len(MOTIONS)
    labels_N = (np.arange(num_clips) % len(MOTIONS)).astype(np.int32)
    fields = labelled_fields((NUM_FRAMES, size, size, image_NHWC.shape[-1]), "clip")
    return Split(name, num_clips, fields, _Reader(image_NHWC, start_N3, size), labels_N)
