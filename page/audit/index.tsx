import { useState } from "preact/hooks";
import { call } from "../core/api";
import { linkTo, type Route } from "../core/route";
import { usePages } from "../core/use_calls";
import type { components } from "../generated/api";
import { Select, TextField } from "../ui/form";
import { View } from "../ui/state";
import { PagedTable } from "../ui/table";
import { Moment } from "../ui/text";
import { differences } from "./differences";
import { Verify } from "./verify";
import "./style.css";

type Event = components["schemas"]["KeysAdminAuditEvent"];

/** Who changed what; before and after side by side; the chain verified in the browser. */
export function Audit({ route }: { route: Route }) {
  const { action = "", actor = "", chain = "" } = route.query;
  const [wanted, setWanted] = useState({ action, actor });
  const [verifying, setVerifying] = useState(false);
  const pages = usePages(
    (after) =>
      call("get", "/admin/audit", {
        query: {
          limit: 50,
          ...(after ? { after } : {}),
          ...(action ? { action } : {}),
          ...(actor ? { actor } : {}),
          ...(chain ? { chain: chain as never } : {}),
        },
      }),
    (value) => value.data.events,
    `${action}|${actor}|${chain}`,
    (value) => value.data.cursor,
  );
  const go = (query: Record<string, string>) => {
    location.hash = linkTo("audit", [], { action, actor, chain, ...query });
  };
  return (
    <View
      title="Audit"
      actions={
        <button type="button" class="main" onClick={() => setVerifying(true)}>
          Verify
        </button>
      }
    >
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault();
          go({ action: wanted.action.trim(), actor: wanted.actor.trim() });
        }}
      >
        <TextField
          label="Action"
          value={wanted.action}
          onInput={(value) => setWanted({ ...wanted, action: value })}
        />
        <TextField
          label="Actor"
          value={wanted.actor}
          onInput={(value) => setWanted({ ...wanted, actor: value })}
        />
        <Select
          label="Chain"
          value={chain}
          options={[["", "both"], "administration", "machine"]}
          onChange={(value) => go({ chain: value })}
        />
        <button type="submit">Filter</button>
      </form>
      <PagedTable
        caption="Audit events"
        pages={pages}
        rowKey={(event) => event.id}
        empty="No event matches. Clear the filters to see all."
        columns={[
          { name: "When", show: (event) => <Moment at={event.created_at} /> },
          { name: "Action", show: (event) => <code>{event.action}</code> },
          { name: "Target", show: (event) => event.target },
          { name: "By", show: (event) => <By event={event} /> },
          { name: "What changed", show: (event) => <Changed event={event} /> },
        ]}
      />
      {verifying && <Verify onClose={() => setVerifying(false)} />}
    </View>
  );
}

function By({ event }: { event: Event }) {
  return (
    <>
      <a href={linkTo("audit", [], { actor: event.actor })}>{event.actor}</a>
      {event.source_address && <span class="faint"> from {event.source_address}</span>}
    </>
  );
}

function Changed({ event }: { event: Event }) {
  const rows = differences(event.before, event.after);
  return (
    <details>
      <summary>{rows.length === 1 ? "1 field" : `${rows.length} fields`}</summary>
      <table class="differences">
        <thead>
          <tr>
            <th scope="col">Field</th>
            <th scope="col">Before</th>
            <th scope="col">After</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name}>
              <th scope="row">{row.name}</th>
              <td data-name="Before">{row.before}</td>
              <td data-name="After">{row.after}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="faint">
        request {event.request_id} · event {event.seq} · <code>{event.hash.slice(0, 16)}…</code>
      </p>
    </details>
  );
}
