import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction } from "../core/use_calls";
import { Dialog } from "../ui/dialog";
import { Form, Select } from "../ui/form";
import { ShownOnce } from "../ui/text";
import { type AdminKey, bare } from "./rules";

const GRACES: [string, string][] = [
  ["0", "ends at once"],
  ["3600", "works for an hour more"],
  ["86400", "works for a day more"],
  ["604800", "works for a week more"],
];

/** Gives a key a successor with the same grants; the old one ends at once or after a grace. */
export function Rotate({ shown, onClose }: { shown: AdminKey; onClose: () => void }) {
  const action = useAction();
  const [grace, setGrace] = useState("0");
  const [made, setMade] = useState<string | null>(null);
  const of = call("post", "/admin/api-keys/{id}/rotate", {
    path: { id: bare(shown.id) },
    body: { grace_seconds: Number(grace) },
  });
  return (
    <Dialog title={`Rotate ${shown.name}`} onClose={onClose}>
      {made ? (
        <>
          <ShownOnce secret={made} name="new key" />
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
              setMade(answer.value.data.api_key);
            }
          }}
        >
          <Select label="The old key" value={grace} options={GRACES} onChange={setGrace} />
        </Form>
      )}
    </Dialog>
  );
}
