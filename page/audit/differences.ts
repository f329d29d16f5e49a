export interface Difference {
  name: string;
  before: string;
  after: string;
}

type Values = Record<string, unknown> | null | undefined;

/** The fields that an event changed, each as it was and as it is. */
export function differences(before: Values, after: Values): Difference[] {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return [...names]
    .map((name) => ({ name, before: shown(before?.[name]), after: shown(after?.[name]) }))
    .filter((row) => row.before !== row.after);
}

function shown(value: unknown): string {
  if (value === undefined) {
    return "";
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
