import { useState } from "preact/hooks";
import { ApiError, type Client } from "../core/api";
import type { Me } from "../core/page";
import { signIn } from "../core/session";
import { TextField } from "../ui/form";
import { Failure } from "../ui/state";

/** Exchanges a key for a session. The key is sent once, and the page does not keep it. */
export function SignIn({
  client,
  why,
  onSignedIn,
}: {
  client: Client;
  why: string | null;
  onSignedIn: (me: Me) => void;
}) {
  const [key, setKey] = useState("");
  const [pending, setPending] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setPending(true);
    setError(null);
    const sent = key.trim();
    setKey("");
    try {
      onSignedIn(await signIn(client, sent));
    } catch (thrown) {
      setError(explained(thrown));
    } finally {
      setPending(false);
    }
  };
  return (
    <main class="alone">
      <h1>Gatehouse</h1>
      {why && !error && <p role="status">{why}</p>}
      {error && <Failure error={error} />}
      <form onSubmit={submit}>
        <TextField
          label="API key"
          hint="It is sent once. The session lasts twelve hours, and ends with the key."
          type="password"
          required
          value={key}
          onInput={setKey}
        />
        <p class="buttons">
          <button type="submit" class="main" disabled={pending}>
            {pending ? "Signing in…" : "Sign in"}
          </button>
        </p>
      </form>
    </main>
  );
}

function explained(thrown: unknown): ApiError {
  if (!(thrown instanceof ApiError)) {
    return new ApiError(0, String(thrown), "INTERNAL_ERROR", "");
  }
  if (thrown.status === 401) {
    return new ApiError(
      401,
      "The key was not accepted: it is unknown, disabled, expired or revoked, or its cookie was refused.",
      thrown.code,
      thrown.requestId,
    );
  }
  return thrown;
}
