import { useState } from "preact/hooks";
import { call } from "../core/api";
import { usePage } from "../core/page";
import { linkTo, type Route } from "../core/route";
import { useCall, usePages } from "../core/use_calls";
import type { components } from "../generated/api";
import { Loaded, View } from "../ui/state";
import { PagedTable } from "../ui/table";
import { Copy, Moment, Status, Words } from "../ui/text";
import { Change } from "./change";
import { NewInvite } from "./new_invite";
import { stateOf } from "./rules";

export type Identity = components["schemas"]["PeopleIdentityView"];
export type Invite = components["schemas"]["PeopleInviteView"];

/** Identities with their ceilings, and invites with their codes. */
export function People({ route }: { route: Route }) {
  const { say } = usePage();
  const [inviting, setInviting] = useState(false);
  const [changing, setChanging] = useState<Identity | null>(null);
  const people = usePages(
    (after) =>
      call("get", "/admin/identities", { query: { limit: 100, ...(after ? { after } : {}) } }),
    (value) => value.data,
    "identities",
  );
  const invites = usePages(
    (after) =>
      call("get", "/admin/invites", { query: { limit: 100, ...(after ? { after } : {}) } }),
    (value) => value.data,
    "invites",
  );
  const [id] = route.rest;
  const now = new Date();
  return (
    <View
      title="People"
      actions={
        <button type="button" class="main" onClick={() => setInviting(true)}>
          Invite
        </button>
      }
    >
      {id && <One id={id} onChange={setChanging} />}
      <h2>Identities</h2>
      <PagedTable
        caption="Identities"
        pages={people}
        rowKey={(one) => one.id}
        empty="Nobody yet. Invite somebody."
        columns={[
          { name: "Name", show: (one) => <a href={linkTo("people", [one.id])}>{one.name}</a> },
          { name: "Type", show: (one) => one.type },
          { name: "Role", show: (one) => (one.is_admin ? "admin" : one.claw_type) },
          { name: "Status", show: (one) => <Status value={one.status} /> },
          { name: "Ceiling", show: (one) => <Words of={one.scopes} /> },
          {
            name: "Actions",
            show: (one) => (
              <button
                type="button"
                aria-label={`Change ${one.name}`}
                onClick={() => setChanging(one)}
              >
                Change
              </button>
            ),
          },
        ]}
      />
      <h2>Invites</h2>
      <PagedTable
        caption="Invites"
        pages={invites}
        rowKey={(one) => one.id}
        empty="No invite. An invite lets somebody in once, or as often as you say."
        columns={[
          { name: "Name", show: (one) => one.name },
          {
            name: "Code",
            show: (one) =>
              one.code ? (
                <>
                  <code>{one.code}</code>{" "}
                  <Copy text={one.code} label={`the code for ${one.name}`} />
                </>
              ) : (
                <span class="faint">not yours to see</span>
              ),
          },
          { name: "State", show: (one) => <Status value={stateOf(one, now)} /> },
          { name: "Used", number: true, show: (one) => `${one.uses} of ${one.max_uses}` },
          { name: "Expires", show: (one) => <Moment at={one.expires_at} /> },
        ]}
      />
      {inviting && (
        <NewInvite
          onClose={() => {
            setInviting(false);
            invites.reload();
          }}
        />
      )}
      {changing && (
        <Change
          shown={changing}
          onClose={() => setChanging(null)}
          onDone={(text) => {
            setChanging(null);
            say(text);
            people.reload();
          }}
        />
      )}
    </View>
  );
}

function One({ id, onChange }: { id: string; onChange: (one: Identity) => void }) {
  const { loading, reload } = useCall(
    () => call("get", "/admin/identities/{id}", { path: { id } }),
    id,
  );
  return (
    <section class="card">
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <>
            <h2>{data.name}</h2>
            <dl class="facts">
              <dt>Id</dt>
              <dd>
                <code>{data.id}</code>
              </dd>
              <dt>Status</dt>
              <dd>
                <Status value={data.status} />
              </dd>
              <dt>Wallet</dt>
              <dd>{data.wallet_address ?? "none"}</dd>
              <dt>Ceiling</dt>
              <dd>
                <Words of={data.scopes} />
              </dd>
              <dt>Created</dt>
              <dd>
                <Moment at={data.created_at} />
              </dd>
            </dl>
            <button type="button" onClick={() => onChange(data)}>
              Change
            </button>
          </>
        )}
      </Loaded>
    </section>
  );
}
