import pytest
from tensorflow_datasets.proto import tf_example_pb2

from crnn_jax.data.tf_example import image_and_label


def example(label=7, image=b"pixels" * 100, **texts):
    message = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
    feature = message.features.feature
    for name, text in texts.items():
        feature[name].bytes_list.value.append(text)
    feature["weights"].float_list.value.extend([0.5, 2.5])
    feature["image"].bytes_list.value.extend([image, b"second"])
    feature["label"].int64_list.value.extend([label, 3])
    return message.SerializeToString()


@pytest.mark.parametrize("label", [0, 999, 2**40, -1])
def test_equals_protobuf(label):
    record = example(label, file_name=b"n01440764_10026.JPEG", labels=b"x")
    image, found = image_and_label(record, "image", "label")
    assert (bytes(image), found) == (b"pixels" * 100, label)


def test_the_image_is_not_copied():
    record = example()
    assert image_and_label(record, "image", "label")[0].obj is record


def test_numbers_that_are_not_packed():
    feature = bytes([0x1A, 2, 0x08, 5])  # Feature{3: Int64List{1: 5}}, 5 alone

    def entry(name, value):
        content = bytes([0x0A, len(name)]) + name + bytes([0x12, len(value)]) + value
        return bytes([0x0A, len(content)]) + content

    features = entry(b"label", feature) + entry(b"image", bytes([0x0A, 3, 0x0A, 1, 0x41]))
    record = bytes([0x0A, len(features)]) + features
    assert image_and_label(record, "image", "label") == (b"A", 5)


def test_any_cut_is_an_error():
    record = example(image=b"abc")
    for length in range(len(record)):
        with pytest.raises(ValueError):
            image_and_label(record[:length], "image", "label")
    for key in ("label", "image"):
        keys = {"label": "label", "image": "image", key: "absent"}
        with pytest.raises(ValueError, match="no 'absent'"):
            image_and_label(record, keys["image"], keys["label"])
