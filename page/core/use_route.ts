import { useEffect, useState } from "preact/hooks";
import { type Route, readRoute } from "./route";

/** The current route; changes with the address's fragment, so that back and deep links work. */
export function useRoute(): Route {
  const [route, setRoute] = useState(() => readRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(readRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
