import type { ComponentChildren } from "preact";
import { Audit } from "./audit";
import type { Route } from "./core/route";
import { Events } from "./events";
import { Keys } from "./keys";
import { Overview } from "./overview";
import { Peers } from "./peers";
import { People } from "./people";
import { Policy } from "./policy";
import { Secrets } from "./secrets";
import { Services } from "./services";
import { Settings } from "./settings";
import { Webhooks } from "./webhooks";

/** One entry of the navigation. `needs` is the scope without which it is not offered. */
export interface ViewEntry {
  name: string;
  title: string;
  needs: string | null;
  show: (route: Route) => ComponentChildren;
}

const MANAGE = "admin:manage";

export const VIEWS: readonly ViewEntry[] = [
  { name: "", title: "Overview", needs: null, show: () => <Overview /> },
  { name: "keys", title: "Keys", needs: "services:read", show: (route) => <Keys route={route} /> },
  { name: "people", title: "People", needs: MANAGE, show: (route) => <People route={route} /> },
  {
    name: "webhooks",
    title: "Webhooks",
    needs: MANAGE,
    show: (route) => <Webhooks route={route} />,
  },
  {
    name: "events",
    title: "Events",
    needs: "agents:read",
    show: (route) => <Events route={route} />,
  },
  {
    name: "services",
    title: "Services",
    needs: "services:read",
    show: (route) => <Services route={route} />,
  },
  { name: "audit", title: "Audit", needs: MANAGE, show: (route) => <Audit route={route} /> },
  { name: "policy", title: "Policy", needs: MANAGE, show: () => <Policy /> },
  {
    name: "secrets",
    title: "Secrets",
    needs: "services:read",
    show: (route) => <Secrets route={route} />,
  },
  { name: "peers", title: "Peers", needs: MANAGE, show: () => <Peers /> },
  { name: "settings", title: "Settings", needs: null, show: () => <Settings /> },
];

/** The view of a route; the overview if there is none of that name. */
export function viewOf(route: Route): ViewEntry {
  const [first] = VIEWS;
  const found = VIEWS.find((view) => view.name === route.view) ?? first;
  if (!found) {
    throw new Error("there are no views");
  }
  return found;
}
