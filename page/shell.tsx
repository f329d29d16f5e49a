import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { missing, usePage } from "./core/page";
import { linkTo, type Route } from "./core/route";
import { Palette } from "./ui/palette";
import { VIEWS } from "./views";

/** What is around every view: where one is, who one is, and the way to everything else. */
export function Shell({
  route,
  message,
  children,
}: {
  route: Route;
  message: string;
  children: ComponentChildren;
}) {
  const { me, signOut } = usePage();
  const [palette, setPalette] = useState(false);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette(true);
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  const offered = VIEWS.filter((view) => !view.needs || !missing(me, view.needs));
  const withheld = VIEWS.filter((view) => view.needs && missing(me, view.needs));
  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href={linkTo("")}>
          Gatehouse
        </a>
        <button type="button" class="quiet" onClick={() => setPalette(true)}>
          Go to… <kbd>Ctrl K</kbd>
        </button>
        <span class="who">
          {me.identity.name} · {me.account.name} · <code>{me.key.key_prefix}</code>
        </span>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      <nav aria-label="Views">
        <ul>
          {offered.map((view) => (
            <li key={view.name}>
              <a
                href={linkTo(view.name)}
                aria-current={view.name === route.view ? "page" : undefined}
              >
                {view.title}
              </a>
            </li>
          ))}
        </ul>
        {withheld.length > 0 && (
          <details class="withheld">
            <summary>{withheld.length} not available</summary>
            <ul>
              {withheld.map((view) => (
                <li key={view.name}>
                  {view.title}: {view.needs && missing(me, view.needs)}
                </li>
              ))}
            </ul>
          </details>
        )}
      </nav>
      {children}
      <p class="message" role="status" aria-live="polite">
        {message}
      </p>
      {palette && <Palette views={offered} onClose={() => setPalette(false)} />}
    </div>
  );
}
