/** One line of a log as frames bring it. A long line comes in parts. */
export interface LogLine {
  id: string;
  timestamp: string;
  message: string;
}

const MOST = 2_000;

/** Adds lines to those that are shown: each id once, in the order of time, the last 2,000. */
export function merged(shown: readonly LogLine[], arrived: readonly LogLine[]): LogLine[] {
  const known = new Set(shown.map((line) => line.id));
  const fresh = arrived.filter((line) => !known.has(line.id));
  if (fresh.length === 0) {
    return [...shown];
  }
  // A stable sort keeps the order of lines of one moment.
  return [...shown, ...fresh].sort((a, b) => a.timestamp.localeCompare(b.timestamp)).slice(-MOST);
}

/** The frames of a socket of live logs. */
export type Frame =
  | { type: "log"; lines: LogLine[] }
  | { type: "ping" }
  | { type: "notice"; message: string }
  | { type: "exit"; reason: string };
