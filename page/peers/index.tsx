import { useState } from "preact/hooks";
import { call } from "../core/api";
import { usePage } from "../core/page";
import { fromInput } from "../core/time";
import { useAction, useCall } from "../core/use_calls";
import type { components } from "../generated/api";
import { Confirm, Dialog } from "../ui/dialog";
import { Form, TextField } from "../ui/form";
import { Empty, Loaded, View } from "../ui/state";
import { Table } from "../ui/table";
import { Moment, ShownOnce, Status, Words } from "../ui/text";

type Peer = components["schemas"]["FederationPeerView"];

/** Other instances that may send signals. */
export function Peers() {
  const { say } = usePage();
  const { loading, reload } = useCall(() => call("get", "/admin/peers"), "peers");
  const [trusting, setTrusting] = useState(false);
  const [removing, setRemoving] = useState<Peer | null>(null);
  return (
    <View
      title="Peers"
      actions={
        <button type="button" class="main" onClick={() => setTrusting(true)}>
          Trust a peer
        </button>
      }
    >
      <Loaded loading={loading} reload={reload}>
        {({ data }) =>
          data.length ? (
            <Table
              caption="Peers"
              rows={data}
              rowKey={(peer) => peer.id}
              columns={[
                { name: "Name", show: (peer) => peer.name },
                { name: "Endpoint", show: (peer) => peer.endpoint },
                { name: "Status", show: (peer) => <Status value={peer.status} /> },
                { name: "Scopes", show: (peer) => <Words of={peer.allowed_scopes} /> },
                { name: "Expires", show: (peer) => <Moment at={peer.expires_at} /> },
                {
                  name: "Actions",
                  show: (peer) => (
                    <button
                      type="button"
                      aria-label={`Remove ${peer.name}`}
                      onClick={() => setRemoving(peer)}
                    >
                      Remove
                    </button>
                  ),
                },
              ]}
            />
          ) : (
            <Empty>No peer. Trust one to let another instance send signals here.</Empty>
          )
        }
      </Loaded>
      {trusting && (
        <Trust
          onClose={() => {
            setTrusting(false);
            reload();
          }}
        />
      )}
      {removing && (
        <Confirm
          title={`Remove ${removing.name}`}
          of={call("delete", "/admin/peers/{id}", { path: { id: removing.id } })}
          submit="Remove"
          name={removing.name}
          onClose={() => setRemoving(null)}
          onDone={() => {
            say(`${removing.name} is removed.`);
            setRemoving(null);
            reload();
          }}
        >
          <p>Its next signal is refused.</p>
        </Confirm>
      )}
    </View>
  );
}

function Trust({ onClose }: { onClose: () => void }) {
  const action = useAction();
  const [name, setName] = useState("");
  const [endpoint, setEndpoint] = useState("");
  const [expires, setExpires] = useState("");
  const [secret, setSecret] = useState<string | null>(null);
  const of = call("post", "/federation/trust", {
    body: {
      name: name.trim(),
      endpoint: endpoint.trim(),
      ...(fromInput(expires) ? { expires_at: fromInput(expires) } : {}),
    },
  });
  return (
    <Dialog title={secret ? "Peer trusted" : "Trust a peer"} onClose={onClose}>
      {secret ? (
        <ShownOnce secret={secret} name="shared secret" />
      ) : (
        <Form
          of={of}
          action={action}
          submit="Trust"
          onSubmit={async () => {
            const answer = await action.run(of);
            if (answer) {
              setSecret(answer.value.data.shared_secret);
            }
          }}
        >
          <TextField label="Name" required value={name} onInput={setName} />
          <TextField label="Endpoint" type="url" required value={endpoint} onInput={setEndpoint} />
          <TextField
            label="Expires"
            hint="Your local time. Empty: never."
            type="datetime-local"
            value={expires}
            onInput={setExpires}
          />
        </Form>
      )}
    </Dialog>
  );
}
