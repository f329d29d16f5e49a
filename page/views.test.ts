import assert from "node:assert/strict";
import { test } from "node:test";
import { differences } from "./audit/differences";
import { readObject } from "./events/rules";
import { isFound, stateOf } from "./keys/rules";
import { attention, bytes } from "./overview/rules";
import { changes, stateOf as inviteState } from "./people/rules";
import { patchFor } from "./policy/rules";
import { merged } from "./services/log_lines";
import { matches } from "./ui/matches";
import { filtersOf, readHeaders, stateOf as webhookState } from "./webhooks/rules";

const NOW = new Date("2026-01-01T00:00:00Z");

test("a key's state is what the next request would meet", () => {
  const key = { revoked: false, revoked_at: null, expires_at: null } as never;
  const at = "2026-01-01T00:00:00Z";
  assert.equal(stateOf(key, NOW), "active");
  assert.equal(stateOf({ ...(key as object), expires_at: at } as never, NOW), "expired");
  assert.equal(
    stateOf({ ...(key as object), revoked: true, revoked_at: at } as never, NOW),
    "revoked",
  );
  const grace = { ...(key as object), revoked: true, revoked_at: "2026-01-02T00:00:00Z" } as never;
  assert.equal(stateOf(grace, NOW), "active");
});

test("a key is found by name, prefix or owner, in any case", () => {
  const key = { name: "Billing", key_prefix: "hk_ab12", owner: "identity:x" } as never;
  for (const text of ["bill", "AB12", "identity", " "]) {
    assert.ok(isFound(key, text), text);
  }
  assert.ok(!isFound(key, "other"));
});

test("a webhook that fails or is disabled needs a hand", () => {
  const base = {
    id: "webhook:1",
    url: "u",
    failing: false,
    failure_count: 3,
    disabled_reason: null,
  };
  assert.deepEqual(attention([base as never]), []);
  const [failing] = attention([{ ...base, failing: true } as never]);
  assert.equal(failing?.why, "is failing: 3 attempts in a row");
  const [gone] = attention([{ ...base, disabled_reason: "creator_key_revoked" } as never]);
  assert.equal(gone?.why, "is disabled: creator key revoked");
  assert.equal(webhookState({ ...base, active: false } as never), "paused");
});

test("bytes are written in their largest unit", () => {
  assert.deepEqual([0, 1023, 1024, 1_610_612_736, null].map(bytes), [
    "0 B",
    "1023 B",
    "1.0 KiB",
    "1.5 GiB",
    "–",
  ]);
});

test("only what differs is changed", () => {
  const shown = { status: "active", claw_type: "employee", is_admin: false, scopes: ["*"] };
  assert.deepEqual(changes(shown as never, shown), {});
  assert.deepEqual(changes(shown as never, { ...shown, scopes: [], is_admin: true }), {
    scopes: [],
    is_admin: true,
  });
});

test("an invite is open until it is used up or expired", () => {
  const invite = { uses: 0, max_uses: 1, expires_at: "2026-01-01T00:00:00Z" };
  assert.equal(inviteState(invite as never, NOW), "expired");
  assert.equal(inviteState(invite as never, new Date(NOW.getTime() - 1)), "open");
  assert.equal(inviteState({ ...invite, uses: 1 } as never, NOW), "redeemed");
});

test("a denial is turned only by what the identity itself can get", () => {
  assert.equal(patchFor({}), null);
  assert.equal(patchFor({ scopes: ["admin:manage"] }), null);
  assert.deepEqual(patchFor({ is_admin: true }), { is_admin: true });
  assert.deepEqual(patchFor({ status: "active", claw_type: "employee" }), {
    status: "active",
    claw_type: "employee",
  });
});

test("a line of a log is shown once and in its order of time", () => {
  const line = (id: string, timestamp: string) => ({ id, timestamp, message: id });
  const shown = merged([line("a", "1"), line("c", "3")], [line("b", "2"), line("c", "3")]);
  assert.deepEqual(
    shown.map((one) => one.id),
    ["a", "b", "c"],
  );
  const many = Array.from({ length: 2_001 }, (_, i) => line(String(i), String(i).padStart(5, "0")));
  assert.equal(merged([], many).length, 2_000);
  assert.equal(merged([], many)[0]?.id, "1");
});

test("headers are read line by line, and a line that is none is named", () => {
  assert.deepEqual(readHeaders("X-A: b:c\n\nX-D:e"), { "X-A": "b:c", "X-D": "e" });
  assert.throws(() => readHeaders("nothing"), /"nothing" is not/);
});

test("filters become short words", () => {
  const filters = { types: ["alert"], rings: ["red"], min_urgency: 0.5 };
  assert.deepEqual(filtersOf({ filters } as never), ["alert", "ring red", "urgency ≥ 0.5"]);
  assert.deepEqual(filtersOf({ filters: {} } as never), []);
});

test("a payload must be an object", () => {
  assert.equal(readObject("").wrong, null);
  assert.deepEqual(readObject('{"a":1}').value, { a: 1 });
  for (const wrong of ["[1]", "1", "null", "{"]) {
    assert.notEqual(readObject(wrong).wrong, null, wrong);
  }
});

test("a view is found by the beginning of a word", () => {
  assert.ok(matches("Dead letters", "let"));
  assert.ok(!matches("Dead letters", "etter"));
});

test("an event shows only the fields that changed", () => {
  assert.deepEqual(differences({ a: 1, b: "x" }, { a: 1, b: "y", c: [1] }), [
    { name: "b", before: "x", after: "y" },
    { name: "c", before: "", after: "[1]" },
  ]);
});
