import { useState } from "preact/hooks";
import { call } from "../core/api";
import { usePage } from "../core/page";
import { useAction } from "../core/use_calls";
import { Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";
import { ShownOnce } from "../ui/text";

/** Registers an HTTP service; with a restart hook, its secret is shown once. */
export function Register({ onClose }: { onClose: () => void }) {
  const { say } = usePage();
  const action = useAction();
  const [name, setName] = useState("");
  const [health, setHealth] = useState("");
  const [restart, setRestart] = useState("");
  const [secret, setSecret] = useState<string | null>(null);
  const of = call("post", "/api/services", {
    body: {
      name: name.trim(),
      healthUrl: health.trim(),
      ...(restart.trim() ? { restartUrl: restart.trim() } : {}),
    },
  });
  return (
    <Dialog title={secret ? "Service registered" : "Register a service"} onClose={onClose}>
      {secret ? (
        <ShownOnce secret={secret} name="secret of the restart hook" />
      ) : (
        <Form
          of={of}
          action={action}
          submit="Register"
          onSubmit={async () => {
            const answer = await action.run(of);
            if (answer?.value.restartSecret) {
              setSecret(answer.value.restartSecret);
            } else if (answer) {
              say(`${name.trim()} is registered.`);
              onClose();
            }
          }}
        >
          <TextField label="Name" required value={name} onInput={setName} />
          <TextField
            label="Health URL"
            hint="Any 2xx answer means running."
            type="url"
            required
            value={health}
            onInput={setHealth}
          />
          <TextField
            label="Restart URL"
            hint="A signed POST restarts the service. Empty: it cannot be restarted here."
            type="url"
            value={restart}
            onInput={setRestart}
          />
        </Form>
      )}
    </Dialog>
  );
}
