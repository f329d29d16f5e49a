import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ApiError } from "../core/api";
import type { Loading } from "../core/use_calls";

/** What the API said, with the id that support and logs know the request by. */
export function Failure({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="failure" role="alert">
      <p>
        <strong>{error.message}</strong>
      </p>
      {error.needed && <p>It needs a key with the scope {error.needed}.</p>}
      {error.retryAfter && <p>Try again in {error.retryAfter} s.</p>}
      <p class="faint">
        {error.status ? `${error.status} ${error.code}` : error.code}
        {error.requestId && <> · request {error.requestId}</>}
      </p>
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Shows what was read, that it is being read, or why it was not. */
export function Loaded<T>({
  loading,
  reload,
  children,
}: {
  loading: Loading<T>;
  reload?: () => void;
  children: (value: T) => ComponentChildren;
}) {
  if (loading.state === "loading") {
    return (
      <p class="faint" role="status">
        Loading…
      </p>
    );
  }
  if (loading.state === "failed") {
    return <Failure error={loading.error} {...(reload ? { retry: reload } : {})} />;
  }
  return <>{children(loading.value)}</>;
}

/** An empty list says what to do next. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** A view: its heading takes the focus when it opens, so that readers start there. */
export function View({
  title,
  actions,
  children,
}: {
  title: string;
  actions?: ComponentChildren;
  children: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Gatehouse`;
    heading.current?.focus();
  }, [title]);
  return (
    <main id="main">
      <header class="view">
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </main>
  );
}
