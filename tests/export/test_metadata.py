"""What a file says of itself comes back as it was."""

import dataclasses

import pytest


@pytest.mark.parametrize("form", ["safetensors", "stablehlo", "onnx"])
def test_names_of_any_kind_come_back(form, random_run, reload):
    run = random_run("cnn")
    hostile = ("caf\udce9", "café", "a\nb", *run.class_names[3:])  # a folder's name may be no UTF-8
    run = dataclasses.replace(run, class_names=hostile)
    assert reload(form, run).class_names == hostile
