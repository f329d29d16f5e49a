"""The table with limits does the arithmetic that DynamoDB documents, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from typing import Any

import pytest

from gatehouse.core.clock import SECOND
from gatehouse.dynamo.answers import CallRefused
from gatehouse.dynamo.attributes import marshal
from gatehouse.dynamo.table import (
    ConditionFailed,
    Table,
    TransactionCanceled,
    TransactionConflict,
    transact,
)
from gatehouse.webhooks.secret_cache import SecretCache
from support.aws.throttled_table import LATENCIES, Limits, ThrottledDynamo
from support.aws.virtual_threads import in_virtual_time
from support.aws.virtual_time import Stuck, VirtualTime

KEYS = [("pk", "HASH"), ("sk", "RANGE")]
EXACT = Limits(jitter=(1, 1), kilobyte=0)
AT_ONCE = Limits(latencies=dict.fromkeys(LATENCIES, 0.0), attempts=1, kilobyte=0)


def _table(time: VirtualTime, limits: Limits = EXACT) -> tuple[ThrottledDynamo, Table]:
    client = ThrottledDynamo(time, limits)
    schema = [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS]
    listed = [{**one, "AttributeName": f"listed_{one['AttributeName']}"} for one in schema]
    named = [one["AttributeName"] for one in (*schema, *listed)]
    client.add_table(
        "t",
        {
            "KeySchema": schema,
            "AttributeDefinitions": [{"AttributeName": n, "AttributeType": "S"} for n in named],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "by_listing",
                    "KeySchema": listed,
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        },
    )
    return client, Table("t", client)  # type: ignore[arg-type]


def _until_admitted(time: VirtualTime, client: ThrottledDynamo, call: Callable[[], Any]) -> None:
    """Call, again after a millisecond while the table has no capacity."""
    while True:
        try:
            call()
        except client.exceptions.ThrottlingException:
            time.sleep(0.001)
        else:
            return


def _item(pk: str, sk: str, **more: Any) -> dict[str, Any]:
    return {"pk": pk, "sk": sk, **more}


def _put(client: ThrottledDynamo, item: dict[str, Any]) -> None:
    client.put_item(TableName="t", Item=marshal(item))


@pytest.mark.parametrize(
    ("partitions", "size", "writes", "seconds"),
    [(1, 1, 2_000, 1), (1, 1, 1_000, 0), (2, 1, 2_000, 0), (1, 1_500, 2_000, 3)],
)
def test_writes_beyond_the_burst_of_a_partition_take_its_rate(
    partitions: int, size: int, writes: int, seconds: float
) -> None:
    time = VirtualTime()
    client, _ = _table(time, AT_ONCE)

    def act() -> None:
        for n in range(writes):
            item = _item(f"p{n % partitions}", str(n), text="x" * size)
            _until_admitted(time, client, lambda item=item: _put(client, item))

    time.run(act)

    assert time.seconds == pytest.approx(seconds, abs=0.003)
    assert sum(client.writes.used.values()) == writes * (1 if size == 1 else 2)


@pytest.mark.parametrize(("consistent", "seconds"), [(True, 2), (False, 0.5)])
def test_reads_cost_a_unit_for_4_kb_and_half_of_it_if_eventually_consistent(
    consistent: bool,  # noqa: FBT001
    seconds: float,
) -> None:
    time = VirtualTime()
    client, _ = _table(time, AT_ONCE)
    client.load("t", [marshal(_item("p", "s", text="x" * 5_000))])
    read = {"TableName": "t", "Key": marshal(_item("p", "s")), "ConsistentRead": consistent}

    def act() -> None:
        for _ in range(4_500):
            _until_admitted(time, client, lambda: client.get_item(**read))

    time.run(act)

    assert time.seconds == pytest.approx(seconds, abs=0.003)


def test_an_index_partition_without_capacity_refuses_the_write_of_the_table() -> None:
    time = VirtualTime()
    client, _ = _table(time, AT_ONCE)

    def act() -> None:
        for n in range(1_000):
            _put(client, _item(f"p{n}", "s", listed_pk="one", listed_sk=str(n)))
        with pytest.raises(CallRefused) as refused:
            _put(client, _item("another", "s", listed_pk="one", listed_sk="another"))
        assert refused.value.response["Error"]["Code"] == "ThrottlingException"
        _put(client, _item("another", "s"))  # which changes no entry of the index
        _put(client, _item("p0", "s", listed_pk="one", listed_sk="0", more="x"))  # nor this
        time.sleep(0.001)  # until one unit is there: an entry that moves costs two
        _put(client, _item("p0", "s", listed_pk="two", listed_sk="0"))

    time.run(act)

    assert client.refused == {("t", "by_listing", "one"): 1}
    assert client.writes.used["t", "by_listing", "one"] == 1_001
    assert client.writes.used["t", "by_listing", "two"] == 1


def test_latencies_add_up() -> None:
    time = VirtualTime()
    client, table = _table(time)

    def act() -> None:
        table.insert(_item("p", "s"))
        table.get(_item("p", "s"))
        table.query("p", limit=10)
        table.batch_get([_item("p", "s")])
        transact(client, [table.overwrite(_item("p", "s"))])  # type: ignore[arg-type]

    time.run(act)

    names = ("PutItem", "GetItem", "Query", "BatchGetItem", "TransactWriteItems")
    assert time.seconds == pytest.approx(sum(LATENCIES[name] for name in names))
    assert client.writes.used["t", "", "p"] == 1 + 2  # twice in a transaction


def test_items_are_locked_from_prepare_to_commit_of_a_transaction() -> None:
    time = VirtualTime()
    client, table = _table(time)
    results: list[str] = []

    def together(at: float, *keys: str) -> None:
        time.sleep(at)
        try:
            transact(client, [table.overwrite(_item(key, "s", at=str(at))) for key in keys])  # type: ignore[arg-type]
        except TransactionCanceled as canceled:
            results.append(f"{at} conflict {canceled.conflict} {canceled.failed}")
        else:
            results.append(f"{at} written")

    def alone(at: float, key: str) -> None:
        time.sleep(at)
        try:
            table.insert(_item(key, "s"))
        except TransactionConflict:
            results.append(f"{at} conflict alone")
        except ConditionFailed:
            results.append(f"{at} exists")

    # The first locks both items at 8 ms and commits at 16 ms.
    time.run(
        lambda: together(0, "a", "b"),
        lambda: together(0.001, "b", "c"),  # prepares at 9 ms
        lambda: together(0.009, "b", "d"),  # prepares at 17 ms
        lambda: alone(0.010, "a"),  # at 15 ms
        lambda: alone(0.012, "a"),  # at 17 ms
    )

    assert sorted(results) == [
        "0 written",
        "0.001 conflict True {}",
        "0.009 written",
        "0.01 conflict alone",
        "0.012 exists",
    ]


def test_an_index_shows_a_write_after_its_lag() -> None:
    time = VirtualTime()
    client, table = _table(time)
    seen: list[tuple[float, int]] = []

    def read() -> None:
        found = table.between("one", index="by_listing", names=("listed_pk", "listed_sk"), limit=9)
        seen.append((time.seconds, len(found)))

    def act() -> None:
        _put(client, _item("p", "s", listed_pk="one", listed_sk="1"))  # stored at 5 ms
        read()
        time.sleep(0.012)
        read()

    time.run(act)

    assert seen == [(pytest.approx(0.009), 0), (pytest.approx(0.025), 1)]


def test_the_client_tries_twice_and_waits_up_to_a_second_where_it_is_throttled() -> None:
    time = VirtualTime(seed=1)
    client, _ = _table(time, Limits(latencies=dict.fromkeys(LATENCIES, 0.0), writes=0.001))

    def act() -> None:
        _put(client, _item("p", "1"))
        with pytest.raises(CallRefused):
            _put(client, _item("p", "2"))

    time.run(act)

    assert 0 < time.seconds < 1
    assert client.calls["PutItem"] == 3


def test_thread_pools_and_futures_of_the_library_run_in_virtual_time() -> None:
    time = VirtualTime()
    ended: list[tuple[str, float]] = []

    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    def act() -> None:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, [1.0] * 8)) == [1.0] * 8
        ended.append(("map", time.seconds))
        pool = ThreadPoolExecutor(2)
        futures = [pool.submit(work, seconds) for seconds in (3.0, 1.0)]
        assert [one.result() for one in as_completed(futures)] == [1.0, 3.0]
        ended.append(("as_completed", time.seconds))
        late = pool.submit(work, 60.0)
        assert wait([late], timeout=0.5).not_done == {late}
        with pytest.raises(TimeoutError):
            late.result(timeout=0.5)
        ended.append(("timeout", time.seconds))

    with in_virtual_time(time):
        time.run(act)

    assert ended == [("map", 2.0), ("as_completed", 5.0), ("timeout", 6.0)]
    assert time.now == 6 * SECOND


def test_a_lock_of_our_rooms_waits_in_virtual_time() -> None:
    time = VirtualTime()
    begun: list[float] = []
    with in_virtual_time(time):
        cache = SecretCache(None, None)  # type: ignore[arg-type]

        def act() -> None:
            with cache._lock:  # noqa: SLF001
                begun.append(time.seconds)
                time.sleep(1)

        time.run(act, act, act)

    assert begun == [0.0, 1.0, 2.0]


def test_a_run_is_the_same_for_the_same_seed() -> None:
    def run(seed: int) -> list[tuple[int, int]]:
        time = VirtualTime(seed=seed)
        client, _ = _table(time, Limits())
        order: list[tuple[int, int]] = []

        def act(number: int) -> None:
            for n in range(20):
                _put(client, _item(f"p{number}", str(n)))
                order.append((number, time.now))

        time.run(*[lambda number=number: act(number) for number in range(10)])
        return order

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_an_error_of_an_actor_and_actors_that_all_wait_end_a_run() -> None:
    time = VirtualTime()

    def fail() -> None:
        time.sleep(1)
        raise ValueError("of an actor")

    with pytest.raises(ValueError, match="of an actor"):
        time.run(lambda: time.sleep(5), fail)
    with pytest.raises(Stuck):
        time.run(lambda: time.block(None))
    time.run(lambda: time.sleep(5), until=time.now + 2 * SECOND)

    assert time.now == 3 * SECOND
