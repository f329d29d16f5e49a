"""Answer what a product outside this stack asks of a key that one of its callers showed."""

from __future__ import annotations

from gatehouse.core import ids
from gatehouse.core.clock import Micros
from gatehouse.core.errors import BadInput, NotFound
from gatehouse.core.grants import MEMORY_OPERATIONS, SIGNAL_TYPES, Grants
from gatehouse.core.request import Call
from gatehouse.credentials import actions as credentials
from gatehouse.credentials.model import Code, Credential
from gatehouse.dynamo.table import Tables
from gatehouse.identities import actions as identities
from gatehouse.keys import actions as keys
from gatehouse.policy import actions as policy
from gatehouse.policy.model import ACTIONS, Decision, Resource, Subject
from gatehouse.verification.model import Denial, Inquiry, Question, Verified


def verify(
    tables: Tables, call: Call, presented: str, question: Question, memory: credentials.Memory
) -> Verified:
    """Judge a key; the first reason to refuse is the answer, the rate limit comes last.

    Only a key that passes everything else has a request of its limit spent. Of a key that the
    caller may not see, not even its existence is told.
    """
    known = credentials.look_up(tables.keys, presented)
    if known is None or known.account_id != call.caller.account_id:
        return Verified(Code.NOT_FOUND)
    if not call.caller.is_admin and known.owner.identity_id != call.caller.identity_id:
        return Verified(Code.NOT_FOUND)
    key = keys.recorded(tables, known.account_id, known.key_id)
    if key is None:
        raise NotFound("API key not found", code="API_KEY_NOT_FOUND")
    refusal = _refusal(known, question, call.now)
    if refusal is not None:
        return Verified(refusal, key)
    memory.note(known)
    verdict = credentials.admit(tables.keys, presented, memory, call.now)
    return Verified(verdict.code, key, verdict.limit_state)


def _refusal(known: Credential, question: Question, now: Micros) -> Code | Denial | None:
    standing = credentials.standing(known, now)
    if standing is not Code.VALID:
        return standing
    if question.scope is not None and not known.grants.opens(question.scope):
        return Denial.INSUFFICIENT_SCOPE
    subject = Subject(
        known.grants, known.owner.is_admin, known.owner.claw_type, known.owner.membership
    )
    resource = Resource(question.signal_type, question.task_type, question.ring, question.memory_op)
    asked = (question.action, policy.memory_action(question.memory_op))
    allowed = all(
        policy.evaluate(action, subject, resource).allowed for action in asked if action is not None
    )
    if not allowed or policy.outside(known.grants, resource):
        return Denial.FORBIDDEN
    return None


def ask(tables: Tables, call: Call, inquiry: Inquiry) -> Decision:
    """Evaluate for an identity alone, or for a key and the identity behind it."""
    _one_of(inquiry.action, ACTIONS, "action")
    _one_of(inquiry.resource.get("signal_type"), SIGNAL_TYPES, "resource.signal_type")
    _one_of(inquiry.resource.get("memory_op"), MEMORY_OPERATIONS, "resource.memory_op")
    if (inquiry.identity is None) == (inquiry.key_id is None):
        raise BadInput("Give identity or key_id", details={"field": "identity"})
    grants: Grants | None = None
    if inquiry.key_id is not None:
        key = keys.get(tables, call, _id(inquiry.key_id, "api_key", "key_id"))
        grants, identity_id = key.grants, key.owner
    else:
        identity_id = _id(str(inquiry.identity), "identity", "identity")
    identity = identities.get(tables.main, call.caller.account_id, identity_id)
    subject = Subject(
        grants, identity.is_admin, identity.claw_type.value, identity.membership.value
    )
    return policy.evaluate(inquiry.action, subject, Resource(**inquiry.resource))


def _id(text: str, kind: str, field_name: str) -> str:
    found = ids.read(text, kind=kind)
    if found is None:
        raise BadInput(f"{field_name} is no id", details={"field": field_name})
    return found


def _one_of(value: str | None, allowed: tuple[str, ...], field_name: str) -> None:
    if value is not None and value not in allowed:
        raise BadInput(
            f"{field_name} must be one of {', '.join(allowed)}", details={"field": field_name}
        )
