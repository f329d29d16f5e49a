import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction } from "../core/use_calls";
import { Dialog } from "../ui/dialog";
import { Form, Select } from "../ui/form";
import { Moment, ShownOnce } from "../ui/text";

const GRACES: [string, string][] = [
  ["86400", "signs for a day more"],
  ["3600", "signs for an hour more"],
  ["604800", "signs for a week more"],
  ["0", "ends at once"],
];

/** Gives a webhook a new secret; in the grace both sign. */
export function RotateSecret({ id, onClose }: { id: string; onClose: () => void }) {
  const action = useAction();
  const [grace, setGrace] = useState("86400");
  const [made, setMade] = useState<{ secret: string; ends: string } | null>(null);
  const of = call("post", "/admin/webhooks/{id}/rotate-secret", {
    path: { id },
    body: { grace_seconds: Number(grace) },
  });
  return (
    <Dialog title="Rotate the secret" onClose={onClose}>
      {made ? (
        <>
          <ShownOnce secret={made.secret} name="secret" />
          <p>
            The old secret ends <Moment at={made.ends} />. Until then both sign.
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
              const { secret, old_secret_ends_at: ends } = answer.value.data;
              setMade({ secret, ends });
            }
          }}
        >
          <Select label="The old secret" value={grace} options={GRACES} onChange={setGrace} />
        </Form>
      )}
    </Dialog>
  );
}
