"""A receiver of webhooks: reads a POST, waits, and answers 200. Prints its port, then serves.

    python receiver.py <milliseconds> [<certificate> <key>]

It is a process of its own, so that it takes no time from the sender's interpreter. It exits at
the end of standard input.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def _serve(seconds: float, *files: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                if seconds:
                    await asyncio.sleep(seconds)
                writer.write(_ANSWER)
                await writer.drain()
                if b"connection: close" in head:
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # the sender disconnected, or the receiver is stopping
        writer.close()

    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 1_000, *sys.argv[2:]))
