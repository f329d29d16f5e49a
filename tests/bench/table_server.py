"""A table server in a process of its own: DynamoDB's JSON protocol over a table in memory.

    python table_server.py [<answers.json>]

Prints its port, then serves until the end of standard input. It takes no time from the client's
interpreter. `answers.json` maps operations to answers that are sent whatever the request is.
"""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "layers" / "gatehouse" / "python"), str(ROOT / "tests")]

from support.aws import resources  # noqa: E402 - its place on the path is set above
from support.aws.json_protocol import Asked, Backend, Said, of  # noqa: E402 - as above
from support.aws.memory_dynamo import MemoryDynamo  # noqa: E402 - as above

MAIN = "bench"
_LIKE_DYNAMODB = (
    "HTTP/1.1 %d X\r\nServer: Server\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n"
    "Content-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
    "x-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF\r\n"
    "x-amz-crc32: %d\r\n\r\n"
)


def _memory() -> Backend:
    client = MemoryDynamo()
    client.add_table(MAIN, resources.table_properties("MainTable"))
    return of(client)


def _canned(file: str) -> Backend:
    answers = {
        operation: json.dumps(answer).encode()
        for operation, answer in json.loads(Path(file).read_text()).items()
    }
    return lambda asked: Said(200, answers[asked.operation])


async def _serve(backend: Callable[[Asked], Said]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")[1:-2]
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                operation = headers["x-amz-target"].rpartition(".")[2]
                said = backend(Asked(operation, headers, body))
                length, checksum = len(said.body), zlib.crc32(said.body)
                writer.write((_LIKE_DYNAMODB % (said.status, length, checksum)).encode())
                writer.write(said.body)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the client disconnected, or the server is stopping
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(_canned(sys.argv[1]) if sys.argv[1:] else _memory()))
