import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction } from "../core/use_calls";
import { TYPES } from "../generated/words";
import { Dialog } from "../ui/dialog";
import { Form, Select, TextField } from "../ui/form";
import { readObject } from "./rules";

/** Emits one signal, from an example that can be changed. */
export function Emit({ onClose, onDone }: { onClose: () => void; onDone: () => void }) {
  const action = useAction();
  const [type, setType] = useState<string>("alert");
  const [content, setContent] = useState("Disk almost full");
  const [ring, setRing] = useState("");
  const [urgency, setUrgency] = useState("0.5");
  const [payload, setPayload] = useState('{"disk": "/dev/vda", "used_percent": 93}');
  const read = readObject(payload);
  const of = call("post", "/emit", {
    body: {
      signal_type: type as never,
      content,
      urgency: Number(urgency),
      ...(ring.trim() ? { to_ring: ring.trim() } : {}),
      ...(read.value ? { payload: read.value } : {}),
    },
  });
  return (
    <Dialog title="Emit a signal" onClose={onClose}>
      <Form
        of={of}
        action={action}
        submit="Emit"
        disabled={read.wrong !== null}
        onSubmit={async () => {
          if (await action.run(of)) {
            onDone();
          }
        }}
      >
        <Select label="Type" value={type} options={TYPES} onChange={setType} />
        <TextField label="Content" required value={content} onInput={setContent} />
        <TextField label="To ring" hint="Empty: everybody." value={ring} onInput={setRing} />
        <TextField label="Urgency" hint="From 0 to 1." value={urgency} onInput={setUrgency} />
        <TextField
          label="Payload"
          hint="A JSON object. Empty: none."
          rows={4}
          value={payload}
          error={read.wrong}
          onInput={setPayload}
        />
      </Form>
    </Dialog>
  );
}
