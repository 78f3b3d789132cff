"""What the server answers: POST /predict, a page, and what operators ask for."""

import asyncio
import concurrent.futures
import contextlib
import os
import pathlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from ml_collections import ConfigDict
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from pydantic import ConfigDict as Extra
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

import crnn_jax
from crnn_jax.data.inputs import decode_input
from crnn_jax.data.views import make_view
from crnn_jax.errors import CorruptImageError, UserError
from crnn_jax.predictor import Predictor
from crnn_jax.serve.batcher import Batcher, row
from crnn_jax.serve.body import Limits, read_images
from crnn_jax.serve.metrics import Metrics

_PAGE = pathlib.Path(__file__).parent / "page.html"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src blob: data:",
    "X-Content-Type-Options": "nosniff",
}
_BINARY = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "One image, or a form of several files.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": _BINARY, "minItems": 1}},
                    "required": ["images"],
                }
            },
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    detail: str


class Prediction(BaseModel):
    """A classification's likeliest class, and five; another task's own facts."""

    model_config = Extra(extra="allow")
    name: str


class Answer(BaseModel):
    """A prediction for each image, in their order."""

    predictions: list[Prediction]


class Model(BaseModel):
    """What is served."""

    name: str
    task: str
    classes: list[str]
    input_shape: list[int]


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 408, 413, 415, 422, 429)
}


class Service:
    """A predictor with its limits, threads and counts.

    Attributes:
      predictor: reads images.
      limits: what a request may cost.
      metrics: for Prometheus.
      batcher: runs the model.
    """

    def __init__(self, predictor: Predictor, limits: Limits):
        self.predictor = predictor
        self.limits = limits
        self.metrics = Metrics()
        self.batcher = Batcher(predictor.apply, limits.images, self.metrics.batch)
        config = ConfigDict(predictor.config.to_dict())
        config.data.max_pixels = min(limits.pixels, config.data.max_pixels)
        self._max_pixels = config.data.max_pixels
        self._view = make_view(config)
        self._task = predictor.task
        self._decoders = concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "decode")
        self._requests = 0

    async def predict(self, request: Request) -> list[dict[str, Any]]:
        """Returns a prediction for each image in the request's body.

        Raises:
          HTTPException: see `read_images`; 422 too for an image that cannot be read, 429 where too
            many requests are being answered.
        """
        if self._requests >= self.limits.requests:
            text = f"expected at most {self.limits.requests} requests at a time: come again"
            raise HTTPException(429, text, {"Retry-After": "1"})
        self._requests += 1
        self.metrics.requests.set(self._requests)
        try:
            images = await read_images(request, self.limits)
            loop = asyncio.get_running_loop()
            pixels = await loop.run_in_executor(self._decoders, self._decode, images)
            found = await self.batcher(pixels)
            return [
                self._render(name, pixels[index], row(found, index))
                for index, (name, _) in enumerate(images)
            ]
        except CorruptImageError as error:
            raise HTTPException(422, str(error)) from None
        finally:
            self._requests -= 1
            self.metrics.requests.set(self._requests)

    def close(self) -> None:
        """Ends the threads."""
        self._decoders.shutdown(cancel_futures=True)
        self.batcher.close()

    def _decode(self, images: list[tuple[str, bytes]]) -> np.ndarray:
        shape = self.predictor.input_shape
        return np.stack(
            [decode_input(data, name, shape, self._view, self._max_pixels) for name, data in images]
        )

    def _render(self, name: str, pixels: np.ndarray, prediction: Any) -> dict[str, Any]:
        names, example = self.predictor.class_names, {self._task.pixels: pixels}
        return {"name": name, **self._task.render(prediction, names, example).facts}


def make_app(service: Service, name: str) -> FastAPI:
    """Returns the application; it closes the service when it ends.

    Args:
      service: what answers.
      name: the model's, for people.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        del app
        yield
        service.close()

    app = FastAPI(
        title="crnn_jax",
        version=crnn_jax.__version__,
        description=f"Predictions of {name}.",
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    _answer_predictions(app, service)
    _answer_operators(app, service, name)
    return app


def _answer_predictions(app: FastAPI, service: Service) -> None:
    page, metrics = _PAGE.read_text(), service.metrics

    @app.get("/", response_class=HTMLResponse)
    async def index() -> Any:
        """Returns the page to drop an image on."""
        return HTMLResponse(page, headers=_HEADERS)

    @app.post("/predict", response_model=Answer, responses=_PROBLEMS, openapi_extra=_BODY)
    async def predict(request: Request) -> Any:
        """Returns a prediction for each image."""
        start, status = time.perf_counter(), 500
        try:
            found = await service.predict(request)
            status = 200
            return JSONResponse({"predictions": found})  # as it is: the model is for the OpenAPI
        except AnyHTTPException as error:
            status = error.status_code
            raise
        except ClientDisconnect:  # nobody reads this
            status = 400
            raise HTTPException(400, "the client left") from None
        except UserError as error:  # from the model: a prediction is not finite
            raise HTTPException(500, str(error)) from None
        finally:
            metrics.request(status, time.perf_counter() - start)


def _answer_operators(app: FastAPI, service: Service, name: str) -> None:
    @app.get("/model", response_model=Model)
    async def model() -> Any:
        """Returns what is served."""
        predictor = service.predictor
        return {
            "name": name,
            "task": predictor.config.task,
            "classes": list(predictor.class_names),
            "input_shape": list(predictor.input_shape),
        }

    @app.get("/healthz", response_class=PlainTextResponse, responses={503: {"model": Problem}})
    async def healthz() -> Any:
        """Says "ok" while the model's thread works."""
        if not service.batcher.is_alive:
            raise HTTPException(503, "the model's thread has ended")
        return "ok"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Any:
        """Returns counts and times for Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
