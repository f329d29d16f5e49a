import type { paths } from "../generated/api";

export type Method = "get" | "post" | "put" | "patch" | "delete";

type Has<P extends keyof paths, M extends Method> = paths[P] extends {
  [K in M]: { responses: unknown };
}
  ? P
  : never;
/** The documented paths that have this method. */
export type PathOf<M extends Method> = { [P in keyof paths]: Has<P, M> }[keyof paths];
type Operation<P extends keyof paths, M extends Method> = paths[P][M & keyof paths[P]];

type Content<R> = R extends { content: { "application/json": infer B } } ? B : undefined;
type Success<O> = O extends { responses: infer R }
  ? { [S in keyof R & (200 | 201 | 202 | 204)]: Content<R[S]> }[keyof R & (200 | 201 | 202 | 204)]
  : never;
type BodyOf<O> = O extends { requestBody?: infer R } ? Content<NonNullable<R>> : undefined;
type QueryOf<O> = O extends { parameters: { query?: infer Q } } ? Q : undefined;
type ParametersOf<O> = O extends { parameters: { path: infer Q } } ? Q : undefined;

/** What goes into a call; `path` holds the values of the path's braces. */
export interface Parts<O> {
  path?: ParametersOf<O>;
  query?: QueryOf<O>;
  body?: BodyOf<O>;
}

/** One request to the API, before it is sent. `target` is the path with the query. */
export interface Call<T> {
  method: Method;
  target: string;
  body?: unknown;
  /** Only for the type of the answer. */
  answers?: T;
}

/** A successful answer. `cursor` leads to the next page, null at the end. */
export interface Answer<T> {
  value: T;
  /** The body as it was sent, for what must keep numbers as they are written. */
  text: string;
  requestId: string;
  cursor: string | null;
}

/** Builds a call of a documented operation. */
export function call<M extends Method, P extends PathOf<M>>(
  method: M,
  path: P,
  parts: Parts<Operation<P, M>> = {},
): Call<Success<Operation<P, M>>> {
  const named = (parts.path ?? {}) as Record<string, string>;
  const filled = String(path).replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(named[name] ?? ""),
  );
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parts.query ?? {})) {
    if (value !== undefined && value !== null && value !== "") {
      query.set(name, String(value));
    }
  }
  const asked = query.toString();
  const made: Call<Success<Operation<P, M>>> = {
    method,
    target: asked ? `${filled}?${asked}` : filled,
  };
  if (parts.body !== undefined) {
    made.body = parts.body;
  }
  return made;
}

/** A refusal by the API, or that it could not be reached (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string,
    readonly requestId: string,
    readonly needed: string | null = null,
    readonly details: Record<string, unknown> = {},
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }

  /** The field of the request that is wrong, if the API named one. */
  get field(): string | null {
    const field = this.details.field;
    return typeof field === "string" ? field : null;
  }
}

/** Sends calls as the page. `onSignedOut` is called for each 401. */
export class Client {
  onSignedOut: () => void = () => {};

  constructor(readonly base: string) {}

  /** Sends a call; throws ApiError. `signal` gives it up, which frees its connection. */
  async send<T>(
    made: Call<T>,
    {
      headers = {},
      signal = null,
    }: { headers?: Record<string, string>; signal?: AbortSignal | null } = {},
  ): Promise<Answer<T>> {
    const init: RequestInit = {
      method: made.method.toUpperCase(),
      headers: { "X-Gatehouse-Page": "1", Accept: "application/json", ...headers },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal,
    };
    if (made.body !== undefined) {
      init.body = JSON.stringify(made.body);
      init.headers = { ...init.headers, "Content-Type": "application/json" };
    }
    let response: Response;
    try {
      response = await fetch(this.base + made.target, init);
    } catch {
      throw new ApiError(
        0,
        "The API could not be reached. Check the connection.",
        "UNREACHABLE",
        "",
      );
    }
    const requestId = response.headers.get("X-Request-Id") ?? "";
    const text = await response.text();
    if (!response.ok) {
      if (response.status === 401) {
        this.onSignedOut();
      }
      throw refusal(response, text, requestId);
    }
    const value = (text ? JSON.parse(text) : undefined) as T;
    return { value, text, requestId, cursor: cursorOf(value, response.headers) };
  }
}

/** The cursor of the next page: in the body on two surfaces, in a header beside a bare list. */
function cursorOf(value: unknown, headers: Headers): string | null {
  const header = headers.get("X-Next-Cursor");
  if (header) {
    return header;
  }
  if (value && typeof value === "object") {
    const body = value as { cursor?: string | null; meta?: { cursor?: string | null } };
    return body.cursor ?? body.meta?.cursor ?? null;
  }
  return null;
}

function refusal(response: Response, text: string, requestId: string): ApiError {
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // A body that is not JSON is from something between the page and the API.
  }
  const shown = body.error;
  const inner = shown && typeof shown === "object" ? (shown as Record<string, unknown>) : {};
  const retryAfter = Number(response.headers.get("Retry-After"));
  return new ApiError(
    response.status,
    String(body.message ?? (typeof shown === "string" ? shown : response.statusText)),
    String(body.code ?? ""),
    requestId,
    typeof body.needed === "string" ? body.needed : null,
    (inner.details ?? {}) as Record<string, unknown>,
    retryAfter > 0 ? retryAfter : null,
  );
}
