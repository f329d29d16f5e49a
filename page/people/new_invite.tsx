import { useState } from "preact/hooks";
import { call } from "../core/api";
import { fromInput } from "../core/time";
import { useAction } from "../core/use_calls";
import { SCOPES } from "../generated/words";
import { Dialog } from "../ui/dialog";
import { Choices, Form, Select, TextField } from "../ui/form";
import { ShownOnce } from "../ui/text";

/** Creates an invite; its code lets somebody in. */
export function NewInvite({ onClose }: { onClose: () => void }) {
  const action = useAction();
  const [name, setName] = useState("");
  const [type, setType] = useState<"human" | "agent">("human");
  const [scopes, setScopes] = useState<string[]>([]);
  const [uses, setUses] = useState("1");
  const [expires, setExpires] = useState("");
  const [code, setCode] = useState<string | null>(null);
  const of = call("post", "/invite/create", {
    body: {
      name: name.trim(),
      type,
      long: true,
      ...(scopes.length ? { scopes: scopes as never } : {}),
      ...(uses && uses !== "1" ? { max_uses: Number(uses) } : {}),
      ...(fromInput(expires) ? { expires_at: fromInput(expires) } : {}),
    },
  });
  return (
    <Dialog title={code ? "Invite created" : "Invite"} onClose={onClose}>
      {code ? (
        <>
          <ShownOnce secret={code} name="code" />
          <p>Whoever has it sends it to POST /invite and gets a key.</p>
        </>
      ) : (
        <Form
          of={of}
          action={action}
          submit="Create invite"
          onSubmit={async () => {
            const answer = await action.run(of);
            if (answer) {
              setCode(answer.value.data.code);
            }
          }}
        >
          <TextField label="Name" required value={name} onInput={setName} />
          <Select
            label="Type"
            value={type}
            options={["human", "agent"]}
            onChange={(value) => setType(value as "human" | "agent")}
          />
          <Choices
            legend="Ceiling"
            hint="None chosen: everything that you may do."
            options={SCOPES}
            chosen={scopes}
            onChange={setScopes}
          />
          <TextField label="Uses" type="number" value={uses} onInput={setUses} />
          <TextField
            label="Expires"
            hint="Your local time. Empty: in three days."
            type="datetime-local"
            value={expires}
            onInput={setExpires}
          />
        </Form>
      )}
    </Dialog>
  );
}
