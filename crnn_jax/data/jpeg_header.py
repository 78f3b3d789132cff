"""What a JPEG says of itself before its pixels (ITU-T T.81, Annex B)."""

from typing import NamedTuple

SEQUENTIAL = (0xC0, 0xC1)  # markers of baseline and extended frames, Huffman-coded
PROGRESSIVE = 0xC2
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of frames of all kinds
_SCAN = 0xDA
_NOTE = 0xE1  # marker of EXIF and XMP
# Those that have a length and may come before the first scan: tables, notes, and frames.
_MAX_SEGMENTS = 2**16
_SEGMENTS = {*_FRAMES, 0xC4, 0xCC, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE}


class Header(NamedTuple):
    """The frame, and what else comes before the first scan."""

    kind: int  # the frame's marker
    bits: int  # a sample's
    height: int
    width: int
    components: int
    at: int  # where the height is written, two bytes
    has_scans: bool  # more than one: each passes over the pixels
    notes: list[bytes]  # EXIF, XMP


def read_header(data: bytes | memoryview) -> Header | None:
    """Returns the header of a JPEG; None where there is none, or an unusual one."""
    if bytes(data[:2]) != b"\xff\xd8":
        return None
    place, frame = 2, 0
    notes: list[bytes] = []
    for _ in range(_MAX_SEGMENTS):
        if place + 10 > len(data) or data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _FRAMES:
            if frame:
                return None
            frame = place
        elif marker == _SCAN and frame:
            # A sequential frame whose first scan has all components has no other.
            kind, components = data[frame + 1], data[frame + 9]
            is_whole = kind in SEQUENTIAL and data[place + 4] == components
            height, width = (
                data[frame + 5] << 8 | data[frame + 6],
                data[frame + 7] << 8 | data[frame + 8],
            )
            return Header(
                kind, data[frame + 4], height, width, components, frame + 5, not is_whole, notes
            )
        elif marker not in _SEGMENTS:
            return None
        length = data[place + 2] << 8 | data[place + 3]
        if marker == _NOTE:
            notes.append(bytes(data[place + 4 : place + 2 + length]))
        place += 2 + length
    return None
