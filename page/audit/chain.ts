import { canonical, type Exact, Literal, parse } from "./exact_json";

export type ChainName = "administration" | "machine";

/** The last event of a chain, as it was when it was kept. */
export interface Head {
  seq: number;
  hash: string;
}

/** What a verification found. `problem` is null if the chain holds. */
export interface Verdict {
  chain: ChainName;
  events: number;
  head: Head;
  problem: string | null;
}

const GENESIS = "0".repeat(64);
const CHAINS: readonly ChainName[] = ["administration", "machine"];

/** Verifies both chains of events, oldest first, each against the head that was kept of it. */
export async function verify(
  events: readonly Map<string, Exact>[],
  kept: Partial<Record<ChainName, Head>>,
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const chain of CHAINS) {
    const own = events.filter((event) => (event.get("chain") ?? "administration") === chain);
    if (own.length > 0 || kept[chain]) {
      verdicts.push(await verifyChain(chain, own, kept[chain] ?? null));
    }
  }
  return verdicts;
}

async function verifyChain(
  chain: ChainName,
  events: readonly Map<string, Exact>[],
  kept: Head | null,
): Promise<Verdict> {
  let head: Head = { seq: 0, hash: GENESIS };
  let atKept = kept?.seq === 0 ? GENESIS : null;
  for (const event of events) {
    const name = String(event.get("id"));
    const hash = await hashOf(event);
    const problem = problemOf(event, head, hash);
    if (problem) {
      return { chain, events: events.length, head, problem: `${name}: ${problem}` };
    }
    head = { seq: head.seq + 1, hash };
    if (kept?.seq === head.seq) {
      atKept = hash;
    }
  }
  let problem: string | null = null;
  if (kept && atKept === null) {
    problem = `the chain ends at event ${head.seq}, and event ${kept.seq} was seen before`;
  } else if (kept && atKept !== kept.hash) {
    problem = `event ${kept.seq} is not the one that was seen before: the chain was rewritten`;
  }
  return { chain, events: events.length, head, problem };
}

function problemOf(event: Map<string, Exact>, before: Head, hash: string): string | null {
  if (event.get("hash") !== hash) {
    return "the event does not match its hash";
  }
  const seq = event.get("seq");
  if (!(seq instanceof Literal) || seq.text !== String(before.seq + 1)) {
    return `it should be event ${before.seq + 1}: events are missing or out of order`;
  }
  return event.get("prev_hash") === before.hash ? null : "it does not follow the event before it";
}

async function hashOf(event: Map<string, Exact>): Promise<string> {
  const body = new Map(event);
  body.delete("hash");
  const bytes = new TextEncoder().encode(canonical(body));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Reads the lines of an export. Throws an Error that names the line. */
export function readExport(text: string): Map<string, Exact>[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line, index) => {
    try {
      return asEvent(parse(line));
    } catch (error) {
      throw new Error(`line ${index + 1}: ${error instanceof Error ? error.message : error}`);
    }
  });
}

/** Reads the events of one page as the API sent it, newest first. */
export function readPage(text: string): Map<string, Exact>[] {
  const body = parse(text);
  const data = body instanceof Map ? body.get("data") : null;
  const events = data instanceof Map ? data.get("events") : null;
  if (!Array.isArray(events)) {
    throw new Error("the answer holds no events");
  }
  return events.map(asEvent);
}

function asEvent(value: Exact): Map<string, Exact> {
  if (!(value instanceof Map)) {
    throw new Error("it is not an event");
  }
  return value;
}
