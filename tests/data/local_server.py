"""A web server on this machine that answers well or badly, on purpose."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers each path as it is told, others with 404, and writes down what it was asked."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = answers
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news here."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if answer := self.server.answers.get(self.path):
            answer(self)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def serving(answers: Mapping[str, Answer]) -> Iterator[Server]:
    with Server(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _start(handler: BaseHTTPRequestHandler, length: int) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(length))
    handler.end_headers()


def whole(content: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _start(handler, len(content))
        handler.wfile.write(content)

    return answer


def cut(content: bytes) -> Answer:
    """Promises all, gives half."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _start(handler, len(content))
        handler.wfile.write(content[: len(content) // 2])

    return answer


def silent(_handler: BaseHTTPRequestHandler) -> None:
    """Accepts, and never answers while anybody waits."""
    time.sleep(3)


def trickling(content: bytes, step: int, pause_s: float) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _start(handler, len(content))
        for start in range(0, len(content), step):
            handler.wfile.write(content[start : start + step])
            time.sleep(pause_s)

    return answer


def trickling_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(60):
        handler.wfile.write(f"X-{number}: 0\r\n".encode())
        time.sleep(0.05)
