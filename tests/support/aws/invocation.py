"""Loading functions as Lambda does, their events, and the context of an invocation."""

from __future__ import annotations

import importlib.util
import json
import sys
import uuid
from types import ModuleType, SimpleNamespace
from typing import Any

from support.aws.resources import ROOT


def load(group: str) -> ModuleType:
    """Import functions/<group>/handler.py afresh, as a new execution environment does."""
    name = f"functions_{group}_{uuid.uuid4().hex}"
    path = ROOT / "functions" / group / "handler.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def event(name: str) -> dict[str, Any]:
    """Read an event from events/."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


class Context:
    """The part of Lambda's context that handlers may use."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = "test"
        self.invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:test"
        self.log_group_name = "/aws/lambda/test"
        self.memory_limit_in_mb = 512

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


class Answer(SimpleNamespace):
    """status, headers (by lower-case name), text, and json() of a response."""

    def json(self) -> Any:
        return json.loads(self.text)
