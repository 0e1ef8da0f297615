"""A loopback relay between client and server that knows what went over the wire: each request, each byte."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit


@dataclass
class Exchange:
    """One request and its answer."""

    path: str
    status: int
    encoding: str
    body: int
    received: int


class Relay:
    """HTTP/1.1, one thread for each connection, kept alive as long as both sides want it."""

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        self._server = (server.hostname or "127.0.0.1", server.port or 80)
        self._exchanges: list[Exchange] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def taken(self) -> list[Exchange]:
        """The exchanges since this was last asked."""
        taken, self._exchanges = self._exchanges, []
        return taken

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asks, answers = client.makefile("rb"), server.makefile("rb")
            try:
                while self._exchange(asks, answers, client, server):
                    pass
            except (ConnectionError, ValueError):
                return

    def _exchange(
        self, asks: BinaryIO, answers: BinaryIO, client: socket.socket, server: socket.socket
    ) -> bool:
        """Whether the connection goes on."""
        request = head(asks)
        if not request:
            return False
        server.sendall(request)
        answer = head(answers)
        if not answer:
            return False
        status = int(answer.split(b" ", 2)[1])
        fields = headers(answer)
        wire, body = (b"", b"") if status in (204, 304) else body_of(answers, fields)
        path = request.split(b" ", 2)[1].decode()
        encoding = fields.get("content-encoding", "")
        self._exchanges.append(Exchange(path, status, encoding, len(body), len(answer) + len(wire)))
        client.sendall(answer + wire)
        return fields.get("connection", "").lower() != "close"


def head(stream: BinaryIO) -> bytes:
    """Everything to the empty line; nothing if the other side is done."""
    lines = []
    while True:
        line = stream.readline()
        if not line:
            return b""
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)


def headers(text: bytes) -> dict[str, str]:
    """By name, in lower case."""
    pairs = (line.partition(b":") for line in text.split(b"\r\n")[1:] if line)
    return {name.decode().lower(): value.decode().strip() for name, _, value in pairs}


def body_of(stream: BinaryIO, fields: dict[str, str]) -> tuple[bytes, bytes]:
    """As it is on the wire, and what it holds."""
    if fields.get("transfer-encoding", "").lower() != "chunked":
        body = stream.read(int(fields["content-length"])) if "content-length" in fields else stream.read()
        return body, body
    wire, body = b"", b""
    while True:
        line = stream.readline()
        length = int(line.split(b";")[0], 16)
        piece = stream.read(length + 2)
        wire, body = wire + line + piece, body + piece[:-2]
        if length == 0:
            return wire, body
