"""Answer other products: whether a key that they received is valid and allows an action."""

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
from gatehouse.verification.model import Denial, KeyQuestion, PolicyQuestion, Verified


def verify(
    tables: Tables,
    call: Call,
    key_text: str,
    question: KeyQuestion,
    memory: credentials.Memory,
) -> Verified:
    """Decide about a key. The first reason to refuse is the answer; the rate limit is the last.

    Only a key that passes all other checks has a request of its limit spent. A key that the
    caller may not see is NOT_FOUND.
    """
    credential = credentials.find(tables.keys, key_text)
    if credential is None or credential.account_id != call.caller.account_id:
        return Verified(Code.NOT_FOUND)
    if not call.caller.is_admin and credential.owner.identity_id != call.caller.identity_id:
        return Verified(Code.NOT_FOUND)
    key = keys.find(tables, credential.account_id, credential.key_id)
    if key is None:
        raise NotFound("API key not found", code="API_KEY_NOT_FOUND")
    refusal = _refusal(credential, question, call.now)
    if refusal is not None:
        return Verified(refusal, key)
    memory.remember(credential)
    verdict = credentials.admit(tables.keys, key_text, memory, call.now)
    return Verified(verdict.code, key, verdict.limit_state)


def _refusal(credential: Credential, question: KeyQuestion, now: Micros) -> Code | Denial | None:
    code = credentials.code_of(credential, now)
    if code is not Code.VALID:
        return code
    if question.scope is not None and not credential.grants.opens(question.scope):
        return Denial.INSUFFICIENT_SCOPE
    owner = credential.owner
    subject = Subject(credential.grants, owner.is_admin, owner.claw_type, owner.membership)
    resource = Resource(question.signal_type, question.task_type, question.ring, question.memory_op)
    actions = (question.action, policy.memory_action(question.memory_op))
    allowed = all(
        policy.evaluate(action, subject, resource=resource).allowed
        for action in actions
        if action is not None
    )
    if not allowed or policy.missing_permissions(credential.grants, resource):
        return Denial.FORBIDDEN
    return None


def evaluate(tables: Tables, call: Call, question: PolicyQuestion) -> Decision:
    """Evaluate the policy for an identity, or for a key together with its identity.

    Raises BadInput, or NotFound for an identity or key of another account.
    """
    _check_one_of(question.action, ACTIONS, "action")
    _check_one_of(question.resource.get("signal_type"), SIGNAL_TYPES, "resource.signal_type")
    _check_one_of(question.resource.get("memory_op"), MEMORY_OPERATIONS, "resource.memory_op")
    if (question.identity is None) == (question.key_id is None):
        raise BadInput("Send either identity or key_id", details={"field": "identity"})
    grants: Grants | None = None
    if question.key_id is not None:
        key = keys.get(tables, call, _id(question.key_id, "api_key", "key_id"))
        grants, identity_id = key.grants, key.owner
    else:
        identity_id = _id(str(question.identity), "identity", "identity")
    identity = identities.get(tables.main, call.caller.account_id, identity_id)
    subject = Subject(
        grants, identity.is_admin, identity.claw_type.value, identity.membership.value
    )
    return policy.evaluate(question.action, subject, resource=Resource(**question.resource))


def _id(text: str, kind: str, field_name: str) -> str:
    bare = ids.read(text, kind=kind)
    if bare is None:
        raise BadInput(f"{field_name} must be an {kind} id", details={"field": field_name})
    return bare


def _check_one_of(value: str | None, allowed: tuple[str, ...], field_name: str) -> None:
    if value is not None and value not in allowed:
        raise BadInput(
            f"{field_name} must be one of {', '.join(allowed)}", details={"field": field_name}
        )
