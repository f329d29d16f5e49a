import assert from "node:assert/strict";
import { test } from "node:test";
import { call } from "./api";
import { apiBase, logAddress } from "./base";
import { asCurl } from "./curl";
import { opens } from "./grants";
import { linkTo, readRoute } from "./route";
import { duration, fromInput, relative } from "./time";

test("a path and a query are filled in and escaped", () => {
  const made = call("get", "/admin/webhooks/{id}/deliveries", {
    path: { id: "a/b" },
    query: { limit: 5, after: "x y" },
  });
  assert.equal(made.target, "/admin/webhooks/a%2Fb/deliveries?limit=5&after=x+y");
});

test("a call as curl names the key's variable and quotes for sh", () => {
  const made = call("post", "/v1/api-keys", { body: { name: "it's $HOME" } });
  assert.equal(
    asCurl("http://localhost:8080", made),
    [
      "curl -sS -X POST \\",
      "  http://localhost:8080/v1/api-keys \\",
      '  -H "Authorization: Bearer $GATEHOUSE_API_KEY" \\',
      "  -H 'Content-Type: application/json' \\",
      `  -d '{"name":"it'\\''s $HOME"}'`,
    ].join("\n"),
  );
});

test("the API is beside the page, under a stage or not, with a slash or not", () => {
  for (const [path, base] of [
    ["/ui", ""],
    ["/ui/", ""],
    ["/live/ui", "/live"],
    ["/live/ui/", "/live"],
    ["/", ""],
  ] as const) {
    assert.equal(apiBase("https://x", path), `https://x${base}`);
  }
});

test("a log's address is on this host, or on the WebSocket API's own", () => {
  assert.equal(logAddress("http://h:1", "", "a b"), "ws://h:1/api/services/a%20b/logs");
  const own = "https://abc.execute-api.eu-central-1.amazonaws.com/live";
  assert.equal(logAddress(own, "wss://s/live", "a&b"), "wss://s/live?service=a%26b");
  assert.equal(logAddress("https://h", "wss://s/live", "a"), "wss://h/api/services/a/logs");
});

test("routes are read back as they were written", () => {
  const link = linkTo("webhooks", ["a/b", "deliveries"], { status: "dead_letter", none: "" });
  assert.equal(link, "#/webhooks/a%2Fb/deliveries?status=dead_letter");
  assert.deepEqual(readRoute(link), {
    view: "webhooks",
    rest: ["a/b", "deliveries"],
    query: { status: "dead_letter" },
  });
  assert.deepEqual(readRoute(""), { view: "", rest: [], query: {} });
  assert.equal(readRoute("#/%zz").view, "%zz");
});

test("wildcards open scopes as the API says", () => {
  assert.ok(opens(["*"], "admin:manage"));
  assert.ok(opens(["all"], "admin:manage"));
  assert.ok(opens(["services:*"], "services:read"));
  assert.ok(opens(["*:read"], "services:read"));
  assert.ok(!opens(["*:read"], "services:write"));
  assert.ok(!opens(["services:write"], "services:read"));
  assert.ok(!opens([], "services:read"));
});

test("moments are told from now in their largest whole unit", () => {
  const now = new Date("2026-01-01T00:00:00Z");
  const at = (text: string) => relative(new Date(text), now);
  assert.equal(at("2025-12-31T23:59:59.500Z"), "now");
  assert.equal(at("2025-12-31T23:58:01Z"), "1 minute ago");
  assert.equal(at("2026-01-03T01:00:00Z"), "in 2 days");
  assert.equal(duration(999), "999 ms");
  assert.equal(duration(2_100), "2.1 s");
});

test("an empty or broken time is none", () => {
  assert.equal(fromInput(""), null);
  assert.equal(fromInput("soon"), null);
  assert.match(fromInput("2026-01-01T00:00") ?? "", /Z$/);
});
