import { useState } from "preact/hooks";
import { call } from "../core/api";
import { fromInput } from "../core/time";
import { useAction } from "../core/use_calls";
import { Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";

/** Sends dead letters again: first their number, then the act. */
export function Recover({
  id,
  onClose,
  onDone,
}: {
  id: string;
  onClose: () => void;
  onDone: (text: string) => void;
}) {
  const action = useAction();
  const [since, setSince] = useState("");
  const [count, setCount] = useState<number | null>(null);
  const asked = fromInput(since) ?? new Date(Date.now() - 86_400_000).toISOString();
  const counted = count !== null;
  const of = call("post", "/admin/webhooks/{id}/recover", {
    path: { id },
    body: counted ? { since: asked } : { since: asked, dry_run: true },
  });
  return (
    <Dialog title="Recover dead letters" onClose={onClose}>
      <Form
        of={of}
        action={action}
        submit={counted ? `Send ${count} again` : "Count them"}
        disabled={count === 0}
        onSubmit={async () => {
          const answer = await action.run(of);
          if (answer && counted) {
            onDone(`${answer.value.data.count} dead letters are sent again.`);
          } else if (answer) {
            setCount(answer.value.data.count);
          }
        }}
      >
        <TextField
          label="Since"
          hint="Your local time. Empty: the last 24 hours."
          type="datetime-local"
          value={since}
          onInput={(value) => {
            setSince(value);
            setCount(null);
          }}
        />
        {counted && (
          <p role="status">
            {count === 0 ? "There are none since then." : `${count} dead letters since then.`}
          </p>
        )}
      </Form>
    </Dialog>
  );
}
