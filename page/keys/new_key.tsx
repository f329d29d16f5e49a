import { useState } from "preact/hooks";
import { call } from "../core/api";
import { fromInput } from "../core/time";
import { useAction } from "../core/use_calls";
import { SCOPES } from "../generated/words";
import { Dialog } from "../ui/dialog";
import { Choices, Form, TextField } from "../ui/form";
import { ShownOnce } from "../ui/text";

/** Creates a key of the caller's own identity; the key is shown once. */
export function NewKey({ onClose }: { onClose: () => void }) {
  const action = useAction();
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>([]);
  const [expires, setExpires] = useState("");
  const [limit, setLimit] = useState("");
  const [made, setMade] = useState<string | null>(null);
  const of = call("post", "/v1/api-keys", {
    body: {
      name: name.trim(),
      ...(scopes.length ? { scopes: scopes as never } : {}),
      ...(fromInput(expires) ? { expires_at: fromInput(expires) } : {}),
      ...(limit ? { rate_limit: Number(limit) } : {}),
    },
  });
  const submit = async () => {
    const answer = await action.run(of);
    if (answer) {
      setMade(answer.value.data.key);
    }
  };
  const wrong = (field: string) => (action.error?.field === field ? action.error.message : null);
  return (
    <Dialog title={made ? "Key created" : "Create a key"} onClose={onClose}>
      {made ? (
        <>
          <ShownOnce secret={made} name="key" />
          <p class="buttons">
            <button type="button" class="main" onClick={onClose}>
              Done
            </button>
          </p>
        </>
      ) : (
        <Form of={of} action={action} submit="Create key" onSubmit={submit}>
          <TextField label="Name" required value={name} onInput={setName} error={wrong("name")} />
          <Choices
            legend="Scopes"
            hint="None chosen: everything that you may do."
            options={SCOPES}
            chosen={scopes}
            onChange={setScopes}
          />
          <TextField
            label="Expires"
            hint="Your local time. Empty: never."
            type="datetime-local"
            value={expires}
            onInput={setExpires}
            error={wrong("expires_at")}
          />
          <TextField
            label="Requests per minute"
            hint="Empty: the stack's default."
            type="number"
            value={limit}
            onInput={setLimit}
            error={wrong("rate_limit")}
          />
        </Form>
      )}
    </Dialog>
  );
}
