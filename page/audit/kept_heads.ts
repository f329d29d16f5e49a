import type { ChainName, Head } from "./chain";

const NAME = "gatehouse-audit-heads";

/** The heads that this browser saw when it verified an account's chains last. */
export function keptHeads(account: string): Partial<Record<ChainName, Head>> {
  return all()[account] ?? {};
}

/** Keeps heads, so that the next verification finds a chain that was cut or rewritten. */
export function keepHeads(account: string, heads: Partial<Record<ChainName, Head>>): void {
  localStorage.setItem(NAME, JSON.stringify({ ...all(), [account]: heads }));
}

function all(): Record<string, Partial<Record<ChainName, Head>>> {
  try {
    return JSON.parse(localStorage.getItem(NAME) ?? "{}");
  } catch {
    return {};
  }
}
