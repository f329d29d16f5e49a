"""A server of DynamoDB's JSON protocol on loopback, for the client that runs in Lambda."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from moto.core.models import botocore_stubber

from support.aws.json_protocol import Asked, Backend, Said


@contextmanager
def serve(backend: Backend) -> Iterator[str]:
    """Serve a backend until the block ends; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body leave in one piece

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            operation = headers["x-amz-target"].rpartition(".")[2]
            said = backend(Asked(operation, headers, body))
            self.send_response(said.status)
            own = {"x-amz-crc32": str(zlib.crc32(said.body)), "Content-Length": len(said.body)}
            for name, value in (own | dict(said.headers)).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def moto(asked: Asked) -> Said:
    """Answer as moto does, byte by byte. `mock_aws` must be active."""
    url = "https://dynamodb.us-east-1.amazonaws.com/"
    answer = botocore_stubber(
        "before-send",
        AWSPreparedRequest("POST", url, dict(asked.headers), asked.body, stream_output=False),
    )
    assert answer is not None
    return Said(answer.status_code, answer.content)
