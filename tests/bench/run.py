"""Measure everything that has a budget, compare it with the usual way, and print Markdown.

    python tests/bench/run.py [--samples 11] [--write] [--only own-time deliveries]

Runs of one kind are interleaved, so that other load on the machine affects both sides equally.
Compare ratios; milliseconds depend on the machine. `--write` also writes docs/benchmarks.md. The
exit code is 1 when a budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "layers" / "gatehouse" / "python"), str(ROOT / "tests")]
# The logger reads it when it is created. Thousands of log lines would only cost time.
os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"

import arrivals  # noqa: E402 - its place on the path is set above
import builds  # noqa: E402 - as above
import calls  # noqa: E402 - as above
import connections  # noqa: E402 - as above
import deliveries  # noqa: E402 - as above
import emulator  # noqa: E402 - as above
from processes import serving  # noqa: E402 - as above
from report import Budget, Section, report  # noqa: E402 - as above

from support.aws import resources  # noqa: E402 - as above

_PLACE = ROOT / ".gatehouse" / "bench"
_TEMPLATE = resources.template()
_FUNCTIONS = {
    resource["Properties"]["CodeUri"].removeprefix("functions/"): resource["Properties"]
    for resource in _TEMPLATE["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
}
_API_GROUPS = [
    name
    for name, properties in _FUNCTIONS.items()
    if any(event["Type"] == "Api" for event in properties.get("Events", {}).values())
]
# Loads the library that verifies signed messages, so it has no budget.
_HEAVY = "wallets"
_OWN_REQUESTS = 1_000
_GROWTH = (100, 10_000)
_SERVICES = 200
_LISTS = 5
_ARRIVALS = 100
_AUTHORIZER_INIT = 0.15  # of the usual way's
_GROUP_INIT = 0.4  # of the usual way's
_AUTHORIZER_WARM = 0.5  # of the usual way's
_TIMES = 8  # a batch of ten side by side, against one after the other
_CPU = 2  # seconds of 1,000 deliveries
_RECEIVER_MS = 50
_ROUNDS = 15


_PARTS = (
    *("init", "calls", "own-time", "growth", "deliveries", "connections", "per-delivery"),
    "engine",
)


def main() -> int:
    """Measure, print, and return 0 when no budget is exceeded."""
    parser = argparse.ArgumentParser(description="Measure everything that has a budget.")
    parser.add_argument("--samples", type=int, default=11, help="cold starts of each function")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--only", nargs="+", choices=_PARTS, help="measure some parts, and print")
    options = parser.parse_args()
    if options.only and options.write:
        parser.error("--write needs all parts")
    parts = options.only or _PARTS
    built = None
    if {"init", "own-time"} & set(parts):
        _say("building both sides")
        built = builds.build(_PLACE)
    budgets: list[Budget] = []
    measured: dict[str, Callable[[], list[Section]]] = {
        "init": lambda: [_init(_built(built), options.samples, budgets)],
        "calls": lambda: [_calls(budgets)],
        "own-time": lambda: [_own_time(_built(built), budgets)],
        "growth": lambda: [_growth(budgets)],
        "deliveries": lambda: [_deliveries(budgets)],
        "connections": lambda: [_connections()],
        "per-delivery": lambda: [_per_delivery()],
        "engine": lambda: _on_the_engine(budgets),
    }
    sections = [section for part in parts for section in measured[part]()]
    text = report(sections, budgets)
    sys.stdout.write(text)
    if options.write:
        (ROOT / "docs" / "benchmarks.md").write_text(text)
    return 0 if all(budget.passed for budget in budgets) else 1


def _built(built: builds.Builds | None) -> builds.Builds:
    if built is None:
        raise RuntimeError("this part measures what is built")
    return built


def _init(built: builds.Builds, samples: int, budgets: list[Budget]) -> Section:
    functions = _functions(built)
    rie = emulator.binary(builds.TOOLS)
    took: dict[str, list[float]] = {function.name: [] for function in functions}
    for number in range(samples + 1):
        _say(f"cold starts, round {number} of {samples}")
        order = random.sample(functions, len(functions))
        for function in order:
            duration = emulator.init_ms(rie, built.python, function)
            if number:  # the first round warms the disk's cache
                took[function.name].append(duration)
    # The best of the samples: other load on the machine only ever adds time.
    ratios = {
        name: min(values) / min(took[f"usual {_usual(name)}"]) for name, values in took.items()
    }
    budgets += [
        _ratio("authorizer init", ratios["authorizer"], _AUTHORIZER_INIT),
        *(
            _ratio(f"`{group}` init", ratios[group], _GROUP_INIT)
            for group in _API_GROUPS
            if group != _HEAVY
        ),
    ]
    rows: list[tuple[str, ...]] = [
        (name, f"{median(values):.0f}", f"{min(values):.0f}", f"{ratios[name]:.2f}")
        for name, values in took.items()
    ]
    return Section(
        "Init",
        f"Duration of the init phase in the Lambda runtime interface emulator, for {samples} cold"
        " starts of each function, interleaved. The usual way is FastAPI, Mangum, boto3's resource"
        " and Powertools' Logger, Tracer and Metrics as in their tutorials (`tests/bench/usual`),"
        " built by `sam build`, without bytecode. The last two rows are the same with bytecode:"
        " they separate the effect of the build from the effect of the code. The ratios are"
        " those of the best samples. `wallets` has no budget, since it loads the library that"
        " verifies signed messages.",
        ("function", "median ms", "best ms", "of the usual way"),
        rows,
    )


def _functions(built: builds.Builds) -> list[emulator.Function]:
    layers = (built.deps, built.gatehouse, built.runtime_client)
    ours = [
        emulator.Function(
            name,
            built.functions / name,
            (*layers, built.wallet) if name == _HEAVY else layers,
            _settings(name),
            _event(name),
        )
        for name in _FUNCTIONS
    ]
    usual = [
        emulator.Function(
            f"usual {name}{note}",
            place / name,
            (place / "packages", built.runtime_client),
            _settings(name),
            _event(name),
        )
        for place, note in ((built.usual, ""), (built.usual_compiled, ", bytecode"))
        for name in ("authorizer", "keys_services")
    ]
    return ours + usual


def _settings(name: str) -> dict[str, str]:
    """Return a function's variables as in the template, with made-up names of resources."""
    everywhere = _TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    own = _FUNCTIONS[name].get("Environment", {}).get("Variables", {})
    return {variable: _value(said) for variable, said in (everywhere | own).items()}


def _value(said: Any) -> str:
    if isinstance(said, str):
        return said
    parameter = _TEMPLATE["Parameters"].get(said.get("Ref"), {})
    return str(parameter.get("Default", "bench"))


def _event(name: str) -> dict[str, Any]:
    """Return an event that a function answers without a table."""
    if name == "authorizer":
        return calls.event("none") | {"headers": {}}
    return {
        "resource": "/none",
        "path": "/none",
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "body": None,
        "isBase64Encoded": False,
        "requestContext": {"requestId": "bench", "identity": {"sourceIp": "192.0.2.1"}},
    }


def _calls(budgets: list[Budget]) -> Section:
    rows, one, four = [], [], []
    for load in calls.LOADS:
        _say(f"table calls at {load:.0%} of a key's limit")
        with calls.tables():
            costs = []
            for environments in (1, 4):
                [key] = calls.add_keys(1)
                calls.forget()
                costs.append(calls.spread(calls.authorizers(environments), key, load))
        one.append(costs[0])
        four.append(costs[1])
        rows.append(
            (
                f"{load:.0%}",
                f"{load * calls.LIMIT / 60:.0f}",
                *(f"{cost.calls:.2f}" for cost in costs),
                str(costs[1].most_calls),
            )
        )
    with calls.tables():
        [key] = calls.add_keys(1, limited=False)
        calls.forget()
        unlimited = calls.spread(calls.authorizers(4), key, 0.5)
    rows.append(("no limit", "50", "", f"{unlimited.calls:.2f}", str(unlimited.most_calls)))
    alone, shared = max(cost.calls for cost in one), mean(cost.calls for cost in four)
    most = max(cost.most_calls for cost in (*one, *four, unlimited))
    budgets += [
        Budget("table calls, warm key, one environment", f"{alone:.2f}", "1.00", alone <= 1),
        Budget(
            "table calls over four environments, mean of the rates",
            f"{shared:.2f}",
            "under 1.25",
            shared < 1.25,
        ),
        Budget("table calls, most of any request", str(most), "2", most <= 2),
    ]
    return Section(
        "Table calls",
        f"DynamoDB requests for each authorized request of one key with a limit of {calls.LIMIT} a"
        " minute, counted where the client sends them (moto's tables). Requests arrive at random"
        " times, each at a random environment. This is the hardest case: no environment knows what"
        " the others did. At half of the limit the first of the authorizer's two updates is often"
        " the wrong one. The budget is for the mean of all rates. The usual way always makes 2.",
        ("use of the limit", "requests a second", "one environment", "four", "most of any"),
        rows,
    )


def _own_time(built: builds.Builds, budgets: list[Budget]) -> Section:
    _say("the authorizer's own time")
    layers = (built.deps, built.gatehouse)
    with calls.tables():
        item = calls.item(limited=True) | {"tat": {"N": "1"}, "used": {"N": "1"}}
    answers = {
        "GetItem": {"Item": item},
        "UpdateItem": {"Attributes": item | {"requests": {"N": "1"}}},
    }
    (_PLACE / "answers.json").write_text(json.dumps(answers))
    with serving("table_server.py", _PLACE / "answers.json") as port:
        ours = _timing(built, built.functions / "authorizer", layers, port=port)
        usual = _timing(
            built,
            built.usual_compiled / "authorizer",
            (built.usual_compiled / "packages",),
            port=port,
        )
        rounds = [(ours(), usual()) for _ in range(3)]
    rows = []
    for side, name in enumerate(("authorizer", "usual authorizer")):
        shown = [
            median(one[side][field] for one in rounds)
            for field in ("total_ms", "client_ms", "own_ms", "own_p99_ms")
        ]
        rows.append((name, *(f"{value:.2f}" for value in shown)))
    own = median(one[0]["own_ms"] for one in rounds)
    share = median(one[0]["total_ms"] / one[1]["total_ms"] for one in rounds)
    budgets += [
        Budget("authorizer's own time, warm", f"{own:.2f} ms", "under 1 ms", own < 1),
        _ratio("authorizer's time per warm request, client included", share, _AUTHORIZER_WARM),
    ]
    return Section(
        "Time per warm request",
        "Processor time of the function's process, with its real client; the table is a server in"
        " another process, which answers at once. So the wire's time does not count, and the work"
        " for it does: serializing, signing, sending, receiving and parsing. The rest is the"
        f" handler's own, its log line included. Medians of {_OWN_REQUESTS} requests, in three"
        " interleaved rounds.",
        ("function", "total ms", "in the client", "own", "own, p99"),
        rows,
    )


def _timing(
    built: builds.Builds, folder: Path, packages: tuple[Path, ...], *, port: int
) -> Callable[[], dict[str, float]]:
    text = calls.rules.format_key("hk", bytes(calls.rules.SECRET_BYTES))
    (_PLACE / "event.json").write_text(json.dumps(calls.event(text)))
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(map(str, (folder, *packages))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}",
        "POWERTOOLS_METRICS_NAMESPACE": "usual",
        "POWERTOOLS_TRACE_DISABLED": "true",  # no daemon listens here
        **_settings("authorizer"),
    }
    command = [
        built.python,
        Path(__file__).with_name("own_time.py"),
        str(_OWN_REQUESTS),
        _PLACE / "event.json",
    ]

    def run() -> dict[str, float]:
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found

    return run


def _growth(budgets: list[Budget]) -> Section:
    rows, costs = [], []
    for count in _GROWTH:
        _say(f"a request among {count} keys")
        with calls.tables():
            keys = calls.add_keys(count)
            calls.forget()
            cost = calls.spread(calls.authorizers(1), keys[count // 2], 0.1)
        costs.append(cost)
        rows.append(
            (
                f"{count:,}",
                f"{cost.calls:.2f}",
                f"{cost.sent_bytes:.0f}",
                f"{cost.received_bytes:.0f}",
                f"{cost.ms:.1f}",
            )
        )
    few, many = costs
    same = (few.calls, round(few.received_bytes)) == (many.calls, round(many.received_bytes))
    budgets.append(
        Budget(
            f"growth from {_GROWTH[0]} to {_GROWTH[1]:,} keys, calls and bytes",
            "none" if same else "some",
            "none",
            same,
        )
    )
    return Section(
        "Growth",
        "The same request with few and with many keys in the table. A request reads one item by"
        " its full key, so only calls and bytes could grow. The time is moto's.",
        ("keys", "calls", "bytes sent", "bytes received", "median ms on moto"),
        rows,
    )


def _deliveries(budgets: list[Budget]) -> Section:
    _say("deliveries a second")
    found = _rates()
    rates, cpu = (
        {side: median(one[field] for one in rounds) for side, rounds in found.items()}
        for field in ("a_second", "cpu")
    )
    times = rates["batched"] / rates["alone"]
    budgets += [
        Budget(
            "deliveries, batch against one at a time",
            f"{times:.2f} times",
            f"{_TIMES} times",
            times >= _TIMES,
        ),
        Budget("CPU of 1,000 deliveries", f"{cpu['batched']:.2f} s", "2 s", cpu["batched"] <= _CPU),
    ]
    rows = [
        (
            name,
            f"{rates[side]:.0f}",
            f"{max(one['a_second'] for one in found[side]):.0f}",
            f"{rates[side] / rates['alone']:.1f}",
            f"{cpu[side]:.2f}",
            f"{min(one['cpu'] for one in found[side]):.2f}",
        )
        for name, side in (
            ("`delivery_worker`, 10 messages at a time", "batched"),
            ("`delivery_worker`, one message at a time", "alone"),
            ("usual delivery", "usual"),
        )
    ]
    return Section(
        "Deliveries",
        "Deliveries a second of one environment of the worker, and the processor time of its"
        " process, with the real clients. The table is a server in a process of its own"
        " (`tests/bench/table_server.py`), and so is the receiver, which answers after"
        f" {_RECEIVER_MS} ms: both share this machine with the worker. The usual way is a loop over"
        " the records of a batch that reads the webhook, posts, and updates the delivery, with"
        " boto3. It uses botocore's urllib3 instead of `requests`, which is not in its lock file,"
        " and it keeps its connection. Ours checks the address for each attempt, signs, takes a"
        " lease and stores the attempt. Medians of"
        f" {_ROUNDS} interleaved rounds. A batch takes as long as its slowest delivery, so other"
        " load on the machine slows it more than the other two; the load average was"
        f" {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs afterwards.",
        (
            *("worker", "deliveries a second", "at best", "of one at a time"),
            *("CPU s of 1,000", "at best"),
        ),
        rows,
    )


def _rates() -> dict[str, list[dict[str, float]]]:
    script = Path(__file__).with_name("rates.py")
    command = [sys.executable, script, str(_ROUNDS), str(_RECEIVER_MS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[dict[str, float]]] = json.loads(done.stdout)
    return found


def _connections() -> Section:
    _say("kept connections")
    rows: list[tuple[str, ...]] = []
    for scheme in ("http", "https"):
        found = connections.compare(scheme)
        for name, cost in (("new for each request", found.new), ("kept", found.kept)):
            kept = cost is found.kept
            rows.append(
                (
                    f"`{scheme}`, {name}",
                    f"{median(cost.rates):.0f}",
                    f"{median(cost.seconds):.2f}",
                    f"{found.rate:.1f} times" if kept else "",
                    f"{found.cpu:.2f}" if kept else "",
                )
            )
    return Section(
        "Connections to receivers",
        f"Requests of {connections.THREADS} threads to a receiver on loopback in a process of its"
        " own that answers at once: with a new connection for each request, and with kept ones."
        " The address is checked for each request in both. On loopback a connection costs no time"
        f" on the way. Medians of {connections.ROUNDS} interleaved rounds.",
        ("connection", "requests a second", "CPU s for 1,000", "rate", "CPU"),
        rows,
    )


def _per_delivery() -> Section:
    _say("calls per delivery")
    return Section(
        "Calls per delivery",
        "Requests to AWS for one signal to one webhook that succeeds at the first attempt: for the"
        " first signal of a new environment of the worker, and for the next one. Requests are"
        " counted at the clients. Write units are computed from the items before and after each"
        " request: double for the items of a transaction, and one for each index entry that is"
        " added or removed. Not included are the reads and the idempotency record of `POST /emit`,"
        " reading the stream, which is free for Lambda, and polling the queue: one receive and one"
        " delete for each batch of up to ten. The unit on the webhook is its first success in a"
        " minute. Ten webhooks cost 53 units, a signal of 20 KB with one webhook 27;"
        " [0015](decisions/0015-how-deliveries-are-kept.md) says why it is"
        " eight.",
        ("step", "DynamoDB requests", "write units", "SQS", "KMS"),
        [
            (
                name,
                asked.requests_to("dynamodb"),
                asked.written(),
                asked.requests_to("sqs"),
                asked.requests_to("kms"),
            )
            for name, asked in deliveries.steps()
        ],
    )


def _on_the_engine(budgets: list[Budget]) -> list[Section]:
    _say("deploying to the local engine")
    with arrivals.stack() as stack:
        _say("emit to received, line to frame")
        signals = sorted(arrivals.signals(stack, _ARRIVALS))
        lines = sorted(arrivals.lines(stack, _ARRIVALS))
        _say("lists of services")
        due, fresh = arrivals.lists(stack, _SERVICES, _LISTS)
    budgets.append(_under("emit to received, median", median(signals), 100))
    budgets.append(_under(f"list of {_SERVICES} services, the slowest", max(due), 1_000))
    head = ("what", "median ms", "p99 ms", "best ms")
    return [
        Section(
            "Emit to received, line to frame",
            "From sending `POST /emit` to the receiver's request, and from writing a log line to"
            f" its frame at a viewer: {_ARRIVALS} of each, one after the other, on a stack in the"
            " local engine with one webhook and one viewer, IAM enforced. The first includes the"
            " time in which the engine polls stream and queue. The engine pushes log lines at once;"
            " CloudWatch Logs takes a second or a few.",
            head,
            [_spread("signal", signals), _spread("log line", lines)],
        ),
        Section(
            "A list of services",
            f"`GET /api/services/list` of {_SERVICES} HTTP services on loopback: {_LISTS} times"
            " with every check due, and each time again with fresh checks.",
            head,
            [_spread("checks due", sorted(due)), _spread("checks fresh", sorted(fresh))],
        ),
    ]


def _spread(name: str, took: list[float]) -> tuple[str, ...]:
    late = took[int(len(took) * 0.99)]
    return name, f"{median(took):.0f}", f"{late:.0f}", f"{took[0]:.0f}"


def _usual(name: str) -> str:
    return "authorizer" if "authorizer" in name else "keys_services"


def _ratio(what: str, measured: float, most: float) -> Budget:
    allowed = f"{most:.2f} of the usual way"
    return Budget(what, f"{measured:.2f}", allowed, measured <= most)


def _under(what: str, measured: float, most: int) -> Budget:
    return Budget(what, f"{measured:.0f} ms", f"under {most} ms here", measured < most)


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
