"""Serves the page on this machine alone, made anew when a run has written more."""

import http.server
import threading
from collections.abc import Callable
from typing import Any

from crnn_jax.errors import UserError

_HOSTS = ("127.0.0.1", "localhost")


class PageServer(http.server.ThreadingHTTPServer):
    """An HTTP server at 127.0.0.1 with two addresses: / is the page, /version what it is of."""

    daemon_threads = True

    def __init__(self, port: int, make: Callable[[], bytes], version: Callable[[], float]) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"--port expects a free port from 0 to 65535, found {port} ({error})"
            ) from error
        self._make, self._version = make, version
        self._lock = threading.Lock()
        self._page: tuple[float, bytes] | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def version(self) -> float:
        """Returns what changes when the page has to be made anew."""
        return self._version()

    def page(self) -> bytes:
        """Returns the newest page; it is made once for all who ask."""
        with self._lock:
            now = self._version()
            if self._page is None or self._page[0] != now:
                self._page = now, self._make()
            return self._page[1]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        # Another site's script may reach this machine under a name of its own, and is refused.
        if (self.headers.get("Host") or "").rpartition(":")[0] not in _HOSTS:
            return self._answer(403, "text/plain", b"asked under another name than localhost\n")
        path = self.path.partition("?")[0]
        if path == "/version":
            return self._answer(200, "text/plain", f"{self.server.version():.6f}".encode())
        if path != "/":
            return self._answer(404, "text/plain", b"no such page\n")
        try:
            page = self.server.page()
        except UserError as error:  # such as a file that is being copied: the next try may do
            return self._answer(503, "text/plain", f"{error}\n".encode())
        return self._answer(200, "text/html", page)

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing: the page asks every two seconds."""
