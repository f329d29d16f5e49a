"""The page for receivers: its code, run out of the page, accepts our deliveries and no others.

Python runs always; Node, Go and Ruby where they are on the PATH. Where one is not, its tests are
skipped and the report names it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from gatehouse.signals.model import LARGEST_METADATA, LARGEST_PAYLOAD, LONGEST_CONTENT
from gatehouse.webhooks import signing
from house.test_examples import DOCS, blocks

PAGE = "receiving.md"
TEXT = (DOCS / PAGE).read_text()
(VECTOR,) = (json.loads(text) for text in blocks(PAGE, "json"))
OLD, NEW = "".join(VECTOR["old_secret"]), "".join(VECTOR["new_secret"])
BODY = VECTOR["body"].encode()
AT = int(VECTOR["headers"]["webhook-timestamp"])
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
FIRST, SECOND = VECTOR["headers"]["webhook-signature"].split(" ")


@dataclass(frozen=True)
class Case:
    """One request to verify; `headers` have lower-case names."""

    headers: dict[str, str]
    secret: str = OLD
    body: bytes = BODY
    now: int = AT

    def to_json(self) -> dict[str, Any]:
        return {
            "secret": self.secret,
            "headers": self.headers,
            "body": base64.b64encode(self.body).decode(),
            "now": self.now,
        }


SENT = {name.lower(): value for name, value in VECTOR["headers"].items()}
GENUINE = Case(SENT)


def sent(**changed: str | None) -> Case:
    """Return the test vector with headers changed or removed."""
    headers = SENT | {name.replace("_", "-"): value for name, value in changed.items()}
    return Case({name: value for name, value in headers.items() if value is not None})


def fresh(*secrets: str, body: bytes, at: int) -> Case:
    """Sign as the delivery worker does."""
    headers = signing.headers(
        secrets, delivery_id="delivery:x", event="pulse", timestamp=at, body=body
    )
    lower = {name.lower(): value for name, value in headers.items()}
    return Case(lower, secrets[-1], body, at)


ACCEPTED = {
    "the vector, with the old secret": GENUINE,
    "the vector, with the new secret": replace(GENUINE, secret=NEW),
    "five minutes late": replace(GENUINE, now=AT + 300),
    "five minutes early": replace(GENUINE, now=AT - 300),
    "with a later version's signature beside": sent(webhook_signature=f"v2,x {FIRST} v1a,y"),
    "what the worker signs": fresh(OTHER, body=b'{"content":"\xc3\xa9"}', at=AT + 9_999),
    "any bytes": fresh(OTHER, NEW, body=bytes(range(256)), at=AT),
    "an empty body": fresh(OTHER, body=b"", at=AT),
}
REFUSED = {
    "too late": replace(GENUINE, now=AT + 301),
    "too early": replace(GENUINE, now=AT - 301),
    "another secret": replace(GENUINE, secret=OTHER),
    "another body": replace(GENUINE, body=BODY + b" "),
    "no body": replace(GENUINE, body=b""),
    "another id": sent(webhook_id="delivery:01940000-0000-7000-8000-000000000002"),
    "another time": sent(webhook_timestamp=str(AT + 1)),
    "the signature of another secret": sent(webhook_signature=SECOND),
    "the signature without its version": sent(webhook_signature=FIRST.removeprefix("v1,")),
    "the signature under another version": sent(webhook_signature="v2" + FIRST[2:]),
    "the beginning of the signature": sent(webhook_signature=FIRST[:20]),
    "the signature and more": sent(webhook_signature=FIRST + "="),
    "commas for spaces": sent(webhook_signature=f"{FIRST},{SECOND}"),
    "an empty signature": sent(webhook_signature=""),
    "a version and nothing": sent(webhook_signature="v1,"),
    "no signature": sent(webhook_signature=None),
    "no id": sent(webhook_id=None),
    "no time": sent(webhook_timestamp=None),
    "none of the three": Case({"content-type": "application/json"}),
    "an empty time": sent(webhook_timestamp=""),
    "words for a time": sent(webhook_timestamp="yesterday"),
    "a time before all time": sent(webhook_timestamp="-" + "9" * 30),
    "a time after all time": sent(webhook_timestamp="9" * 5_000),
    "no number": sent(webhook_timestamp="nan"),
    "a time and a line's end": sent(webhook_timestamp=f"{AT}\n"),
    "a signature beyond ASCII": sent(webhook_signature="v1,\u00fc\u00df \u20ac"),
}
# A receiver whose configuration is missing has these secrets: it must accept nothing.
NO_SECRETS = {
    "nothing": fresh("whsec_", body=BODY, at=AT),
    "an empty text": replace(fresh("whsec_", body=BODY, at=AT), secret=""),
    "a short one": fresh("whsec_" + base64.b64encode(b"short").decode(), body=BODY, at=AT),
}

CASES = ACCEPTED | REFUSED | NO_SECRETS
JUDGED = {
    **dict.fromkeys(ACCEPTED, True),
    **dict.fromkeys(REFUSED, False),
    **dict.fromkeys(NO_SECRETS, "this is not a webhook secret"),
}

DRIVERS = Path(__file__).parent / "receiving"


@dataclass(frozen=True)
class Language:
    """How to run the page's code of another language: as `file`, by `driver`, with `command`."""

    file: str
    driver: str
    tool: str
    command: tuple[str, ...]


LANGUAGES = {
    "js": Language("receiving.mjs", "drive.mjs", "node", ("drive.mjs",)),
    "go": Language("receiving.go", "drive/main.go", "go", ("run", "./drive")),
    "ruby": Language("receiving.rb", "drive.rb", "ruby", ("drive.rb",)),
}


def page() -> dict[str, Any]:
    """Run the page's Python here."""
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks(PAGE, "python")), PAGE, "exec"), names)  # noqa: S102 - our own
    return names


def judge_here(case: Case) -> bool | str:
    """Verify a case with the page's Python; return an error's message if it raises one."""
    try:
        return bool(page()["is_genuine"](case.secret, case.headers, case.body, case.now))
    except ValueError as error:
        return str(error)


def verify_all(name: str, cases: list[Case], folder: Path) -> list[bool | str]:
    """Verify cases with another language's code; return an error's message if it raises one."""
    language = LANGUAGES[name]
    tool = shutil.which(language.tool)
    if tool is None:
        pytest.skip(f"{language.tool} is not on the PATH: its code in docs/{PAGE} was not run")
    (folder / language.driver).parent.mkdir(exist_ok=True)
    shutil.copy(DRIVERS / Path(language.driver).name, folder / language.driver)
    (folder / language.file).write_text("\n\n".join(blocks(PAGE, name)))
    (folder / "go.mod").write_text("module example.test/receiving\n\ngo 1.21\n")
    done = subprocess.run(
        [tool, *language.command],
        cwd=folder,
        # Use installed packages only, nothing from the network.
        env={**os.environ, "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOWORK": "off"},
        input=json.dumps([case.to_json() for case in cases]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_the_page_s_python_accepts_only_genuine_requests() -> None:
    assert {name: judge_here(case) for name, case in CASES.items()} == JUDGED


@pytest.mark.parametrize(
    # The first compilation is slow.
    "language",
    ["js", "ruby", pytest.param("go", marks=pytest.mark.slow)],
)
def test_the_page_s_code_accepts_only_genuine_requests(language: str, tmp_path: Path) -> None:
    answers = verify_all(language, list(CASES.values()), tmp_path)

    assert dict(zip(CASES, answers, strict=True)) == JUDGED


def test_every_language_on_the_page_is_tested() -> None:
    assert set(re.findall(r"^```(\w+)$", TEXT, re.MULTILINE)) == {*LANGUAGES, "python", "json"}


# ---- The whole receiver -----------------------------------------------------------------------


@pytest.fixture
def receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[str, Any], httpx.Client]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_SECRET", OLD)
    names = page()
    with ThreadingHTTPServer(("127.0.0.1", 0), names["Receiver"]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/in"
        with httpx.Client(base_url=url, trust_env=False) as client:
            yield names, client
        server.shutdown()
        thread.join()


def test_the_whole_receiver_stores_a_delivery_once_and_works_on_it_once(
    receiver: tuple[dict[str, Any], httpx.Client], capsys: pytest.CaptureFixture[str]
) -> None:
    names, client = receiver
    case = fresh(OLD, body=b'{"content": "once"}', at=int(time.time()))
    posted = [client.post("", content=case.body, headers=case.headers) for _ in range(3)]

    assert [one.status_code for one in posted] == [204] * 3
    store = names["open_store"]()
    for _ in range(2):
        names["work"](store)
    store.close()
    assert capsys.readouterr().out == 'delivery:x {"content": "once"}\n'


def test_the_whole_receiver_stores_nothing_that_is_not_genuine(
    receiver: tuple[dict[str, Any], httpx.Client],
) -> None:
    names, client = receiver
    case = fresh(OTHER, body=b"{}", at=int(time.time()))

    assert client.post("", content=case.body, headers=case.headers).status_code == 401
    names["LARGEST"] = 2
    assert client.post("", content=b"{ }", headers=case.headers).status_code == 413
    assert client.post("", content=iter([b"{}"]), headers=case.headers).status_code == 413
    assert client.get("").status_code == 501
    store = names["open_store"]()
    assert store.execute("SELECT count(*) FROM deliveries").fetchone() == (0,)
    store.close()


def test_no_delivery_is_larger_than_what_the_whole_receiver_reads() -> None:
    """Each character of a content may be six in JSON; other fields are bounded in bytes."""
    largest = 6 * LONGEST_CONTENT + LARGEST_PAYLOAD + LARGEST_METADATA + 64 * 1_024

    assert largest < page()["LARGEST"]


# ---- X-Chorus headers, and the vector ---------------------------------------------------------


def test_code_for_x_chorus_headers_accepts_both_secrets_only() -> None:
    is_genuine_body = page()["is_genuine_body"]
    old_only = {name: value for name, value in SENT.items() if not name.endswith("-next")}

    assert is_genuine_body(OLD, SENT, BODY)
    assert is_genuine_body(NEW, SENT, BODY)
    assert is_genuine_body(OLD, old_only, BODY)
    assert not is_genuine_body(NEW, old_only, BODY)
    assert not is_genuine_body(OTHER, SENT, BODY)
    assert not is_genuine_body(OLD, SENT, BODY + b" ")
    assert not is_genuine_body(OLD, SENT | {"x-chorus-signature": "\u00fc"}, BODY)
    assert not is_genuine_body(OLD, {}, BODY)
    with pytest.raises(ValueError, match="not a webhook secret"):
        is_genuine_body("", SENT, BODY)


def test_the_page_s_code_reads_case_insensitive_headers() -> None:
    names, headers = page(), httpx.Headers(VECTOR["headers"])

    assert names["is_genuine"](OLD, headers, BODY, AT)
    assert names["is_genuine_body"](OLD, headers, BODY)


def test_the_page_s_code_uses_the_current_time_by_default() -> None:
    is_genuine = page()["is_genuine"]
    now = int(time.time())
    new, old = fresh(OLD, body=BODY, at=now), fresh(OLD, body=BODY, at=now - 400)

    assert is_genuine(OLD, new.headers, BODY)
    assert not is_genuine(OLD, old.headers, BODY)


def test_the_test_vector_is_what_the_worker_sends() -> None:
    headers = VECTOR["headers"]

    assert headers == signing.headers(
        [OLD, NEW],
        delivery_id=headers["X-Chorus-Delivery"],
        event=headers["X-Chorus-Event"],
        timestamp=AT,
        body=BODY,
    )
    assert set(headers) <= set(re.findall(r"^\| `([\w-]+)` \|", TEXT, re.MULTILINE))


def test_the_published_library_signs_the_test_vector_alike() -> None:
    at = datetime.fromtimestamp(AT, UTC)
    signatures = [
        Webhook(secret).sign(SENT["webhook-id"], at, VECTOR["body"]) for secret in (OLD, NEW)
    ]

    assert " ".join(signatures) == SENT["webhook-signature"]
