"""Whatever is sent, the answer is an image's classes or a mistake, and comes soon."""

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

SECONDS = 60  # of a test machine that does other things too


def _mutated(seed):
    """Returns an image file of some kind in which a few bytes are others, missing or doubled."""
    random = np.random.default_rng(seed)
    kind = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")[seed % 6]
    file = io.BytesIO()
    pixels = random.integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    data = bytearray(file.getvalue())
    for _ in range(random.integers(1, 8)):
        place = int(random.integers(len(data)))
        match random.integers(4):
            case 0:
                data[place] = int(random.integers(256))
            case 1:
                del data[place:]
            case 2:
                del data[place : place + int(random.integers(1, 40))]
            case _:
                part = data[place : place + int(random.integers(1, 40))]
                data[place:place] = part
        if not data:
            break
    return kind.lower(), bytes(data)


def test_300_mutated_images(client):
    server = client()
    counts: dict[int, int] = {}
    for seed in range(300):
        kind, data = _mutated(seed)
        answer = server.post(
            "/predict", content=data, headers={"Content-Type": f"image/{kind}"}, timeout=SECONDS
        )
        counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
        assert answer.status_code in (200, 422), (seed, answer.text)
    assert min(counts[200], counts[422]) > 30  # both are reached
    assert server.get("/healthz").status_code == 200


def test_forms_of_noise(client):
    server = client(body_bytes=2000)
    random = np.random.default_rng(0)
    for _ in range(300):
        head = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
        data = bytearray(head + random.bytes(200) + b"\r\n--x--\r\n")
        for _ in range(random.integers(1, 8)):
            data[random.integers(len(data))] = random.integers(256)
        kind = "multipart/form-data; boundary=x"
        answer = server.post("/predict", content=bytes(data), headers={"Content-Type": kind})
        assert answer.status_code in (400, 422), answer.text


def test_schemathesis_finds_no_fault(client):
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import checks

    app = client().app
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    wanted = [
        checks.not_a_server_error,
        schemathesis.specs.openapi.checks.status_code_conformance,
        schemathesis.specs.openapi.checks.content_type_conformance,
        schemathesis.specs.openapi.checks.response_schema_conformance,
    ]
    seen = set()

    def try_all(strategy):
        @given(case=strategy)
        @settings(
            max_examples=100,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            database=None,
            derandomize=True,
        )
        def check(case):
            case.call_and_validate(checks=wanted)

        check()

    for found in schema.get_all_operations():
        operation = found.ok()
        seen.add(operation.path)
        try_all(operation.as_strategy())
        if operation.method == "post":
            mode = schemathesis.GenerationMode.NEGATIVE
            try_all(operation.as_strategy(generation_mode=mode))
    assert seen == {"/predict", "/model", "/healthz", "/metrics", "/"}
