"""Measure what it gives to keep connections to a receiver: requests a second, and CPU time.

    python tests/bench/connections.py

The receiver is a process of its own and answers at once, over HTTP or TLS. Ten threads send, as
the threads of a worker do. Both ways take turns in one run, so compare their ratios.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from unittest.mock import patch

from gatehouse.outbound import exchange
from gatehouse.outbound.client import Reply, Sender, send
from support.actors.certificates import self_signed

THREADS = 10
ROUNDS = 9
_EACH = 500  # requests of a round
_BODY = b'{"id":"signal:0190a3c4-7d52-7b1e-8c1e-2f3a4b5c6d7e","content":"hot"}'
_HEADERS = {"Content-Type": "application/json", "User-Agent": "Chorus-Webhook/1.0"}
_HERE = Path(__file__).parent


@dataclass
class Cost:
    """One value for each round: requests a second, and seconds of CPU for 1,000 requests."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Compared:
    """The cost with a new connection for each request, and with kept ones."""

    new: Cost
    kept: Cost

    @property
    def rate(self) -> float:
        """How many times as many requests kept connections make."""
        return median(self.kept.rates) / median(self.new.rates)

    @property
    def cpu(self) -> float:
        """The share of the CPU time that kept connections take."""
        return median(self.kept.seconds) / median(self.new.seconds)


def compare(scheme: str) -> Compared:
    """Measure both ways by turns; `scheme` is `http` or `https`."""
    sender = Sender()

    def over_new(url: str) -> Reply:
        return send("POST", url, headers=_HEADERS, body=_BODY)

    def over_kept(url: str) -> Reply:
        return sender.send(
            "POST", url, headers=_HEADERS, body=_BODY, timeout=10, most=1_024, owner="w"
        )

    found = Compared(Cost(), Cost())
    with _receiver(scheme) as url, ThreadPoolExecutor(THREADS) as threads:
        for number in range(ROUNDS + 1):
            for way, cost in ((over_new, found.new), (over_kept, found.kept)):
                rate, seconds = _round(threads, way, url)
                if number:  # the first round warms up
                    cost.rates.append(rate)
                    cost.seconds.append(seconds)
    sender.close()
    return found


def _round(
    threads: ThreadPoolExecutor, way: Callable[[str], Reply], url: str
) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    statuses = {reply.status for reply in threads.map(way, [url] * _EACH)}
    took, cpu = time.perf_counter() - began, time.process_time() - used
    if statuses != {200}:
        raise RuntimeError(f"the receiver answered {statuses}")
    return _EACH / took, cpu / _EACH * 1_000


@contextmanager
def _receiver(scheme: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        made = self_signed(Path(folder))
        files = [str(made.file), str(made.key_file)] if scheme == "https" else []
        settings = {"GATEHOUSE_OUTBOUND": "local", "SSL_CERT_FILE": str(made.file)}
        command = [sys.executable, str(_HERE / "receiver.py"), "0", *files]
        with (
            patch.dict(os.environ, settings),
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process,
        ):
            exchange._trust.cache_clear()  # noqa: SLF001 - it is read once in a process
            assert process.stdin
            assert process.stdout
            try:
                yield f"{scheme}://127.0.0.1:{int(process.stdout.readline())}/hook"
            finally:
                process.stdin.close()
                exchange._trust.cache_clear()  # noqa: SLF001


if __name__ == "__main__":
    for name in ("http", "https"):
        one = compare(name)
        for way, cost in (("new", one.new), ("kept", one.kept)):
            rate, seconds = median(cost.rates), median(cost.seconds)
            sys.stdout.write(f"{name:6}{way:6}{rate:8.0f} a second {seconds:6.2f} s for 1,000\n")
        sys.stdout.write(f"{name:6}ratio {one.rate:8.2f} times    {one.cpu:6.2f} of the CPU\n")
