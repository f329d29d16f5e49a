import { useState } from "preact/hooks";
import { type Client, call } from "../core/api";
import { usePage } from "../core/page";
import { Dialog } from "../ui/dialog";
import { type ChainName, type Head, readExport, readPage, type Verdict, verify } from "./chain";
import type { Exact } from "./exact_json";
import { keepHeads, keptHeads } from "./kept_heads";

type Outcome = { verdicts: Verdict[] } | { failed: string } | null;

/** Verifies the chain in the browser: the stack's own, or a file that was exported before. */
export function Verify({ onClose }: { onClose: () => void }) {
  const { client, me } = usePage();
  const [outcome, setOutcome] = useState<Outcome>(null);
  const [busy, setBusy] = useState(false);
  const account = me.account.id;
  const run = async (read: () => Promise<Map<string, Exact>[]>, keeping: boolean) => {
    setBusy(true);
    setOutcome(null);
    try {
      const verdicts = await verify(await read(), keptHeads(account));
      if (keeping && verdicts.every((one) => one.problem === null)) {
        keepHeads(account, headsOf(verdicts));
      }
      setOutcome({ verdicts });
    } catch (error) {
      setOutcome({ failed: error instanceof Error ? error.message : String(error) });
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog title="Verify the trail" onClose={onClose}>
      <p>
        Each event holds the hash of the one before. This browser computes all of them, and compares
        the chain with the head that it kept the last time.
      </p>
      <p class="buttons">
        <button
          type="button"
          class="main"
          disabled={busy}
          onClick={() => run(() => readAll(client), true)}
        >
          {busy ? "Verifying…" : "Verify this account"}
        </button>
        <label class="file">
          Verify an export
          <input
            type="file"
            accept=".jsonl,.json,.txt"
            disabled={busy}
            onChange={(event) => {
              const [file] = event.currentTarget.files ?? [];
              if (file) {
                run(async () => readExport(await file.text()), false);
              }
            }}
          />
        </label>
      </p>
      <Shown outcome={outcome} />
    </Dialog>
  );
}

function Shown({ outcome }: { outcome: Outcome }) {
  if (outcome === null) {
    return null;
  }
  if ("failed" in outcome) {
    return (
      <p class="failure" role="alert">
        {outcome.failed}
      </p>
    );
  }
  return (
    <ul role="status" class="verdicts">
      {outcome.verdicts.map((one) => (
        <li key={one.chain}>
          <strong>{one.chain}</strong>:{" "}
          {one.problem ? (
            <span class="problem">{one.problem}</span>
          ) : (
            `${one.events} events, the chain holds. Head ${one.head.hash.slice(0, 16)}…`
          )}
        </li>
      ))}
      {outcome.verdicts.length === 0 && <li>There are no events.</li>}
    </ul>
  );
}

async function readAll(client: Client): Promise<Map<string, Exact>[]> {
  const events: Map<string, Exact>[] = [];
  let after: string | undefined;
  do {
    const query = { limit: 100, ...(after ? { after } : {}) };
    const answer = await client.send(call("get", "/admin/audit", { query }));
    events.push(...readPage(answer.text));
    after = answer.value.data.cursor ?? undefined;
  } while (after);
  return events.reverse();
}

function headsOf(verdicts: Verdict[]): Partial<Record<ChainName, Head>> {
  return Object.fromEntries(verdicts.map((one) => [one.chain, one.head]));
}
