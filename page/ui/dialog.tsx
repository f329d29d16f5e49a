import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import type { Call } from "../core/api";
import { useAction } from "../core/use_calls";
import { Form, TextField } from "./form";

/** A modal dialog. The browser keeps the focus inside and gives it back. */
export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={element} aria-labelledby={id} onClose={onClose}>
      <header class="view">
        <h2 id={id}>{title}</h2>
        <button type="button" class="quiet" onClick={onClose}>
          Close
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Asks before something ends. With `name`, it must be typed. */
export function Confirm({
  title,
  of,
  submit,
  name,
  onClose,
  onDone,
  children,
}: {
  title: string;
  of: Call<unknown>;
  submit: string;
  name?: string;
  onClose: () => void;
  onDone: () => void;
  children: ComponentChildren;
}) {
  const action = useAction();
  const [typed, setTyped] = useState("");
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <Form
        of={of}
        action={action}
        submit={submit}
        danger
        disabled={name !== undefined && typed.trim() !== name.trim()}
        onSubmit={async () => {
          if (await action.run(of)) {
            onDone();
          }
        }}
      >
        {name !== undefined && (
          <TextField label={`Type ${name} to confirm`} value={typed} onInput={setTyped} />
        )}
      </Form>
    </Dialog>
  );
}
