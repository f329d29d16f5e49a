"""An API for keys the usual way: FastAPI, Mangum, boto3's resource, Powertools' decorators."""

import hashlib
import os
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from boto3.dynamodb.conditions import Key
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from mangum import Mangum
from pydantic import BaseModel, Field

logger = Logger()
tracer = Tracer()
metrics = Metrics(namespace="usual")

dynamodb = boto3.resource("dynamodb")
keys_table = dynamodb.Table(os.environ["GATEHOUSE_KEYS_TABLE"])
main_table = dynamodb.Table(os.environ["GATEHOUSE_MAIN_TABLE"])

app = FastAPI(title="Keys")


class NewKey(BaseModel):
    """The body that creates a key."""

    name: str = Field(min_length=1, max_length=200)
    scopes: list[str] = []
    expiresAt: datetime | None = None  # noqa: N815 - the surface speaks camelCase
    rateLimit: int = Field(6000, ge=1, le=60_000)  # noqa: N815 - as above


class KeyView(BaseModel):
    """A key as lists show it."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    createdAt: str  # noqa: N815 - as above
    rateLimit: int  # noqa: N815 - as above


class CreatedKey(KeyView):
    """A new key with its text, which no other answer shows."""

    key: str


def account_id(request: Request) -> str:
    """Read the caller from the authorizer's context."""
    context = request.scope["aws.event"]["requestContext"].get("authorizer")
    if not context:
        raise HTTPException(401, "Unauthorized")
    return str(context["account_id"])


Account = Annotated[str, Depends(account_id)]


@app.post("/api/auth/keys", status_code=201)
@tracer.capture_method
def create(account: Account, body: NewKey) -> CreatedKey:
    """Create a key."""
    text = f"hb_{secrets.token_hex(36)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    view = KeyView(
        id=str(uuid4()),
        name=body.name,
        prefix=text[:7],
        scopes=body.scopes,
        createdAt=datetime.now(UTC).isoformat(),
        rateLimit=body.rateLimit,
    )
    main_table.put_item(
        Item={"pk": f"KEYS#{account}", "sk": view.id, "digest": digest, **view.model_dump()}
    )
    keys_table.put_item(
        Item={
            "pk": f"KEY#{digest}",
            "id": view.id,
            "acc": account,
            "en": True,
            "lim": body.rateLimit,
        }
    )
    metrics.add_metric(name="KeyCreated", unit=MetricUnit.Count, value=1)
    return CreatedKey(**view.model_dump(), key=text)


@app.get("/api/auth/keys")
@tracer.capture_method
def listing(account: Account, limit: Annotated[int, Query(ge=1, le=100)] = 100) -> list[KeyView]:
    """List keys."""
    found = main_table.query(
        KeyConditionExpression=Key("pk").eq(f"KEYS#{account}"), Limit=limit, ScanIndexForward=False
    )
    return [KeyView(**item) for item in found["Items"]]


@app.delete("/api/auth/keys/{key_id}", status_code=204)
@tracer.capture_method
def revoke(account: Account, key_id: str) -> None:
    """Revoke a key."""
    item = main_table.get_item(Key={"pk": f"KEYS#{account}", "sk": key_id}).get("Item")
    if item is None:
        raise HTTPException(404, "API key not found")
    keys_table.delete_item(Key={"pk": f"KEY#{item['digest']}"})
    main_table.delete_item(Key={"pk": f"KEYS#{account}", "sk": key_id})


mangum = Mangum(app, lifespan="off")


@logger.inject_lambda_context
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer API Gateway's proxy event."""
    return mangum(event, context)
