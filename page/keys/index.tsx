import { useState } from "preact/hooks";
import { call } from "../core/api";
import { bare } from "../core/ids";
import { missing, usePage } from "../core/page";
import { linkTo, type Route } from "../core/route";
import { usePages } from "../core/use_calls";
import { Confirm } from "../ui/dialog";
import { Select, TextField } from "../ui/form";
import { View } from "../ui/state";
import { type Column, PagedTable } from "../ui/table";
import { Moment, Status, Words } from "../ui/text";
import { NewKey } from "./new_key";
import { Rotate } from "./rotate";
import { type AdminKey, isFound, stateOf } from "./rules";

type Asked = { what: "create" } | { what: "rotate" | "revoke"; key: AdminKey } | null;

/** The account's keys: search, create, rotate, revoke. */
export function Keys({ route }: { route: Route }) {
  const { me, say } = usePage();
  const [text, setText] = useState(route.query.q ?? "");
  const [asked, setAsked] = useState<Asked>(null);
  const status = route.query.status ?? "active";
  const pages = usePages(
    (after) =>
      call("get", "/admin/api-keys", { query: { limit: 100, ...(after ? { after } : {}) } }),
    (value) => value.data,
    "keys",
  );
  const why = missing(me, "services:write");
  const now = new Date();
  const done = (message: string) => {
    setAsked(null);
    say(message);
    pages.reload();
  };
  return (
    <View
      title="Keys"
      actions={
        <button
          type="button"
          class="main"
          disabled={why !== null}
          title={why ?? undefined}
          onClick={() => setAsked({ what: "create" })}
        >
          Create key
        </button>
      }
    >
      <div class="filters">
        <TextField
          label="Search"
          hint="name, prefix or owner"
          type="search"
          value={text}
          onInput={setText}
        />
        <Select
          label="Status"
          value={status}
          options={["active", "expired", "revoked", "all"]}
          onChange={(value) => {
            location.hash = linkTo("keys", [], { status: value === "active" ? null : value });
          }}
        />
      </div>
      <PagedTable
        caption="Keys"
        pages={pages}
        rowKey={(key) => key.id}
        filter={(key) => isFound(key, text) && (status === "all" || stateOf(key, now) === status)}
        empty="No key matches. Create one, or look at all of them."
        columns={columns(now, why, setAsked)}
      />
      {asked?.what === "create" && (
        <NewKey
          onClose={() => {
            setAsked(null);
            pages.reload();
          }}
        />
      )}
      {asked?.what === "rotate" && (
        <Rotate
          shown={asked.key}
          onClose={() => {
            setAsked(null);
            pages.reload();
          }}
        />
      )}
      {asked?.what === "revoke" && (
        <Confirm
          title={`Revoke ${asked.key.name}`}
          of={call("post", "/admin/api-keys/{id}/revoke", { path: { id: bare(asked.key.id) } })}
          submit="Revoke"
          name={asked.key.name}
          onClose={() => setAsked(null)}
          onDone={() => done(`${asked.key.name} is revoked.`)}
        >
          <p>
            The very next request with <code>{asked.key.key_prefix}</code> is refused. This cannot
            be undone.
          </p>
        </Confirm>
      )}
    </View>
  );
}

function columns(now: Date, why: string | null, ask: (asked: Asked) => void): Column<AdminKey>[] {
  return [
    { name: "Name", show: (key) => key.name },
    { name: "Prefix", show: (key) => <code>{key.key_prefix}</code> },
    { name: "Scopes", show: (key) => <Words of={key.scopes} /> },
    { name: "Status", show: (key) => <Status value={stateOf(key, now)} /> },
    { name: "Last used", show: (key) => <Moment at={key.last_used_at} /> },
    { name: "Expires", show: (key) => <Moment at={key.expires_at} /> },
    {
      name: "Actions",
      show: (key) =>
        stateOf(key, now) !== "revoked" && (
          <span class="actions">
            <button
              type="button"
              disabled={why !== null}
              onClick={() => ask({ what: "rotate", key })}
              aria-label={`Rotate ${key.name}`}
            >
              Rotate
            </button>
            <button
              type="button"
              disabled={why !== null}
              onClick={() => ask({ what: "revoke", key })}
              aria-label={`Revoke ${key.name}`}
            >
              Revoke
            </button>
          </span>
        ),
    },
  ];
}
