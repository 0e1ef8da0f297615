"""A loopback HTTP server that can tell afterwards what it was asked for."""

from __future__ import annotations

import base64
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Union
from urllib.parse import unquote

# The path of a request without its first slash, quoted as it came, to the body of the answer. None: 404.
Lookup = Callable[[str], Union[bytes, "Slow", None]]


@dataclass(frozen=True)
class Slow:
    """A body whose last byte comes a while after the others."""

    body: bytes
    seconds: float


def folder(base: Path) -> Lookup:
    """Files below a folder, and index.html for its folders."""

    def lookup(path: str) -> bytes | None:
        file = base / unquote(path)
        if path.endswith("/") or not path:
            file = file / "index.html"
        return file.read_bytes() if file.is_file() else None

    return lookup


class Server:
    """Serves until closed. HTTP/1.0, one thread for each connection, every path once more in `requests`.

    With a `login` ("user:password") it answers nobody else.
    """

    def __init__(self, lookup: Lookup, tls: ssl.SSLContext | None = None, login: str | None = None) -> None:
        self.requests: list[str] = []
        requests = self.requests
        wanted = login and "Basic " + base64.b64encode(login.encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            """Answers GET alone: no client here may need anything else."""

            def do_GET(self) -> None:
                path = self.path[1:]
                if wanted and self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="index"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                requests.append(path)
                body = lookup(path)
                if body is None:
                    self.send_error(404)
                    return
                pause = 0.0
                if isinstance(body, Slow):
                    body, pause = body.body, body.seconds
                self.send_response(200)
                page = not path or path.endswith(("/", ".html"))
                self.send_header("Content-Type", "text/html" if page else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if pause:
                    self.wfile.write(body[:-1])
                    time.sleep(pause)
                    body = body[-1:]
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet: `requests` has it."""

        self._scheme = "https" if tls else "http"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        host = "localhost" if self._scheme == "https" else "127.0.0.1"
        return f"{self._scheme}://{host}:{self._server.server_address[1]}"

    def taken(self) -> list[str]:
        """The requests since this was last asked."""
        requests = list(self.requests)
        self.requests.clear()
        return requests

    def close(self) -> None:
        """Stops it, and waits until it has."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
