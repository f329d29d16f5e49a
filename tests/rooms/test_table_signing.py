"""Signatures and endpoints of requests to tables, compared with those of botocore."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.regions import EndpointResolver

from gatehouse.dynamo import endpoint
from gatehouse.dynamo.endpoint import EndpointInvalid
from gatehouse.dynamo.signing import Credentials, Signer

OPERATIONS = ("GetItem", "Query", "TransactWriteItems")
TEXT = "abcXYZ019/+=%&?#: \t~é☃\U0001f600"


def by_botocore(
    host: str, region: str, caller: Credentials, *, operation: str, body: bytes
) -> dict[str, str]:
    request = AWSRequest("POST", f"https://{host}/", data=body)
    request.headers["Host"] = host
    request.headers["Content-Type"] = "application/x-amz-json-1.0"
    request.headers["X-Amz-Target"] = f"DynamoDB_20120810.{operation}"
    known = BotoCredentials(caller.key_id, caller.secret, caller.token or None)
    botocore.auth.SigV4Auth(known, "dynamodb", region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return first, {name.lower(): value for name, value in headers.items()}, body


def test_thousands_of_requests_are_signed_as_botocore_signs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(7)  # noqa: S311 - a seed that can be told

    def text(most: int) -> str:
        return "".join(chance.choices(TEXT, k=chance.randrange(most)))

    def plain(least: int, most: int) -> str:
        return "".join(chance.choices(TEXT[:16], k=chance.randrange(least, most)))

    for _ in range(60):
        region = chance.choice(("us-east-1", "eu-west-3", "cn-north-1", "us-gov-west-1"))
        host = chance.choice((f"dynamodb.{region}.amazonaws.com", "127.0.0.1:4566"))
        caller = Credentials(plain(1, 30), text(50) + "x", chance.choice(("", plain(1, 900))))
        signer = Signer(host, region, caller)
        moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        for _ in range(50):
            # Often the same day, and sometimes an earlier one: the key of a day is kept.
            moment += dt.timedelta(seconds=chance.randrange(-10_000, 40_000))
            monkeypatch.setattr(
                botocore.auth, "get_current_datetime", lambda moment=moment, **_: moment
            )
            operation, body = chance.choice(OPERATIONS), text(400).encode()
            request = signer.request(operation, body, at=moment.strftime("%Y%m%dT%H%M%SZ"))
            expected = by_botocore(host, region, caller, operation=operation, body=body)
            first, headers, sent = parsed(request)
            assert first == "POST / HTTP/1.1"
            assert (sent, headers.pop("content-length")) == (body, str(len(body)))
            assert headers.pop("accept-encoding") == "identity"
            assert headers == expected


def test_secrets_of_a_caller_are_in_no_representation() -> None:
    shown = repr(Credentials("key", "hidden", "hidden"))
    assert "hidden" not in shown


def test_every_region_has_the_host_that_botocore_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(variable, raising=False)
    known: Any = EndpointResolver(botocore.session.get_session().get_data("endpoints"))
    checked = 0
    for partition in known.get_available_partitions():
        for region in known.get_available_endpoints("dynamodb", partition):
            expected = known.construct_endpoint("dynamodb", region, partition)["hostname"]
            if region == "local" or "fips" in region:
                continue
            found = endpoint.read_endpoint(region)
            assert (found.scheme, found.authority, found.port) == ("https", expected, 443)
            checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:4566", ("http", "127.0.0.1", 4566, "127.0.0.1:4566")),
        ("http://localhost/", ("http", "localhost", 80, "localhost")),
        ("https://vpce-1.example", ("https", "vpce-1.example", 443, "vpce-1.example")),
        ("https://one.example:443", ("https", "one.example", 443, "one.example")),
        ("http://[::1]:4566", ("http", "::1", 4566, "[::1]:4566")),
    ],
)
def test_a_variable_names_another_endpoint(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: tuple[str, str, int, str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    found = endpoint.read_endpoint("eu-west-1")
    assert (found.scheme, found.host, found.port, found.authority) == expected
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://own.example:1")
    assert endpoint.read_endpoint("eu-west-1").host == "own.example"


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:4566", "ftp://localhost", "http://", "http://a:port", "http://a/path"),
        *("http://a?x=1", "http://[::1", "http://a:70000"),
    ],
)
def test_an_endpoint_that_is_no_url_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", url)
    with pytest.raises(EndpointInvalid, match="AWS_ENDPOINT_URL_DYNAMODB must be a URL"):
        endpoint.read_endpoint("eu-west-1")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"),
    ],
)
def test_the_region_is_lambdas_or_the_shells(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert endpoint.read_region() == expected
