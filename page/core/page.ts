import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { components } from "../generated/api";
import type { Client } from "./api";
import { opens } from "./grants";

export type Me = components["schemas"]["KeysAccountWhoAmI"];

/** What every view may use: the API, who is signed in, and what they may do. */
export interface Page {
  client: Client;
  me: Me;
  sockets: string;
  signOut: () => void;
  /** Shows a short message for a few seconds. */
  say: (message: string) => void;
}

export const PageContext = createContext<Page | null>(null);

export function usePage(): Page {
  const page = useContext(PageContext);
  if (!page) {
    throw new Error("a view is shown without being signed in");
  }
  return page;
}

/** Why the caller cannot do something, null if they can: a scope, or being an admin. */
export function missing(me: Me, scope: string): string | null {
  if (!opens(me.grants.scopes, scope)) {
    return `this key lacks the scope ${scope}`;
  }
  if (scope === "admin:manage" && !me.identity.is_admin) {
    return "only admins may do this";
  }
  return null;
}
