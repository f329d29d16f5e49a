import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Call } from "../core/api";
import { useAction } from "../core/use_calls";
import { Dialog } from "./dialog";
import { Form, Select } from "./form";
import { ShownOnce } from "./text";

/** What a rotation gives: the new secret, and what to say about the old one. */
export interface Rotated {
  secret: string;
  note?: ComponentChildren;
}

/** Replaces a secret; the old one ends at once or after a grace. The new one is shown once. */
export function Rotation<T>({
  title,
  old,
  graces,
  make,
  read,
  secretName,
  onClose,
}: {
  title: string;
  /** The label of the old secret. */
  old: string;
  /** Seconds of grace, each with what it means; the first is chosen. */
  graces: readonly [string, string][];
  make: (graceSeconds: number) => Call<T>;
  read: (value: T) => Rotated;
  secretName: string;
  onClose: () => void;
}) {
  const action = useAction();
  const [grace, setGrace] = useState(graces[0]?.[0] ?? "0");
  const [made, setMade] = useState<Rotated | null>(null);
  const of = make(Number(grace));
  return (
    <Dialog title={title} onClose={onClose}>
      {made ? (
        <>
          <ShownOnce secret={made.secret} name={secretName} />
          {made.note && <p>{made.note}</p>}
          <p class="buttons">
            <button type="button" class="main" onClick={onClose}>
              Done
            </button>
          </p>
        </>
      ) : (
        <Form
          of={of}
          action={action}
          submit="Rotate"
          onSubmit={async () => {
            const answer = await action.run(of);
            if (answer) {
              setMade(read(answer.value));
            }
          }}
        >
          <Select label={old} value={grace} options={graces} onChange={setGrace} />
        </Form>
      )}
    </Dialog>
  );
}
