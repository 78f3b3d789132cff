"""What the server answers: images to classes, and mistakes in one line of JSON."""

import asyncio
import copy
import io
import re
import types

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from crnn_jax.errors import UserError
from crnn_jax.serve.body import Limits, read_images


def test_images_of_a_form_are_answered_in_their_order(client, image):
    files = [("images", (f"{b}.png", image(b), "image/png")) for b in (255, 0, 204)]
    answer = client().post("/predict", files=files)
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    assert [one["name"] for one in found] == ["255.png", "0.png", "204.png"]
    assert [one["class"] for one in found] == ["bright", "dark", "bright"]
    assert found[2]["probability"] == pytest.approx(0.8, abs=1e-3)
    assert [one["class"] for one in found[2]["top"]] == ["bright", "dark"]


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "IMAGE/png; a=b"])
def test_a_body_may_be_an_image(kind, client, image):
    answer = client().post("/predict", content=image(form="JPEG"), headers={"Content-Type": kind})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["class"] == "bright"


def test_samples_are_read_in_the_depth_of_the_training(client, fake_predictor):
    file = io.BytesIO()
    Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(file, "PNG")  # 250 of 255
    body = {"content": file.getvalue(), "headers": {"Content-Type": "image/png"}}
    for bit_depth, name, probability in ((0, "dark", 240 / 255), (12, "bright", 250 / 255)):
        config = copy.deepcopy(fake_predictor.config)
        config.data.bit_depth = bit_depth
        predictor = types.SimpleNamespace(**{**vars(fake_predictor), "config": config})
        (found,) = client(predictor).post("/predict", **body).json()["predictions"]
        assert found["class"] == name
        assert found["probability"] == pytest.approx(probability, abs=1e-4)
    config.data.bit_depth = 11
    answer = client(predictor).post("/predict", **body)
    assert (answer.status_code, "at most 2047" in answer.json()["detail"]) == (422, True)


def test_an_image_of_megabytes_is_read(client, image):
    data = image(size=(1500, 1200), form="BMP")
    assert len(data) > 5_000_000
    assert client().post("/predict", **form(data, data)).status_code == 200


def form(*images):
    return {"files": [("images", (f"{i}.png", data)) for i, data in enumerate(images)]}


def raw(data, kind="image/png"):
    return {"content": data, "headers": {"Content-Type": kind}}


@pytest.mark.parametrize(
    ("status", "expected", "body"),
    [
        (415, "found 'text/plain'", lambda image: raw(b"x", "text/plain")),
        (415, "found ''", lambda image: {}),
        (422, "image: expected an image, found no known format", lambda image: raw(b"x")),
        (422, "1.png: expected an image", lambda image: form(image(), b"x")),
        (422, "expected 1 to 2 images, found 0", lambda image: raw(b"")),
        (422, "expected 1 to 2 images, found 3", lambda image: form(image(), image(), image())),
        (422, "101x99 pixels, at most 9900", lambda image: raw(image(size=(101, 99)))),
        (413, "a body of at most 5000 bytes", lambda image: raw(bytes(5001))),
        (
            422,
            "expected 1 to 2 images, found 0",
            lambda image: raw(b"--x\r\nab", "multipart/form-data; boundary=x"),
        ),
        (400, "expected a form", lambda image: raw(b"ab", "multipart/form-data")),
        (
            400,
            "expected a form",
            lambda image: raw(b"--a" * 900, "multipart/form-data; boundary="),
        ),
    ],
)
def test_a_mistake_is_a_line(status, expected, body, client, image):
    server = client(body_bytes=5000, pixels=9900, images=2)
    answer = server.post("/predict", **body(image))
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    assert expected in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert server.post("/predict", **form(image())).status_code == 200


def test_a_body_that_does_not_say_its_length_is_limited_too(client):
    def parts():
        for _ in range(100):
            yield bytes(100)

    answer = client(body_bytes=5000).post("/predict", **raw(parts()))
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_given_up():
    async def stream():
        await asyncio.sleep(30)
        yield b""

    request = types.SimpleNamespace(headers={"content-type": "image/png"}, stream=stream)
    with pytest.raises(HTTPException) as stop:
        asyncio.run(read_images(request, Limits(read_seconds=0.01)))  # pyright: ignore
    assert stop.value.status_code == 408


def test_too_many_requests_are_told_to_come_again(client, image):
    server = client(requests=1)
    server.app.state.service._requests = 1
    answer = server.post("/predict", **form(image()))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
    server.app.state.service._requests = 0
    assert server.post("/predict", **form(image())).status_code == 200
    assert server.app.state.service._requests == 0


def test_a_model_that_fails_fails_alone(client, image, fake_predictor):
    results = [UserError("expected finite predictions"), fake_predictor.apply]

    def apply(pixels):
        found = results.pop(0)
        if isinstance(found, Exception):
            raise found
        return found(pixels)

    server = client(types.SimpleNamespace(**{**vars(fake_predictor), "apply": apply}))
    answer = server.post("/predict", **form(image()))
    assert (answer.status_code, answer.json()["detail"]) == (500, "expected finite predictions")
    assert server.post("/predict", **form(image())).status_code == 200


def test_operators_are_answered(client, image):
    server = client()
    assert (server.get("/healthz").text, server.get("/healthz").status_code) == ("ok", 200)
    for data in (image(), b"x"):
        server.post("/predict", **form(data))
    text = server.get("/metrics").text
    for line in (
        'crnn_jax_requests_total{status="200"} 1.0',
        'crnn_jax_requests_total{status="422"} 1.0',
        "crnn_jax_images_total 1.0",
        "crnn_jax_batch_images_count 1.0",
        "crnn_jax_request_seconds_count 2.0",
        "crnn_jax_requests_in_progress 0.0",
    ):
        assert line in text.splitlines()
    model = server.get("/model").json()
    assert model["classes"] == ["dark", "bright"]
    assert model["input_shape"] == [8, 8, 3]
    paths = server.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/predict", "/model", "/healthz", "/metrics", "/"}
    assert "multipart/form-data" in paths["/predict"]["post"]["requestBody"]["content"]
    server.app.state.service.batcher.close()
    assert server.get("/healthz").status_code == 503


def test_the_page_asks_nobody_else(client):
    answer = client().get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    assert re.findall(r"(?:https?:)?//[a-z]", answer.text) == []
    assert client().get("/docs").status_code == 404


def test_other_pages_may_not_read_the_answers(client, image):
    answer = client().post("/predict", **form(image()))
    assert "access-control-allow-origin" not in answer.headers
    assert np.isfinite(answer.json()["predictions"][0]["probability"])
