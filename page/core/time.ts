const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_536_000],
  ["month", 2_592_000],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];
const FORMAT = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** Says how far a moment is from now, in its largest whole unit: "3 minutes ago". */
export function relative(moment: Date, now: Date): string {
  const seconds = (moment.getTime() - now.getTime()) / 1000;
  for (const [unit, size] of STEPS) {
    if (Math.abs(seconds) >= size) {
      return FORMAT.format(Math.trunc(seconds / size), unit);
    }
  }
  return "now";
}

/** Writes a moment as the API writes it, in UTC and to the second. */
export function exact(moment: Date): string {
  return moment
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, " UTC");
}

/** Writes a duration in milliseconds: "340 ms", "2.1 s". */
export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Reads a `datetime-local` input, which is local time, as the API's RFC 3339. Null if empty. */
export function fromInput(text: string): string | null {
  const moment = new Date(text);
  return text && !Number.isNaN(moment.getTime()) ? moment.toISOString() : null;
}
