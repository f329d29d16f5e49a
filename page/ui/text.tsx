import { useEffect, useState } from "preact/hooks";
import { exact, relative } from "../core/time";

/** A moment as it lies from now, and exactly on hover and for readers. */
export function Moment({ at, none = "never" }: { at: string | null | undefined; none?: string }) {
  const [now, setNow] = useState(() => new Date());
  useEffect(() => {
    const timer = setInterval(() => setNow(new Date()), 15_000);
    return () => clearInterval(timer);
  }, []);
  if (!at) {
    return <span class="faint">{none}</span>;
  }
  const moment = new Date(at);
  return (
    <time dateTime={at} title={exact(moment)}>
      {relative(moment, now)}
    </time>
  );
}

const TONES: Record<string, string> = {
  active: "good",
  running: "good",
  delivered: "good",
  ok: "good",
  degraded: "warn",
  retrying: "warn",
  pending: "warn",
  invited: "warn",
  disabled: "warn",
  suspended: "warn",
  paused: "warn",
};

/** A state as a word; its colour only repeats it. */
export function Status({ value }: { value: string }) {
  const tone =
    TONES[value] ??
    (/failed|failing|stopped|dead|revoked|removed|expired/.test(value) ? "bad" : "plain");
  return <span class={`status ${tone}`}>{value.replaceAll("_", " ")}</span>;
}

/** A list of short words, as scopes are. */
export function Words({ of, none = "none" }: { of: readonly string[]; none?: string }) {
  return of.length ? (
    <span class="words">
      {of.map((word) => (
        <code key={word}>{word}</code>
      ))}
    </span>
  ) : (
    <span class="faint">{none}</span>
  );
}

/** A text with a button that copies it. */
export function Copy({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2_000);
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`Copy ${label}`}>
      {copied ? "Copied" : "Copy"}
    </button>
  );
}

/** A secret that is shown once. */
export function ShownOnce({ secret, name }: { secret: string; name: string }) {
  return (
    <div class="once" role="status">
      <p>
        <strong>This is the only time the {name} is shown.</strong> Store it now.
      </p>
      <p class="secret">
        <code>{secret}</code> <Copy text={secret} label={name} />
      </p>
    </div>
  );
}
