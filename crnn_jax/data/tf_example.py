"""The image and the label of a serialized tf.train.Example, and nothing else of it.

A protobuf library would copy the image twice; here it stays where the record lies.
"""

from collections.abc import Iterator

_VARINT, _LENGTH = 0, 2  # protobuf's wire types, with 1 and 5 for 8 and 4 bytes
_FIXED_BYTES = {1: 8, 5: 4}


def image_and_label(record: bytes, image_key: str, label_key: str) -> tuple[memoryview, int]:
    """Returns (the first bytes value of `image_key`, the first integer of `label_key`).

    The message is Example{1: Features{1: map<string, Feature>}}, a Feature's bytes are in
    {1: BytesList{1}} and its integers in {3: Int64List{1}}, packed or not
    (tensorflow/core/example/feature.proto). The image is a view of `record`.

    Raises:
      ValueError: the record is cut off, is no Example, or has no such feature.
    """
    names = {image_key.encode(): "image", label_key.encode(): "label"}
    image: memoryview | None = None
    label: int | None = None
    for features in _messages(record, 0, len(record), 1):
        for entry in _messages(record, *features, 1):
            key = next(_messages(record, *entry, 1), (0, 0))
            wanted = names.get(record[slice(*key)])
            if wanted is None:
                continue
            for feature in _messages(record, *entry, 2):
                if wanted == "image":
                    for values in _messages(record, *feature, 1):
                        for start, stop in _messages(record, *values, 1):
                            image = memoryview(record)[start:stop] if image is None else image
                else:
                    for values in _messages(record, *feature, 3):
                        label = _first_integer(record, *values) if label is None else label
    if image is None or label is None:
        raise ValueError(f"no '{image_key if image is None else label_key}'")
    return image, label


def _messages(data: bytes, start: int, stop: int, number: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of the strings, bytes or messages in field `number` of a message."""
    for field, wire, first, last in _fields(data, start, stop):
        if field == number and wire == _LENGTH:
            yield first, last


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields (field number, wire type, start of its content, stop)."""
    while start < stop:
        tag, start = _varint(data, start, stop)
        wire = tag & 7
        if wire == _LENGTH:
            length, start = _varint(data, start, stop)
            end = start + length
        elif wire == _VARINT:
            end = _varint(data, start, stop)[1]
        elif wire in _FIXED_BYTES:
            end = start + _FIXED_BYTES[wire]
        else:
            raise ValueError(f"wire type {wire}")
        if end > stop:
            raise ValueError("a field that is longer than its record")
        yield tag >> 3, wire, start, end
        start = end


def _varint(data: bytes, start: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while start < stop and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError("a number that is cut off")


def _first_integer(data: bytes, start: int, stop: int) -> int | None:
    for field, _, first, last in _fields(data, start, stop):
        if field == 1 and last > first:  # packed or alone, it begins with the first
            value = _varint(data, first, last)[0]
            return value - 2**64 if value >= 2**63 else value
    return None
