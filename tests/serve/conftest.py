"""One server of a fake model: what it says of an image is how bright the image is."""

import io
import types

import numpy as np
import pytest
from PIL import Image


def probabilities(pixels):
    """Returns probabilities of "dark" and "bright"."""
    bright_B = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float64) / 255
    return {"probability": np.stack([1 - bright_B, bright_B], -1).astype(np.float32)}


@pytest.fixture(scope="session")
def fake_predictor():
    from crnn_jax.flags import resolve_config
    from crnn_jax.tasks import make_task

    config = resolve_config("digits:rnn", {})
    return types.SimpleNamespace(
        config=config,
        task=make_task(config, 2),
        class_names=("dark", "bright"),
        input_shape=(8, 8, 3),
        described="fake",
        apply=probabilities,
    )


@pytest.fixture
def client(fake_predictor):
    """Returns make(**limits): a client of a server with these limits."""
    from fastapi.testclient import TestClient

    from crnn_jax.serve.app import Service, make_app
    from crnn_jax.serve.body import Limits

    opened = []

    def make(predictor=fake_predictor, **limits):
        service = Service(predictor, Limits(**limits))
        app = make_app(service, "fake")
        app.state.service = service
        found = TestClient(app, raise_server_exceptions=False)
        opened.append(found.__enter__())
        return found

    yield make
    for one in opened:
        one.__exit__(None, None, None)


def encoded(brightness=200, size=(20, 30), form="PNG"):
    file = io.BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(file, form)
    return file.getvalue()


@pytest.fixture
def image():
    """Returns make(brightness, size, form): an encoded image."""
    return encoded
