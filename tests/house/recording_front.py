"""Records what each function does in the tables and with KMS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gatehouse.aws import clients
from gatehouse.dynamo.table import Tables
from house import sources
from support.aws.api_gateway import Front

KINDS = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}
KMS = "kms"

Use = tuple[str, str, str]  # table, action, kind of key: main, GetItem, KEYS#; kms, Decrypt, peer


class RecordingFront(Front):
    """A front door that records what each function does in the tables."""

    def __init__(self, tables: Tables) -> None:
        super().__init__()
        self.uses: dict[str, set[Use]] = {name: set() for name in sources.lambdas()}
        self._names = {tables.keys.name: "keys", tables.main.name: "main"}
        self._running: str | None = None
        tables.main.client.meta.events.register("provide-client-params.dynamodb", self._asked)
        clients.kms().meta.events.register("provide-client-params.kms", self._unsealed)

    def function(self, name: str) -> Any:
        handler = super().function(name).handler

        def watched(event: Any, context: Any) -> Any:
            outer, self._running = self._running, name
            try:
                return handler(event, context)
            finally:
                self._running = outer

        return SimpleNamespace(handler=watched)

    def _asked(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if self._running is None:  # a fixture, preparing
            return
        operation, found = model.name, self.uses[self._running]
        if operation == "TransactWriteItems":
            for write in params["TransactItems"]:
                [(kind, request)] = write.items()
                found.add(self._use(KINDS[kind], request))
        elif operation == "BatchGetItem":
            for table, request in params["RequestItems"].items():
                found |= {
                    self._use(operation, {"TableName": table, "Key": key})
                    for key in request["Keys"]
                }
        else:
            found.add(self._use(operation, params))

    def _unsealed(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if self._running is not None:
            purpose = params["EncryptionContext"]["purpose"]
            self.uses[self._running].add((KMS, model.name, purpose))

    def _use(self, action: str, request: dict[str, Any]) -> Use:
        table = self._names[request["TableName"]]
        if action == "Scan":
            return f"{table}/{request['IndexName']}", action, ""
        if action == "Query":
            key = request["ExpressionAttributeValues"][":pk"]
            table += f"/{request['IndexName']}" if "IndexName" in request else ""
        else:
            key = (request.get("Key") or request["Item"])["pk"]
        kind, mark, _ = key["S"].partition("#")
        return table, action, kind + mark
