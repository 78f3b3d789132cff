"""Which frames of a video are seen, and how they are read: a `reading.View` of video files."""

import dataclasses
import hashlib
import itertools
import os
import struct
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from crnn_jax.data.decode import to_shape
from crnn_jax.data.limits import MAX_PIXELS
from crnn_jax.data.splits import Encoded
from crnn_jax.errors import CorruptImageError

DECODING = 1  # raise it when the pixels change: caches of decoded clips are then made again
# Names that folders are searched for; what a file named otherwise holds is not looked at.
EXTENSIONS = tuple(".mp4 .m4v .mov .avi .mkv .webm .mpg .mpeg .gif".split())
_TAG = 5  # keeps these random numbers apart from those of the seed's other uses


def is_video_name(name: str) -> bool:
    """Returns whether a file of this name is taken for a video: by its extension, not hidden."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


@dataclasses.dataclass(frozen=True)
class Frames:
    """One frame from each of as many equal segments of a video as a clip has frames.

    Wang et al. 2016, "Temporal Segment Networks: Towards Good Practices for Deep Action
    Recognition", section 3.1: training draws the frame within its segment, here by (seed, epoch,
    example) alone; an evaluation takes the centre (of an even number, the one before it).

    Attributes:
      kind: "random" or "center".
      seed: decides the random choices.
      max_pixels: most that a frame may have; a video that declares more is corrupt.
      whole: whether a video whose last frame is missing is corrupt, though the clip has others.
    """

    kind: Literal["random", "center"]
    seed: int = 0
    max_pixels: int = MAX_PIXELS
    whole: bool = False

    def choose(self, num_found: int, num_frames: int, epoch: int, example: int) -> list[int]:
        """Returns the numbers, from 0 and increasing, of `num_frames` of a video's `num_found`.

        Segment k of K holds the frames from floor(k N / K) on; there is one at least in each, as
        N >= K.
        """
        edges = [k * num_found // num_frames for k in range(num_frames + 1)]
        segments = list(itertools.pairwise(edges))
        if self.kind == "center":
            return [(first + stop - 1) // 2 for first, stop in segments]
        name = struct.pack("<4Q", _TAG, self.seed, epoch, example)
        bits = hashlib.shake_128(name).digest(8 * num_frames)
        words = struct.unpack(f"<{num_frames}Q", bits)
        # 2**64 is so much larger than a segment that the remainder's bias cannot be seen.
        return [
            first + word % (stop - first)
            for word, (first, stop) in zip(words, segments, strict=True)
        ]

    def decode(
        self, encoded: Encoded, epoch: int, example: int, shape: tuple[int, ...], out: np.ndarray
    ) -> np.ndarray:
        """Returns the chosen frames of the video file `encoded.data` as `shape`, in `out`.

        Raises:
          CorruptImageError: no video, fewer frames than the clip, or an unreadable frame.
        """
        num_frames, height, width, channels = shape
        video = _Video(encoded.data, encoded.name, self.max_pixels)
        if video.num_frames < 1:
            raise CorruptImageError(f"{encoded.name}: expected a video, found no frames")
        if video.num_frames < num_frames:
            raise CorruptImageError(
                f"{encoded.name}: expected at least as many frames as config key "
                f"'data.num_frames' ({num_frames}), found {video.num_frames}: leave "
                "it out, or train with a lower one"
            )
        chosen = self.choose(video.num_frames, num_frames, epoch, example)
        last = video.num_frames - 1
        beyond = [last] if self.whole and chosen[-1] < last else []
        for row, frame_HWC in enumerate(video.read(chosen + beyond)[:num_frames]):
            out[row] = to_shape(frame_HWC, (height, width, channels))
        return out

    def evaluation(self) -> Self:
        """Returns the view of evaluation: the centres."""
        return dataclasses.replace(self, kind="center")


def frame_size(path: str | os.PathLike, max_pixels: int) -> tuple[int, int]:
    """Returns (H, W) of a video's frames, at most `max_pixels`.

    Raises:
      CorruptImageError: its first frame is unreadable, or larger.
    """
    (frame_HWC,) = _Video(path, os.fspath(path), max_pixels).read([0])
    return frame_HWC.shape[0], frame_HWC.shape[1]


class _Video:
    """A video file that OpenCV has opened, to be read once from its start."""

    def __init__(self, path: str | os.PathLike, name: str, max_pixels: int):
        import cv2  # takes a moment to import

        # One thread a file: the pipeline has its own. Errors are ours to report, in one line.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        self._name = name
        if not os.path.isfile(path):
            raise CorruptImageError(f"{name}: expected a video, found no such file")
        try:
            threads = [cv2.CAP_PROP_N_THREADS, 1]
            self._capture = cv2.VideoCapture(os.fspath(path), cv2.CAP_FFMPEG, threads)
            is_open = self._capture.isOpened()
        except cv2.error:
            is_open = False
        if not is_open:
            raise CorruptImageError(f"{name}: expected a video, found no format that can be read")
        width, height = (
            int(self._capture.get(prop))
            for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if not 0 < width * height <= max_pixels:
            raise CorruptImageError(
                f"{name}: expected frames of 1 to {max_pixels} pixels ('data.max_pixels'), found "
                f"{width}x{height}"
            )
        # What the file says of itself; a negative or absurd number where it says nothing.
        self.num_frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def read(self, chosen: Sequence[int]) -> list[np.ndarray]:
        """Returns the RGB frames of the increasing numbers `chosen`, uint8 (H, W, 3).

        The frames between are decoded by FFmpeg, as what follows depends on them, but not turned
        into pixels. OpenCV's seek finds a frame by its time, which is exact at a constant rate
        alone.
        """
        import cv2

        found, position = [], 0
        try:
            for number in chosen:
                while position <= number:
                    if not self._capture.grab():
                        raise CorruptImageError(
                            f"{self._name}: expected {self.num_frames} frames, as the file says, "
                            f"found {position}"
                        )
                    position += 1
                is_good, frame_HWC = self._capture.retrieve()
                if not is_good:
                    raise CorruptImageError(
                        f"{self._name}: expected a readable video, found that frame {number} is not"
                    )
                found.append(cv2.cvtColor(frame_HWC, cv2.COLOR_BGR2RGB))
        except cv2.error as error:
            raise CorruptImageError(
                f"{self._name}: expected a readable video, found {error.err}"
            ) from None
        finally:
            self._capture.release()
        return found
