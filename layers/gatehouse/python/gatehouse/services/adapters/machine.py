"""Metrics of the machine that runs this code: on AWS the function's own environment."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from gatehouse.services.model import Host

_PROC = Path("/proc")
_BETWEEN = 0.1  # seconds between two reads of the processors' counters
_IDLE = slice(3, 5)  # idle and waiting for disks, in the order of /proc/stat


def measure() -> Host:
    """Measure processors, memory and the disk that functions can write to."""
    count = os.cpu_count() or 1
    load = os.getloadavg()
    busy = _busy_percent()
    total, free = _memory()
    disk = shutil.disk_usage(tempfile.gettempdir())
    return Host(
        source="environment",
        # Without counters: the processes that want a processor, as a share of the processors.
        cpu_percent=min(100.0, 100 * load[0] / count) if busy is None else busy,
        cpu_count=count,
        load=load,
        memory_total=total,
        memory_used=None if free is None else total - free,
        memory_used_percent=None if free is None else 100 * (total - free) / total,
        disk_total=disk.total,
        disk_used=disk.used,
        disk_used_percent=100 * disk.used / disk.total,
    )


def _busy_percent() -> float | None:
    first = _counters()
    if first is None:
        return None
    time.sleep(_BETWEEN)
    second = _counters() or first
    spent = [after - before for before, after in zip(first, second, strict=True)]
    total = sum(spent)
    return 100 * (total - sum(spent[_IDLE])) / total if total > 0 else 0.0


def _counters() -> list[int] | None:
    """Read the processors' time since the start, by kind; None if the system does not report it."""
    try:
        line = (_PROC / "stat").read_text().partition("\n")[0]
    except OSError:
        return None
    # Time of guests is included in that of users.
    return [int(field) for field in line.split()[1:9]]


def _memory() -> tuple[int, int | None]:
    """Return total and available bytes; available is None if the system does not report it."""
    try:
        text = (_PROC / "meminfo").read_text()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    sizes = {
        name: int(rest.split()[0]) * 1_024
        for name, _, rest in (line.partition(":") for line in text.splitlines())
        if rest.strip()
    }
    return sizes["MemTotal"], sizes.get("MemAvailable", sizes["MemFree"])
