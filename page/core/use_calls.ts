import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type Answer, ApiError, type Call } from "./api";
import { usePage } from "./page";

export type Loading<T> =
  | { state: "loading" }
  | { state: "failed"; error: ApiError }
  | { state: "loaded"; value: T };

/** Gives up the read in progress, if any, and begins another. */
function begin(reading: { current: AbortController | null }): AbortController {
  reading.current?.abort();
  reading.current = new AbortController();
  return reading.current;
}

/** Reads once, and again when `key` changes or `reload` is called. */
export function useCall<T>(
  make: () => Call<T>,
  key: string,
): { loading: Loading<T>; reload: () => void } {
  const { client } = usePage();
  const [loading, setLoading] = useState<Loading<T>>({ state: "loading" });
  const reading = useRef<AbortController | null>(null);
  const reload = useCallback(() => {
    const { signal } = begin(reading);
    client.send(make(), { signal }).then(
      ({ value }) => signal.aborted || setLoading({ state: "loaded", value }),
      (error) => signal.aborted || setLoading({ state: "failed", error: asApiError(error) }),
    );
  }, [client, key]);
  useEffect(() => {
    setLoading({ state: "loading" });
    reload();
    return () => reading.current?.abort();
  }, [reload]);
  return { loading, reload };
}

export interface Pages<T> {
  loading: Loading<T[]>;
  /** Reads the next page; null at the end. */
  more: (() => void) | null;
  reload: () => void;
}

/**
 * Reads a list page by page. `make` gets the cursor of the page, undefined for the first.
 * `next` finds the cursor where the answer has it in a place of its own.
 */
export function usePages<T, V>(
  make: (after: string | undefined) => Call<V>,
  pick: (value: V) => T[],
  key: string,
  next?: (value: V) => string | null,
): Pages<T> {
  const { client } = usePage();
  const [loading, setLoading] = useState<Loading<T[]>>({ state: "loading" });
  const [cursor, setCursor] = useState<string | null>(null);
  const reading = useRef<AbortController | null>(null);
  const read = useCallback(
    (after: string | undefined, before: T[]) => {
      const { signal } = begin(reading);
      const shown = (answer: Answer<V>) => {
        if (!signal.aborted) {
          setLoading({ state: "loaded", value: [...before, ...pick(answer.value)] });
          setCursor(next ? next(answer.value) : answer.cursor);
        }
      };
      client.send(make(after), { signal }).then(shown, (error) => {
        if (!signal.aborted) {
          setLoading({ state: "failed", error: asApiError(error) });
        }
      });
    },
    [client, key],
  );
  const reload = useCallback(() => read(undefined, []), [read]);
  useEffect(() => {
    setLoading({ state: "loading" });
    setCursor(null);
    reload();
    return () => reading.current?.abort();
  }, [reload]);
  const items = loading.state === "loaded" ? loading.value : [];
  return { loading, more: cursor ? () => read(cursor, items) : null, reload };
}

export interface Action {
  /** Sends a call; gives its answer, or null after a refusal, which `error` then holds. */
  run: <T>(made: Call<T>) => Promise<Answer<T> | null>;
  pending: boolean;
  error: ApiError | null;
  reset: () => void;
}

/** Sends what a person asked for, one call at a time. */
export function useAction(): Action {
  const { client } = usePage();
  const [pending, setPending] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const busy = useRef(false);
  const run = useCallback(
    async <T>(made: Call<T>): Promise<Answer<T> | null> => {
      if (busy.current) {
        return null;
      }
      busy.current = true;
      setPending(true);
      setError(null);
      try {
        return await client.send(made);
      } catch (thrown) {
        setError(asApiError(thrown));
        return null;
      } finally {
        busy.current = false;
        setPending(false);
      }
    },
    [client],
  );
  const reset = useCallback(() => setError(null), []);
  return { run, pending, error, reset };
}

function asApiError(thrown: unknown): ApiError {
  return thrown instanceof ApiError
    ? thrown
    : new ApiError(0, String(thrown), "INTERNAL_ERROR", "");
}
