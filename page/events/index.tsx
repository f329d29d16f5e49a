import { useState } from "preact/hooks";
import { call } from "../core/api";
import { bare } from "../core/ids";
import { missing, usePage } from "../core/page";
import { linkTo, type Route } from "../core/route";
import { useCall, usePages } from "../core/use_calls";
import { TYPES } from "../generated/words";
import { Select } from "../ui/form";
import { Loaded, View } from "../ui/state";
import { PagedTable } from "../ui/table";
import { Moment, Status, Words } from "../ui/text";
import { Emit } from "./emit";

/** Signals: emit one, list them, and see one with everything it carries. */
export function Events({ route }: { route: Route }) {
  const [id] = route.rest;
  return id ? <OneSignal id={id} /> : <All type={route.query.type ?? ""} />;
}

function All({ type }: { type: string }) {
  const { me, say } = usePage();
  const [emitting, setEmitting] = useState(false);
  const pages = usePages(
    (after) =>
      call("get", "/signals/list", {
        query: {
          limit: 50,
          ...(after ? { after } : {}),
          ...(type ? { type: type as never } : {}),
        },
      }),
    (value) => value.data,
    type,
  );
  const why = missing(me, "agents:write");
  return (
    <View
      title="Events"
      actions={
        <button
          type="button"
          class="main"
          disabled={why !== null}
          title={why ?? undefined}
          onClick={() => setEmitting(true)}
        >
          Emit a signal
        </button>
      }
    >
      <div class="filters">
        <Select
          label="Type"
          value={type}
          options={[["", "all"], ...TYPES]}
          onChange={(value) => {
            location.hash = linkTo("events", [], { type: value });
          }}
        />
        <button type="button" onClick={pages.reload}>
          Refresh
        </button>
      </div>
      <PagedTable
        caption="Signals"
        pages={pages}
        rowKey={(signal) => signal.id}
        empty="No signal. Emit one to see it reach your webhooks."
        columns={[
          {
            name: "Content",
            show: (signal) => (
              <a href={linkTo("events", [bare(signal.id)])}>{signal.content.slice(0, 80)}</a>
            ),
          },
          { name: "Type", show: (signal) => signal.signal_type },
          { name: "From", show: (signal) => signal.from_identity },
          { name: "Ring", show: (signal) => signal.to_ring ?? "" },
          { name: "Urgency", number: true, show: (signal) => signal.urgency },
          { name: "Delivery", show: (signal) => <Status value={signal.delivery_state} /> },
          { name: "Created", show: (signal) => <Moment at={signal.created_at} /> },
        ]}
      />
      {emitting && (
        <Emit
          onClose={() => setEmitting(false)}
          onDone={() => {
            setEmitting(false);
            say("The signal is emitted.");
            pages.reload();
          }}
        />
      )}
    </View>
  );
}

function OneSignal({ id }: { id: string }) {
  const { loading, reload } = useCall(() => call("get", "/signals/{id}", { path: { id } }), id);
  return (
    <View title="Signal" actions={<a href={linkTo("events")}>All events</a>}>
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <section class="card">
            <p>{data.content}</p>
            <dl class="facts">
              <dt>Id</dt>
              <dd>
                <code>{data.id}</code>
              </dd>
              <dt>Type</dt>
              <dd>{data.signal_type}</dd>
              <dt>From</dt>
              <dd>{data.from_identity}</dd>
              <dt>Tags</dt>
              <dd>
                <Words of={data.tags} />
              </dd>
              <dt>Created</dt>
              <dd>
                <Moment at={data.created_at} />
              </dd>
              <dt>Delivery</dt>
              <dd>
                <Status value={data.delivery_state} />
              </dd>
            </dl>
            <h2>Payload</h2>
            <pre>{JSON.stringify(data.payload, null, 2)}</pre>
          </section>
        )}
      </Loaded>
    </View>
  );
}
