import { useState } from "preact/hooks";
import { call } from "../core/api";
import { missing, usePage } from "../core/page";
import { linkTo, type Route } from "../core/route";
import { useAction, useCall } from "../core/use_calls";
import { Confirm, Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";
import { Loaded, View } from "../ui/state";
import { Moment } from "../ui/text";

/** Whether provider keys are configured; set and delete them. No route gives one back. */
export function Secrets({ route }: { route: Route }) {
  const [name = "openai"] = route.rest;
  const [wanted, setWanted] = useState(name);
  const [asked, setAsked] = useState<"set" | "delete" | null>(null);
  const { me, say } = usePage();
  const { loading, reload } = useCall(
    () => call("get", "/api/auth/providers/{name}", { path: { name } }),
    name,
  );
  const why = missing(me, "services:write");
  return (
    <View title="Secrets">
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          location.hash = linkTo("secrets", [wanted.trim()]);
        }}
      >
        <TextField label="Provider" hint="for example openai" value={wanted} onInput={setWanted} />
        <button type="submit">Look up</button>
      </form>
      <Loaded loading={loading} reload={reload}>
        {(status) => (
          <section class="card">
            <h2>{name}</h2>
            <p>
              {status.configured ? (
                <>
                  A key is stored, set <Moment at={status.updatedAt} />.
                </>
              ) : (
                "No key is stored."
              )}
            </p>
            <p class="buttons">
              <button
                type="button"
                class="main"
                disabled={why !== null}
                onClick={() => setAsked("set")}
              >
                {status.configured ? "Replace" : "Set"}
              </button>
              {status.configured && (
                <button type="button" disabled={why !== null} onClick={() => setAsked("delete")}>
                  Delete
                </button>
              )}
            </p>
          </section>
        )}
      </Loaded>
      {asked === "set" && (
        <SetKey
          name={name}
          onClose={() => setAsked(null)}
          onDone={() => {
            setAsked(null);
            say(`The key of ${name} is stored.`);
            reload();
          }}
        />
      )}
      {asked === "delete" && (
        <Confirm
          title={`Delete the key of ${name}`}
          of={call("delete", "/api/auth/providers/{name}", { path: { name } })}
          submit="Delete"
          name={name}
          onClose={() => setAsked(null)}
          onDone={() => {
            setAsked(null);
            say(`The key of ${name} is deleted.`);
            reload();
          }}
        >
          <p>What uses it fails until another one is set.</p>
        </Confirm>
      )}
    </View>
  );
}

function SetKey({
  name,
  onClose,
  onDone,
}: {
  name: string;
  onClose: () => void;
  onDone: () => void;
}) {
  const action = useAction();
  const [key, setKey] = useState("");
  const path = { name };
  return (
    <Dialog title={`Set the key of ${name}`} onClose={onClose}>
      <Form
        of={call("put", "/api/auth/providers/{name}", { path, body: { apiKey: "…" } })}
        action={action}
        submit="Store"
        onSubmit={async () => {
          const body = { apiKey: key };
          if (await action.run(call("put", "/api/auth/providers/{name}", { path, body }))) {
            onDone();
          }
        }}
      >
        <TextField
          label="Key"
          hint="It is encrypted, and no request gives it back."
          type="password"
          required
          value={key}
          onInput={setKey}
        />
      </Form>
    </Dialog>
  );
}
