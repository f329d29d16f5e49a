import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction } from "../core/use_calls";
import { TYPES } from "../generated/words";
import { Dialog } from "../ui/dialog";
import { Choices, Form, TextField } from "../ui/form";
import { ShownOnce } from "../ui/text";
import { readHeaders } from "./rules";

/** Creates a webhook; its secret is shown once. */
export function NewWebhook({ onClose }: { onClose: () => void }) {
  const action = useAction();
  const [url, setUrl] = useState("");
  const [description, setDescription] = useState("");
  const [types, setTypes] = useState<string[]>([]);
  const [rings, setRings] = useState("");
  const [headers, setHeaders] = useState("");
  const [secret, setSecret] = useState<string | null>(null);
  const [given, wrong] = headersOf(headers);
  const ringNames = rings.split(/[\s,]+/).filter(Boolean);
  const of = call("post", "/admin/webhooks", {
    body: {
      url: url.trim(),
      ...(description.trim() ? { description: description.trim() } : {}),
      ...(types.length || ringNames.length
        ? {
            filters: {
              ...(types.length ? { types: types as never } : {}),
              ...(ringNames.length ? { rings: ringNames } : {}),
            },
          }
        : {}),
      ...(Object.keys(given).length ? { headers: given } : {}),
    },
  });
  return (
    <Dialog title={secret ? "Webhook created" : "Create a webhook"} onClose={onClose}>
      {secret ? (
        <>
          <ShownOnce secret={secret} name="secret" />
          <p>Your receiver verifies each delivery with it.</p>
        </>
      ) : (
        <Form
          of={of}
          action={action}
          submit="Create webhook"
          disabled={wrong !== null}
          onSubmit={async () => {
            const answer = await action.run(of);
            if (answer) {
              setSecret(answer.value.data.secret);
            }
          }}
        >
          <TextField label="URL" type="url" required value={url} onInput={setUrl} />
          <TextField label="Description" value={description} onInput={setDescription} />
          <Choices
            legend="Signal types"
            hint="None chosen: all types."
            options={TYPES}
            chosen={types}
            onChange={setTypes}
          />
          <TextField
            label="Rings"
            hint="Separated by spaces. Empty: all rings."
            value={rings}
            onInput={setRings}
          />
          <TextField
            label="Headers"
            hint="One a line: Name: value. Values are stored encrypted and never shown."
            rows={2}
            value={headers}
            error={wrong}
            onInput={setHeaders}
          />
        </Form>
      )}
    </Dialog>
  );
}

function headersOf(text: string): [Record<string, string>, string | null] {
  try {
    return [readHeaders(text), null];
  } catch (error) {
    return [{}, error instanceof Error ? error.message : String(error)];
  }
}
