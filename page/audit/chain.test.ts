import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { readExport, verify } from "./chain";
import { canonical, parse } from "./exact_json";

// Three events as the Python side hashes them; the last has a fraction and text beyond ASCII.
function chain(): string[] {
  let before = "0".repeat(64);
  return [
    '{"n":1}',
    '{"name":"山田 👩‍💻","urgency":1.0}',
    '{"list":[0.5,null,true,"\\u0000\\"/"],"z":{}}',
  ].map((after, index) => {
    const body = `{"action":"a","after":${canonical(parse(after))},"id":"audit:${index}","prev_hash":"${before}","seq":${index + 1}}`;
    const hash = createHash("sha256").update(body).digest("hex");
    before = hash;
    return body.replace(/}$/, `,"hash":"${hash}"}`);
  });
}

test("a chain that was not touched holds", async () => {
  const [verdict] = await verify(readExport(chain().join("\n")), {});
  assert.equal(verdict?.problem, null);
  assert.equal(verdict?.events, 3);
});

test("an edited event is found and named", async () => {
  const lines = chain();
  lines[1] = (lines[1] ?? "").replace("1.0", "0.9");
  const [verdict] = await verify(readExport(lines.join("\n")), {});
  assert.match(verdict?.problem ?? "", /^audit:1: the event does not match its hash/);
});

test("a missing event is found", async () => {
  const lines = chain();
  lines.splice(1, 1);
  const [verdict] = await verify(readExport(lines.join("\n")), {});
  assert.match(verdict?.problem ?? "", /events are missing/);
});

test("a chain that was cut is found by the head that was kept", async () => {
  const lines = chain();
  const [whole] = await verify(readExport(lines.join("\n")), {});
  const kept = { administration: whole?.head ?? { seq: 0, hash: "" } };
  const [cut] = await verify(readExport(lines.slice(0, 2).join("\n")), kept);
  assert.match(cut?.problem ?? "", /ends at event 2, and event 3 was seen before/);
  const [gone] = await verify([], kept);
  assert.match(gone?.problem ?? "", /ends at event 0/);
});

test("a rewritten chain is found by the head that was kept", async () => {
  const kept = { administration: { seq: 2, hash: "f".repeat(64) } };
  const [verdict] = await verify(readExport(chain().join("\n")), kept);
  assert.match(verdict?.problem ?? "", /rewritten/);
});

test("a line that can be read in two ways is refused", () => {
  assert.throws(
    () => readExport('{"actor":"a","actor":"b"}'),
    /line 1: the field actor stands twice/,
  );
  assert.throws(() => readExport(`${"[".repeat(40)}${"]".repeat(40)}`), /nested too deeply/);
  assert.throws(() => readExport('{"a":1} x'), /not valid JSON/);
  assert.throws(() => readExport("[1]"), /not an event/);
});

test("numbers keep the form in which they were written", () => {
  assert.equal(canonical(parse(' {"b": 1.0, "a": 1e2, "c": -0} ')), '{"a":1e2,"b":1.0,"c":-0}');
});

test("names are sorted by code point, beyond the first plane too", () => {
  assert.equal(canonical(parse('{"\u{1f600}":1,"\uffff":2}')), '{"\\uffff":2,"\\ud83d\\ude00":1}');
});
