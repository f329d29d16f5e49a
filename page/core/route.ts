/** Where the page is: a view, what it shows, and its filters. It lies in the address's fragment. */
export interface Route {
  view: string;
  rest: string[];
  query: Record<string, string>;
}

/** Reads the fragment of an address: `#/webhooks/<id>/deliveries?status=retrying`. */
export function readRoute(fragment: string): Route {
  const [path = "", query = ""] = fragment.replace(/^#?\/?/, "").split("?", 2);
  const [view = "", ...rest] = path.split("/").filter(Boolean).map(decoded);
  return { view, rest, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Writes a link to a view. Filters without a value are left out. */
export function linkTo(
  view: string,
  rest: string[] = [],
  query: Record<string, string | null | undefined> = {},
): string {
  const path = [view, ...rest].map(encodeURIComponent).join("/");
  const filters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value) {
      filters.set(name, value);
    }
  }
  const asked = filters.toString();
  return `#/${path}${asked ? `?${asked}` : ""}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
