import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, type Client } from "./core/api";
import { type Me, type Page, PageContext } from "./core/page";
import { forget, mayBeSignedIn, signOut, whoAmI } from "./core/session";
import { useRoute } from "./core/use_route";
import { Shell } from "./shell";
import { SignIn } from "./sign_in";
import { Failure } from "./ui/state";
import { viewOf } from "./views";

/** Signed out, unknown yet, or signed in as somebody. */
type Who = { is: "unknown" } | { is: "nobody"; why: string | null } | { is: "somebody"; me: Me };

export function App({ client, sockets }: { client: Client; sockets: string }) {
  const [who, setWho] = useState<Who>(() =>
    mayBeSignedIn() ? { is: "unknown" } : { is: "nobody", why: null },
  );
  const [failed, setFailed] = useState<ApiError | null>(null);
  const [message, setMessage] = useState("");
  const timer = useRef(0);

  const ask = useCallback(() => {
    setFailed(null);
    whoAmI(client).then(
      (me) => setWho({ is: "somebody", me }),
      (error) => {
        if (error instanceof ApiError && error.status !== 401) {
          setFailed(error);
        }
      },
    );
  }, [client]);

  useEffect(() => {
    client.onSignedOut = () => {
      forget();
      // A view sends several requests, and each of them is refused.
      setWho((before) =>
        before.is === "nobody"
          ? before
          : { is: "nobody", why: "The session ended. Sign in again." },
      );
    };
    if (who.is === "unknown") {
      ask();
    }
  }, [client, ask, who.is]);

  const say = useCallback((text: string) => {
    setMessage(text);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setMessage(""), 5_000);
  }, []);

  const page = useMemo<Page | null>(
    () =>
      who.is === "somebody"
        ? {
            client,
            sockets,
            me: who.me,
            say,
            signOut: () => {
              signOut(client).catch(() => {});
              setWho({ is: "nobody", why: null });
            },
          }
        : null,
    [client, sockets, say, who],
  );

  if (failed) {
    return (
      <main class="alone">
        <h1>Gatehouse</h1>
        <Failure error={failed} retry={ask} />
      </main>
    );
  }
  if (who.is === "nobody") {
    return (
      <SignIn client={client} why={who.why} onSignedIn={(me) => setWho({ is: "somebody", me })} />
    );
  }
  if (!page) {
    return <p class="alone">Loading…</p>;
  }
  return (
    <PageContext.Provider value={page}>
      <Routed message={message} />
    </PageContext.Provider>
  );
}

function Routed({ message }: { message: string }) {
  const route = useRoute();
  const { show } = viewOf(route);
  return (
    <Shell route={route} message={message}>
      {show(route)}
    </Shell>
  );
}
