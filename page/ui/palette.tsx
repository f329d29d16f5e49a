import { useState } from "preact/hooks";
import { linkTo } from "../core/route";
import type { ViewEntry } from "../views";
import { Dialog } from "./dialog";
import { TextField } from "./form";
import { matches } from "./matches";

/** Goes to any view by the beginning of one of its words. */
export function Palette({ views, onClose }: { views: ViewEntry[]; onClose: () => void }) {
  const [text, setText] = useState("");
  const found = views.filter((view) => matches(view.title, text));
  const go = (name: string) => {
    location.hash = linkTo(name);
    onClose();
  };
  return (
    <Dialog title="Go to" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const [first] = found;
          if (first) {
            go(first.name);
          }
        }}
      >
        <TextField label="View" value={text} onInput={setText} type="search" />
        <ul class="palette">
          {found.map((view) => (
            <li key={view.name}>
              <button type="button" class="quiet" onClick={() => go(view.name)}>
                {view.title}
              </button>
            </li>
          ))}
        </ul>
        {found.length === 0 && <p class="empty">No view has this name.</p>}
      </form>
    </Dialog>
  );
}
