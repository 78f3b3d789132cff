import copy

import pytest

from crnn_jax.config import default_config
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError


def data_config(source):
    config = copy.deepcopy(default_config("crnn").data)
    config.source = source
    return config


@pytest.mark.parametrize(
    ("found", "suggestion"),
    [
        ("digit", "digits"),
        ("digits:x", "digits"),
        ("tdfs:cifar10", "tfds:cifar10"),
        ("cifar10", "tfds:cifar10"),
        ("foldr:photos", "folder:photos"),
    ],
)
def test_unknown_source_names_the_closest(found, suggestion):
    with pytest.raises(UserError, match=f"'data.source' .*'{found}' .did you mean '{suggestion}'"):
        load_source(data_config(found), 0)


def test_unknown_source_that_is_a_folder(tmp_path):
    with pytest.raises(UserError, match=f"did you mean 'folder:{tmp_path}'"):
        load_source(data_config(str(tmp_path)), 0)


@pytest.mark.parametrize("source", ["", "???"])
def test_no_source(source):
    with pytest.raises(UserError, match=r"expects digits, .*tfds:NAME, folder:PATH"):
        load_source(data_config(source), 0)


@pytest.mark.parametrize("source", ["tfds:NAME", "folder:PATH", "video:PATH", "masks:PATH"])
def test_a_source_without_its_location(source):
    kind = source.partition(":")[0]
    for found in (kind, f"{kind}:"):
        with pytest.raises(UserError, match=f"expects {source}, found '{found}'$"):
            load_source(data_config(found), 0)
