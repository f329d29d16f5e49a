import { call } from "../core/api";
import { missing, usePage } from "../core/page";
import { useAction, useCall } from "../core/use_calls";
import { Failure, Loaded, View } from "../ui/state";
import { Table } from "../ui/table";
import { Moment, Words } from "../ui/text";

/** The stack's settings, and the sessions of the key that is signed in. */
export function Settings() {
  const { me } = usePage();
  return (
    <View title="Settings">
      <Sessions />
      {!missing(me, "admin:manage") && <Config />}
    </View>
  );
}

function Sessions() {
  const { say, signOut } = usePage();
  const { loading, reload } = useCall(() => call("get", "/auth/sessions"), "sessions");
  const action = useAction();
  return (
    <section>
      <h2>Sessions of this key</h2>
      {action.error && <Failure error={action.error} />}
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <Table
            caption="Sessions"
            rows={data}
            rowKey={(session) => session.id}
            columns={[
              { name: "Opened", show: (session) => <Moment at={session.created_at} /> },
              { name: "From", show: (session) => session.source_address ?? "not known" },
              { name: "Expires", show: (session) => <Moment at={session.expires_at} /> },
              {
                name: "Actions",
                show: (session) =>
                  session.current ? (
                    <button type="button" onClick={signOut}>
                      Sign out here
                    </button>
                  ) : (
                    <button
                      type="button"
                      disabled={action.pending}
                      onClick={async () => {
                        const { id } = session;
                        if (
                          await action.run(call("delete", "/auth/sessions/{id}", { path: { id } }))
                        ) {
                          say("The session is ended.");
                          reload();
                        }
                      }}
                    >
                      End
                    </button>
                  ),
              },
            ]}
          />
        )}
      </Loaded>
    </section>
  );
}

function Config() {
  const { loading, reload } = useCall(() => call("get", "/admin/config"), "config");
  return (
    <section>
      <h2>Settings of the stack</h2>
      <p class="faint">They are parameters of the deployment and cannot be changed here.</p>
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <dl class="facts">
            {Object.entries(data).map(([name, value]) => (
              <Fact key={name} name={name} value={value} />
            ))}
          </dl>
        )}
      </Loaded>
    </section>
  );
}

function Fact({ name, value }: { name: string; value: unknown }) {
  return (
    <>
      <dt>{name.replaceAll("_", " ")}</dt>
      <dd>{Array.isArray(value) ? <Words of={value.map(String)} /> : String(value ?? "none")}</dd>
    </>
  );
}
