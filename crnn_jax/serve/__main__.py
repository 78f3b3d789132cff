"""Answers over HTTP: python -m crnn_jax.serve --workdir=runs/a | --file=FILE | --model=NAME

    curl -F images=@photo.png -F images=@other.jpg http://127.0.0.1:8000/predict

The address itself is a page to drop an image on; /healthz, /metrics (Prometheus) and /openapi.json
are for programs. It listens on this machine alone, unless --host says otherwise: it asks nobody
who they are.
"""

import asyncio
import contextlib
import gc
import importlib.util
import ipaddress
import os
import pathlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.opened import add_flags, open_named

_MOST = 100_000  # megabytes, megapixels, requests
_PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}


def check_packages() -> None:
    """Checks that what the extra "serve" brings is there.

    Raises:
      UserError: it is not.
    """
    missing = [name for module, name in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise UserError(
            f"serving expects {' and '.join(missing)}, found no such package: "
            'pip install -e ".[serve]"'
        )


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound and does not listen yet.

    Raises:
      UserError: the port is in use or not allowed, or there is no such host.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError, OverflowError):
        raise UserError(f"--host expects an address of this machine, found '{host}'") from None
    found = socket.socket(family, kind, protocol)
    # What a server that ended has left in the kernel would keep the port for a minute.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _one_line(host, port):
        found.bind(address)
    return found


@contextlib.contextmanager
def _one_line(host: str, port: int) -> Iterator[None]:
    """Turns an error of the network into a UserError."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"expected to listen on {host}:{port}, found: {reason}; choose another --port (0: any "
            "that is free) or --host"
        ) from None


def warm_up(predictor: Any) -> None:
    """Compiles the model for every size that a batch may have."""
    import numpy as np

    from crnn_jax.predictor import SIZES

    for size in SIZES:
        predictor.apply(np.zeros((size, *predictor.input_shape), np.uint8))


def keep_heap() -> None:
    """Leaves what is loaded out of the collections of garbage to come.

    JAX and the model are many objects, none of which is ever freed. Nobody is answered while a
    collection goes through them.
    """
    gc.collect()
    gc.freeze()


def run(app: Any, listener: socket.socket) -> None:
    """Answers until a signal comes; what is being answered then is answered still."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield  # ours end the process with 0, uvicorn's by the signal

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # a connection that is closed as its next request comes is an error
        timeout_graceful_shutdown=10,
    )
    server = Server(config)

    async def serve() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, _ask_to_end, server)
        await server.serve([listener])

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(serve())


def _ask_to_end(server: Any) -> None:
    server.should_exit = True


def main(argv: list[str]) -> None:
    """Serves until it is told to end."""
    parser = OneLineParser(prog="python -m crnn_jax.serve", description=__doc__)
    add_flags(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: this machine alone"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0: any that is free"
    )
    parser.add_argument("--max_mb", type=float, default=32, help="most MiB of a request")
    parser.add_argument(
        "--max_megapixels", type=float, default=25, help="most megapixels of an image"
    )
    parser.add_argument(
        "--max_requests", type=int, default=256, help="most requests that are answered at a time"
    )
    flags = parser.parse_args(argv)
    with one_line_errors():
        for name in ("max_mb", "max_megapixels", "max_requests"):
            if not 0 < (value := getattr(flags, name)) <= _MOST:
                raise UserError(f"--{name} expects more than 0, at most {_MOST}, found {value}")
        if not 0 <= flags.port < 2**16:
            raise UserError(f"--port expects 0 to 65535, found {flags.port}")
        check_packages()
        with bind(flags.host, flags.port) as listener:
            _serve(flags, listener)


def _serve(flags: Any, listener: socket.socket) -> None:
    from crnn_jax.serve.app import Service, make_app
    from crnn_jax.serve.body import Limits

    predictor = open_named(flags)
    if len(predictor.input_shape) != 3:
        raise UserError(f"serving expects a model of images, found {predictor.described}, of clips")
    warm_up(predictor)
    limits = Limits(
        body_bytes=int(flags.max_mb * 2**20),
        pixels=int(flags.max_megapixels * 1e6),
        requests=flags.max_requests,
    )
    name = flags.model or pathlib.Path(flags.file or flags.workdir).name
    app = make_app(Service(predictor, limits), name)
    host, port = listener.getsockname()[:2]
    with _one_line(host, port):  # when two start at once, one is bound and cannot listen
        listener.listen(1024)
    keep_heap()
    shown = f"[{host}]" if ":" in host else host
    if not ipaddress.ip_address(host).is_loopback:
        print("others can reach it, and it asks nobody who they are", file=sys.stderr)
    print(f"serving {name} on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
    run(app, listener)


if __name__ == "__main__":
    main(sys.argv[1:])
