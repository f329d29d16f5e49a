"""The real engine of this clone refuses everybody who has neither of the stack's secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from gatehouse_cli.local import engine, engine_access
from gatehouse_cli.local.engine_access import EngineAccess
from gatehouse_cli.local.folder import LocalFolder

PYTHON = Path(__file__).parents[2] / ".gatehouse" / "tools" / "engine" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="`make setup` installs the engine")


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineAccess]:
    home = LocalFolder(tmp_path_factory.mktemp("home"))
    home.prepare()
    chosen = engine_access.choose(home.engine_access, port=None)
    with engine.running(PYTHON, home, access=chosen, built=home.root, enforce_iam=True):
        yield chosen


def client(access: EngineAccess, service: str = "dynamodb", **credentials: str) -> Any:
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    own = {"aws_access_key_id": access.key_id, "aws_secret_access_key": access.secret}
    session = boto3.Session(region_name="us-east-1", **(own | credentials))  # type: ignore[arg-type]
    return session.client(service, endpoint_url=access.endpoint, config=config)  # type: ignore[call-overload]


def test_the_stack_s_own_key_is_served(access: EngineAccess) -> None:
    assert client(access).list_tables()["TableNames"] == []


def test_signed_requests_of_every_form_are_served(access: EngineAccess) -> None:
    """A body with its hash in a header, a path with escapes, a query, and a Query API."""
    store = client(access, "s3")
    store.create_bucket(Bucket="a-bucket")
    store.put_object(Bucket="a-bucket", Key="a b/ü+%.txt", Body=b"x" * 100_000)
    listed = store.list_objects_v2(Bucket="a-bucket", Prefix="a b/", MaxKeys=5)

    assert [item["Key"] for item in listed["Contents"]] == ["a b/ü+%.txt"]
    assert store.get_object(Bucket="a-bucket", Key="a b/ü+%.txt")["Body"].read() == b"x" * 100_000
    assert client(access, "sqs").create_queue(QueueName="q")["QueueUrl"]
    assert client(access, "iam").list_roles()["Roles"] == []


@pytest.mark.parametrize(
    "credentials",
    [
        {"aws_access_key_id": "test", "aws_secret_access_key": "test"},
        {"aws_access_key_id": "000000000000", "aws_secret_access_key": "test"},
        {"aws_secret_access_key": "test"},
        {"aws_access_key_id": "ASIA" + "0" * 16, "aws_secret_access_key": "s"},
    ],
)
@pytest.mark.parametrize("service", ["dynamodb", "s3", "sts"])
def test_well_known_and_wrong_keys_are_refused(
    access: EngineAccess, service: str, credentials: dict[str, str]
) -> None:
    calls = {"dynamodb": "list_tables", "s3": "list_buckets", "sts": "get_caller_identity"}
    # Clients of XML show the refusal, which they cannot parse, or its status only.
    with pytest.raises((ClientError, ResponseParserError), match=r"GATEHOUSE_ENGINE|\(403\)"):
        getattr(client(access, service, **credentials), calls[service])()


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/_ministack/reset", {}),
        ("POST", "/_ministack/config", {}),
        ("GET", "/_ministack/health", {}),
        ("GET", "/_ministack/ready", {}),
        ("GET", "/_localstack/health", {}),
        ("GET", "/health", {}),
        ("GET", "/", {}),
        ("POST", "/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}),
        ("OPTIONS", "/", {"Origin": "http://evil.example"}),
        ("GET", "/_aws/execute-api/id/live/v1/whoami", {}),
        ("GET", "/_aws/execute-api/id/live/v1/whoami", {"X-Gatehouse-Door": "guess"}),
        ("GET", "/", {"Authorization": "AWS4-HMAC-SHA256 nonsense"}),
        ("GET", "/", {"Authorization": "AWS test:c2ln"}),
        ("GET", "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test/a/b/s3/aws4_request", {}),
    ],
)
def test_requests_without_a_signature_are_refused(
    access: EngineAccess, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = httpx.request(method, access.endpoint + path, headers=headers, trust_env=False)

    assert answer.status_code == 403
    assert "GATEHOUSE_ENGINE_SECRET" in answer.json()["message"]
    assert "access-control-allow-origin" not in answer.headers


def test_the_front_door_s_secret_opens_stages_only(access: EngineAccess) -> None:
    def status(path: str, method: str = "GET") -> int:
        url = access.endpoint + path
        headers = {name.decode(): value.decode() for name, value in access.door_headers}
        return httpx.request(method, url, headers=headers, trust_env=False).status_code

    assert status("/_ministack/ready") == 200
    assert status("/_aws/execute-api/unknown/live/x") == 404
    assert status("/_ministack/reset", "POST") == 403
    assert status("/_ministack/health") == 403
    assert status("/") == 403


def test_the_reset_is_closed_to_the_stack_s_own_key_too(access: EngineAccess) -> None:
    request = AWSRequest("POST", f"{access.endpoint}/_ministack/reset", data=b"")
    SigV4Auth(Credentials(access.key_id, access.secret), "s3", "us-east-1").add_auth(request)
    signed = dict(request.headers)
    answer = httpx.post(str(request.url), headers=signed, trust_env=False)

    assert answer.status_code == 403


def test_a_socket_without_the_front_door_s_secret_is_refused(access: EngineAccess) -> None:
    url = access.endpoint.replace("http", "ws", 1) + "/_aws/execute-api/id/live"

    with pytest.raises(InvalidStatus) as refused:
        connect(url, proxy=None)

    assert refused.value.response.status_code == 403


def test_a_changed_body_or_path_is_refused(access: EngineAccess) -> None:
    """The signature covers the whole request, so one that was seen serves for no other."""
    seen: dict[str, Any] = {}

    def keep(request: Any, **_: Any) -> None:
        seen.update(headers=dict(request.headers), url=request.url, body=request.body)

    dynamodb = client(access)
    dynamodb.meta.events.register("before-send", keep)
    dynamodb.list_tables(Limit=10)

    def status(path: str, body: bytes) -> int:
        url = access.endpoint + path
        return httpx.post(url, headers=seen["headers"], content=body, trust_env=False).status_code

    assert status("/", seen["body"]) == 200
    assert status("/", seen["body"].replace(b"10", b"11")) == 403
    assert status("/other", seen["body"]) == 403


def test_secrets_and_port_are_kept_in_a_file_of_the_owner(tmp_path: Path) -> None:
    file = tmp_path / "engine-access"

    first = engine_access.choose(file, port=None)
    second = engine_access.choose(file, port=None)
    moved = engine_access.choose(file, port=first.port + 1)

    assert first == second
    assert engine_access.find(file) == moved
    assert (moved.port, moved.secret) == (first.port + 1, first.secret)
    assert file.stat().st_mode & 0o777 == 0o600
    assert len({first.secret, first.door, first.key_id}) == 3
    assert engine_access.choose(tmp_path / "other", port=None).secret != first.secret
