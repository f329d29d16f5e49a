"""Tables: conversion of values, reads and writes, and DynamoDB's errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.core import settings
from gatehouse.core.errors import BadInput, IdempotencyReused, Unavailable
from gatehouse.core.request import Guard
from gatehouse.core.settings import Setting, SettingError
from gatehouse.dynamo import idempotency
from gatehouse.dynamo.client import DynamoClient
from gatehouse.dynamo.table import (
    ConditionFailed,
    Table,
    Tables,
    TransactionCanceled,
    TransactionConflict,
    call,
    marshal,
    transact,
    unmarshal,
)
from support.aws.faults import Wire, conflict_in_transaction, error, first

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**37), 10**37)
    | st.text(st.characters(codec="utf-8"), max_size=10)
    | st.binary(min_size=1, max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=10,
)
KEY = {"pk": "p", "sk": "s"}


@given(st.dictionaries(st.text("abc", min_size=1), values, max_size=5))
def test_every_value_is_unmarshalled_as_it_was_marshalled(item: dict[str, Any]) -> None:
    assert unmarshal(marshal(item)) == item


def test_values_are_read_back_from_the_table_unchanged(tables: Tables) -> None:
    item = {
        **KEY,
        "none": None,
        "true": True,
        "int": 1_800_000_000_000_001,
        "negative": -7,
        "text": "☃",
        "bytes": b"\x00\xff",
        "list": [1, "a", None, [], {}],
        "map": {"a": {"b": [0]}},
        "empty": "",
    }
    transact(tables.main.client, [tables.main.put_new(item)])
    assert tables.main.get(KEY) == item
    assert [type(tables.main.get(KEY)[name]) for name in ("int", "true", "bytes")] == [
        int,
        bool,
        bytes,
    ]
    assert tables.main.get({"pk": "p", "sk": "other"}) is None


def test_a_failed_condition_carries_the_existing_item(tables: Tables) -> None:
    for item in (None, {**KEY, "n": 1}):
        if item:
            transact(tables.main.client, [tables.main.put_new(item)])
        with pytest.raises(ConditionFailed) as failed:
            tables.main.update(
                KEY, "SET n = :two", condition="n = :two", names={}, values={":two": 2}
            )
        assert failed.value.item == item


def test_a_failed_transaction_writes_nothing(tables: Tables) -> None:
    main = tables.main
    transact(main.client, [main.put_new({**KEY, "n": 1}), main.put_new({"pk": "p", "sk": "t"})])

    def add(key: dict[str, str], **condition: Any) -> Any:
        fields = {"condition": "attribute_exists(pk)", "names": {}, "values": {":one": 1}}
        return main.change(key, "SET n = n + :one", **(fields | condition))

    writes = [
        add(KEY),
        main.put_new({"pk": "new", "sk": "s"}),
        main.put_new({"pk": "p", "sk": "t"}),
        main.check(
            {"pk": "none", "sk": "s"}, condition="attribute_exists(pk)", names={}, values={}
        ),
    ]
    with pytest.raises(TransactionCanceled) as canceled:
        transact(main.client, writes)
    assert canceled.value.failed == {2: {"pk": "p", "sk": "t"}, 3: None}
    assert canceled.value.conflict is False
    assert main.get(KEY) == {**KEY, "n": 1}
    assert main.get({"pk": "new", "sk": "s"}) is None
    transact(main.client, writes[:2])
    assert main.get(KEY) == {**KEY, "n": 2}


@pytest.mark.parametrize(
    "code",
    [
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    ],
)
def test_transient_errors_of_dynamodb_raise_unavailable(
    tables: Tables, room_line: Wire, code: str
) -> None:
    room_line.before = first(1, lambda: error(code))
    with pytest.raises(Unavailable) as unavailable:
        tables.main.get(KEY)
    assert unavailable.value.__cause__ is not None
    assert unavailable.value.retry_after == 1


def test_conflicts_and_failed_conditions_are_distinguished(tables: Tables, room_line: Wire) -> None:
    room_line.before = first(1, lambda: error("TransactionConflictException"))
    with pytest.raises(TransactionConflict):
        tables.main.update(KEY, "SET n = :n", condition="n = :n", names={}, values={":n": 1})
    room_line.before = first(1, lambda: conflict_in_transaction(2))
    with pytest.raises(TransactionCanceled) as canceled:
        transact(tables.main.client, [tables.main.put_new(KEY)])
    assert (canceled.value.failed, canceled.value.conflict) == ({}, True)


def test_a_validation_error_of_dynamodb_is_raised_as_it_is(tables: Tables, room_line: Wire) -> None:
    for code in ("ValidationException", "AccessDeniedException", "ValidationException"):
        room_line.before = first(1, lambda code=code: error(code))
        with pytest.raises(tables.main.client.exceptions.ClientError):
            tables.main.get(KEY)
    room_line.before = first(
        1,
        lambda: error(
            "TransactionCanceledException", CancellationReasons=[{"Code": "ValidationError"}]
        ),
    )
    with pytest.raises(tables.main.client.exceptions.TransactionCanceledException):
        transact(tables.main.client, [tables.main.put_new(KEY)])


def test_an_unreachable_table_raises_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    client = DynamoClient()
    with pytest.raises(Unavailable):
        Table("any", client).get(KEY)
    with pytest.raises(Unavailable):
        Table("any", client).check_readable(key=("pk", "sk"))


def test_a_missing_table_raises_unavailable(tables: Tables) -> None:
    with pytest.raises(Unavailable):
        Table("missing", tables.main.client).check_readable(key=("pk", "sk"))
    tables.main.check_readable(key=("pk", "sk"))
    tables.keys.check_readable(key=("pk",))


def test_added_numbers_start_at_zero(tables: Tables) -> None:
    key = {"pk": "A#1", "sk": "1"}
    for also in ({"ttl": 7}, {}):
        write = tables.main.add(key, {"count": 2, "size": -1}, also=also)
        transact(tables.main.client, [write])

    assert tables.main.get(key) == {**key, "count": 4, "size": -2, "ttl": 7}


def test_a_whole_partition_is_read_page_by_page(tables: Tables) -> None:
    names = [f"{number:04d}" for number in range(7)]
    for name in names:
        transact(tables.main.client, [tables.main.put_new({"pk": "p", "sk": name})])
    transact(tables.main.client, [tables.main.put_new({"pk": "other", "sk": "x"})])
    assert [item["sk"] for item in tables.main.query_all("p")] == names
    below, more = tables.main.query("p", below="0003", limit=10)
    assert ([item["sk"] for item in below], more) == (names[:3], False)
    page, more = tables.main.query("p", limit=3, after={"pk": "p", "sk": "0001"})
    assert ([item["sk"] for item in page], more) == (["0002", "0003", "0004"], True)
    newest, _ = tables.main.query("p", limit=2, newest_first=True)
    assert [item["sk"] for item in newest] == ["0006", "0005"]


def test_other_exceptions_pass_through() -> None:
    def bug() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        call(bug)


def _guard(now: int, **changes: Any) -> Guard:
    fields: dict[str, Any] = {
        "account": "a",
        "identity": "i",
        "method": "POST",
        "path": "/x",
        "body": b"{}",
        **changes,
    }
    made = idempotency.guard(fields.pop("header", "token"), now=now, **fields)
    assert made is not None
    return made


def test_an_idempotency_record_expires_after_a_day_without_ttl(tables: Tables) -> None:
    day = 86_400_000_000
    idempotency.check(tables.main, None)
    idempotency.check(tables.main, _guard(0))
    transact(tables.main.client, [idempotency.record(tables.main, _guard(0), made="thing")])
    for now in (0, day - 1):
        with pytest.raises(IdempotencyReused, match="Already done: made thing"):
            idempotency.check(tables.main, _guard(now))
        with pytest.raises(IdempotencyReused, match="with another body"):
            idempotency.check(tables.main, _guard(now, body=b"{ }"))
        with pytest.raises(TransactionCanceled):
            transact(
                tables.main.client, [idempotency.record(tables.main, _guard(now), made="other")]
            )
    idempotency.check(tables.main, _guard(day))
    transact(tables.main.client, [idempotency.record(tables.main, _guard(day), made="other")])
    with pytest.raises(IdempotencyReused, match="other"):
        idempotency.check(tables.main, _guard(day))


@pytest.mark.parametrize("part", ["account", "identity", "method", "path", "header"])
def test_a_guard_depends_on_account_identity_method_and_path(tables: Tables, part: str) -> None:
    transact(tables.main.client, [idempotency.record(tables.main, _guard(0), made="x")])
    idempotency.check(tables.main, _guard(0, **{part: "other"}))


@pytest.mark.parametrize("header", ["", "x" * 256, "é", "a\nb", "a\tb", "\x00", "a\x7f"])
def test_an_invalid_idempotency_key_is_refused(header: str) -> None:
    with pytest.raises(BadInput):
        _guard(0, header=header)


def test_a_missing_or_invalid_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEHOUSE_KEYS_TABLE", raising=False)
    with pytest.raises(SettingError, match="GATEHOUSE_KEYS_TABLE is not set"):
        settings.KEYS_TABLE.text()
    monkeypatch.setenv("GATEHOUSE_DEFAULT_RATE_LIMIT", "many")
    with pytest.raises(SettingError, match="GATEHOUSE_DEFAULT_RATE_LIMIT must be a whole number"):
        settings.DEFAULT_RATE_LIMIT.number()
    monkeypatch.setenv("GATEHOUSE_ACCOUNT_CREATION", "ajar")
    with pytest.raises(SettingError, match="must be one of open, closed"):
        settings.ACCOUNT_CREATION.text()
    assert Setting("GATEHOUSE_NOT_THERE", "x", "7").number() == 7
