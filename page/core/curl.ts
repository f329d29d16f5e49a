import type { Call } from "./api";

/** Quotes a text as one word for sh. */
export function quoted(text: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Writes a call as a curl command that takes the key from $GATEHOUSE_API_KEY. */
export function asCurl(base: string, made: Call<unknown>): string {
  const lines = [`curl -sS${made.method === "get" ? "" : ` -X ${made.method.toUpperCase()}`}`];
  lines.push(quoted(base + made.target));
  lines.push('-H "Authorization: Bearer $GATEHOUSE_API_KEY"');
  if (made.body !== undefined) {
    lines.push("-H 'Content-Type: application/json'");
    lines.push(`-d ${quoted(JSON.stringify(made.body))}`);
  }
  return lines.join(" \\\n  ");
}
