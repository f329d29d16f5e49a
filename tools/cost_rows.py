"""What requests, deliveries, retries and whole months cost: rows of the tables of docs/costs.md.

Where a row has two costs, the first is for busy traffic and the second for quiet traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import prices
from cost_counts import ASSUMED, COUNTED, STACK
from prices import HOURS, MILLION, SECONDS

_CHANGES = 3  # of a delivery that are counted: its signal, its creation, its record
_WITH_CENTS = 100  # dollars


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: what, how it was counted, its price, and its cost in each column."""

    what: str
    counted: str
    price: str
    costs: tuple[float, ...]


def traced(rate: float) -> float:
    """Return the share of requests that X-Ray traces at so many a second, evenly spread."""
    first = STACK["traced requests a second, at least"]
    if rate <= first:
        return 1.0
    return (first + STACK["share of requests that are traced"] * (rate - first)) / rate


def requests() -> list[Row]:
    """Price a million authorised requests: at 100 a second, and below one a second."""
    updates = (ASSUMED["updates of a busy key"], COUNTED["request of a key with a limit, writes"])
    shares = (traced(100), traced(1))
    return [
        Row("API Gateway", "1 request", prices.REST.text, _same(prices.REST.of(MILLION))),
        Row("Lambda, requests", "2: authorizer and handler", prices.RUN.text, _same(0.4)),
        Row(
            "Lambda, authorizer",
            f"{STACK['authorizer, GB']:g} GB, {ASSUMED['authorizer'] * 1_000:g} ms assumed",
            prices.TIME.text,
            _same(_time("authorizer", "authorizer")),
        ),
        Row(
            "Lambda, handler",
            f"{STACK['handler, GB']:g} GB, {ASSUMED['handler'] * 1_000:g} ms assumed",
            prices.TIME.text,
            _same(_time("handler", "handler")),
        ),
        Row(
            "DynamoDB",
            f"{updates[1]:g} write unit; {updates[0]:g} assumed if many environments serve a key",
            prices.WRITE.text,
            tuple(prices.WRITE.of(MILLION * one) for one in updates),
        ),
        Row(
            "CloudWatch Logs",
            f"{ASSUMED['KB of logs, request']:g} KB assumed: lines of both functions, the"
            " platform's, the access log",
            prices.LOGS.text,
            _same(prices.LOGS.of(ASSUMED["KB of logs, request"])),
        ),
        Row(
            "X-Ray",
            f"{_percent(shares[0])} and {_percent(shares[1])} of the requests",
            prices.TRACE.text,
            tuple(prices.TRACE.of(MILLION * one) for one in shares),
        ),
    ]


def deliveries() -> list[Row]:
    """Price a million deliveries by the first attempt: in full batches, and each alone."""
    fast, signals = (
        STACK["messages in a batch, fast lane"],
        STACK["signals in a batch of the fan-out"],
    )
    batch = STACK["changes in a batch of the statistics"] / _CHANGES
    runs = (1 / fast + 1 / signals + 1 / batch, 3.0)
    kept = _stored_gb()
    return [
        Row(
            "DynamoDB, writes",
            f"{COUNTED['delivery, writes']:g} units: signal 2, fan-out 3, attempt 3",
            prices.WRITE.text,
            _same(prices.WRITE.of(MILLION * COUNTED["delivery, writes"])),
        ),
        Row(
            "DynamoDB, reads",
            f"{COUNTED['delivery, reads']:g} units: the account's webhooks, webhook, signal",
            prices.READ.text,
            _same(prices.READ.of(MILLION * COUNTED["delivery, reads"])),
        ),
        Row(
            "SQS",
            f"send, receive, delete: each for up to {fast:g} messages",
            f"{prices.SQS.text}, and $0.10 for message groups",
            (_messages(fast), _messages(1)),
        ),
        Row("Lambda, requests", "fan-out, worker, statistics", prices.RUN.text, _runs(runs)),
        Row(
            "Lambda, time",
            f"fan-out {_ms('fan-out, full batch')} for {signals:g} or {_ms('fan-out, one signal')};"
            f" worker {_ms('worker, full batch')} for {fast:g} or {_ms('worker, one message')};"
            " statistics",
            prices.TIME.text,
            (
                _time("fan-out", "fan-out, full batch") / signals
                + _time("worker", "worker, full batch") / fast
                + _time("statistics", "statistics, full batch") / batch,
                _time("fan-out", "fan-out, one signal")
                + _time("worker", "worker, one message")
                + _time("statistics", "statistics, one delivery"),
            ),
        ),
        Row(
            "DynamoDB, counters",
            f"{COUNTED['batch of the stream, writes']:g} write units and a read for each batch of"
            " the stream and account",
            "the same",
            (_counting() / batch, _counting()),
        ),
        Row(
            "CloudWatch Logs",
            f"{ASSUMED['KB of logs, delivery']:g} KB and {ASSUMED['KB of logs, one run']:g} KB for"
            " each run assumed",
            prices.LOGS.text,
            tuple(
                prices.LOGS.of(
                    ASSUMED["KB of logs, delivery"] + ASSUMED["KB of logs, one run"] * one
                )
                for one in runs
            ),
        ),
        Row(
            "DynamoDB, storage with recovery",
            f"{kept:.1f} GB for a month: a signal of 1 KB for"
            f" {STACK['days that signals are kept']:g} days, a delivery seven more",
            "$0.45 a GB and month",
            _same(prices.STORED.of(kept) + prices.RECOVERY.of(kept)),
        ),
        Row(
            "Data out",
            f"{ASSUMED['KB of data out, delivery']:g} KB assumed",
            prices.OUT.text,
            _same(prices.OUT.of(ASSUMED["KB of data out, delivery"])),
        ),
    ]


def retries() -> list[Row]:
    """Price a million first retries, further ones, and attempts that hang."""
    fast, slow = STACK["messages in a batch, fast lane"], STACK["messages in a batch, slow lane"]
    reads = prices.READ.of(MILLION * COUNTED["retry, reads"])

    def work(writes: str, batch: float, took: str) -> float:
        units = prices.WRITE.of(MILLION * COUNTED[writes])
        return (
            units
            + reads
            + _messages(batch)
            + _runs((1 / batch,))[0]
            + _time("worker", took) / batch
        )

    dead = prices.WRITE.of(MILLION * COUNTED["dead letter after four attempts, writes"])
    hanging = {batch: _time("worker", "worker, hanging") / batch for batch in (slow, 1)}

    def given_up(batch: float) -> float:
        return dead + 4 * (
            reads + _messages(min(batch, 10)) + _runs((1 / batch,))[0] + hanging[batch]
        )

    first, further = "first retry, writes", "each further retry, writes"
    full, alone = "worker, full batch", "worker, one message"
    return [
        Row(
            "first retries",
            f"{COUNTED[first]:g} write units: the attempt before becomes an item of its own",
            "",
            (work(first, fast, full), work(first, 1, alone)),
        ),
        Row(
            "further retries",
            f"{COUNTED[further]:g} write units",
            "",
            (work(further, fast, full), work(further, 1, alone)),
        ),
        Row(
            "seconds of attempts that hang",
            f"{ASSUMED['worker, hanging']:g} s of {STACK['worker, GB']:g} GB for {slow:g} attempts,"
            " or for one",
            prices.TIME.text,
            (hanging[slow], hanging[1]),
        ),
        Row(
            "deliveries that are never answered",
            f"{COUNTED['dead letter after four attempts, writes']:g} write units and four such"
            " attempts",
            "",
            (given_up(slow), given_up(1)),
        ),
    ]


def idle() -> list[Row]:
    """Price a month without requests."""
    minutes = HOURS * 60
    polls = STACK["queues that Lambda polls"] * ASSUMED["empty receives of a queue in a month"]
    reads, alarms = COUNTED["idle sweep, reads"], STACK["alarms"]
    sweeping = (
        prices.RUN.of(minutes)
        + prices.TIME.of(minutes * STACK["sweeper, GB"] * ASSUMED["sweeper"])
        + prices.READ.of(minutes * reads)
        + prices.LOGS.of(minutes * 0.4 / MILLION)
    )
    return [
        Row("KMS key", "1", prices.KEY.text, (prices.KEY.of(1),)),
        Row("alarms", f"{alarms:g}", prices.ALARM.text, (prices.ALARM.of(alarms),)),
        Row(
            "SQS",
            f"{STACK['queues that Lambda polls']:g} queues: {polls:,.0f} empty receives",
            prices.SQS.text,
            (prices.SQS.of(polls),),
        ),
        Row(
            "sweeper",
            f"{minutes:,} runs, each with {reads:g} read units and"
            f" {ASSUMED['sweeper'] * 1_000:g} ms assumed",
            "as above",
            (sweeping,),
        ),
        Row("dashboard", "1", prices.DASHBOARD.text, (prices.DASHBOARD.of(1),)),
    ]


def months() -> list[Row]:
    """Price a quiet month, and one with 1,000 requests and 100 deliveries a second."""
    busy, quiet = (SECONDS * 1_000 / MILLION, 1.0), (SECONDS * 100 / MILLION, 0.1)
    of_requests = [sum(row.costs[column] for row in requests()) for column in (0, 1)]
    traces = prices.TRACE.of(MILLION * (traced(100) - traced(1_000)))
    calls = (
        busy[0] * (of_requests[0] - prices.REST.of(MILLION) - traces)
        + prices.of_rest_requests(busy[0]),
        busy[1] * of_requests[1],
    )
    sent = [sum(row.costs[column] for row in deliveries()) for column in (0, 1)]
    failed = [row.costs for row in retries()][3]
    hung = tuple(quiet[column] * 0.01 * failed[column] for column in (0, 1))
    base = sum(row.costs[0] for row in idle())
    return [
        Row("authorised requests", "2,628 million, or one million", "", calls),
        Row(
            "deliveries",
            "263 million, or 100,000",
            "",
            tuple(quiet[column] * sent[column] for column in (0, 1)),
        ),
        Row("1 % of them are never answered", "four attempts in the slow lane", "", hung),
        Row("what an idle stack costs", "dashboard included", "", (base, base)),
    ]


def capacity() -> list[str]:
    """Price steady loads on demand and provisioned, as the lines of a table."""
    lines = [
        "| steady load | units | on demand | provisioned, all used | half used | a quarter used |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    kinds = (
        ("requests a second", "table `keys`", ASSUMED["updates of a busy key"], 0.0),
        ("deliveries a second", "table `main` and `by_due`", 6.0, 2.0),
    )
    for what, where, in_table, in_index in kinds:
        for rate in (100, 1_000):
            used = (in_table + in_index) * rate
            # `by_due` has as many units as the table.
            bought = in_table * rate * (2 if in_index else 1)
            month = prices.WRITE_HOUR.of(bought) * HOURS
            costs = [prices.WRITE.of(used * SECONDS), month, month * 2, month * 4]
            cells = " | ".join(dollars(one) for one in costs)
            lines.append(f"| {rate:,} {what} | {used:,.0f} writes a second, {where} | {cells} |")
    return lines


def dollars(cost: float) -> str:
    """Return dollars and cents, without the cents from $100."""
    return f"${cost:,.2f}" if cost < _WITH_CENTS else f"${cost:,.0f}"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %" if share < 1 else "100 %"


def _ms(name: str) -> str:
    return f"{ASSUMED[name] * 1_000:g} ms"


def _same(cost: float) -> tuple[float, float]:
    return cost, cost


def _time(function: str, took: str) -> float:
    return prices.TIME.of(MILLION * STACK[f"{function}, GB"] * ASSUMED[took])


def _runs(runs: Sequence[float]) -> tuple[float, ...]:
    return tuple(prices.RUN.of(MILLION * one) for one in runs)


def _messages(batch: float) -> float:
    requests_ = 3 * MILLION / min(batch, 10)
    return prices.SQS.of(requests_) + prices.SQS_GROUP.of(requests_)


def _counting() -> float:
    return prices.WRITE.of(MILLION * COUNTED["batch of the stream, writes"]) + prices.READ.of(
        MILLION * COUNTED["batch of the stream, reads"]
    )


def _stored_gb() -> float:
    """Return the GB-months that a million deliveries lie in the table, with 100 bytes an item."""
    days = STACK["days that signals are kept"]
    signal = (ASSUMED["bytes of a stored signal"] + 100) * days
    delivery = (COUNTED["stored delivery, bytes"] + 100) * (days + 7)
    return (signal + delivery) * MILLION / 1e9 / (HOURS / 24)


def _run(batch: float) -> float:
    """Return what a million messages cost in batches: SQS and the worker's runs."""
    return _messages(batch) + _runs((1 / batch,))[0]
