import { useState } from "preact/hooks";
import { call } from "../core/api";
import { missing, usePage } from "../core/page";
import { linkTo, type Route } from "../core/route";
import { useCall } from "../core/use_calls";
import type { components } from "../generated/api";
import { Confirm } from "../ui/dialog";
import { Empty, Loaded, View } from "../ui/state";
import { Table } from "../ui/table";
import { Moment, Status } from "../ui/text";
import { Logs } from "./logs";
import { Register } from "./register";

type Service = components["schemas"]["ServicesServiceView"];

/** Services with their health; restart them; follow their logs. */
export function Services({ route }: { route: Route }) {
  const [name] = route.rest;
  return name ? <OneService name={name} /> : <All />;
}

function All() {
  const { me } = usePage();
  const { loading, reload } = useCall(() => call("get", "/api/services/list"), "services");
  const [registering, setRegistering] = useState(false);
  const [restarting, setRestarting] = useState<Service | null>(null);
  const why = missing(me, "services:write");
  return (
    <View
      title="Services"
      actions={
        <button
          type="button"
          class="main"
          disabled={why !== null}
          title={why ?? undefined}
          onClick={() => setRegistering(true)}
        >
          Register
        </button>
      }
    >
      <Loaded loading={loading} reload={reload}>
        {(services) =>
          services.length ? (
            <Table
              caption="Services"
              rows={services}
              rowKey={(service) => service.name}
              columns={[
                {
                  name: "Name",
                  show: (service) => (
                    <a href={linkTo("services", [service.name])}>{service.name}</a>
                  ),
                },
                { name: "Kind", show: (service) => service.kind },
                { name: "Status", show: (service) => <Status value={service.status} /> },
                {
                  name: "Latency",
                  number: true,
                  show: (service) => (service.latencyMs === null ? "" : `${service.latencyMs} ms`),
                },
                { name: "Checked", show: (service) => <Moment at={service.lastChecked} /> },
                { name: "Detail", show: (service) => service.detail ?? "" },
                {
                  name: "Actions",
                  show: (service) => (
                    <button
                      type="button"
                      disabled={why !== null}
                      aria-label={`Restart ${service.name}`}
                      onClick={() => setRestarting(service)}
                    >
                      Restart
                    </button>
                  ),
                },
              ]}
            />
          ) : (
            <Empty>
              No service. Tag a Lambda function or an ECS service with gatehouse:service, or
              register an HTTP service.
            </Empty>
          )
        }
      </Loaded>
      {registering && (
        <Register
          onClose={() => {
            setRegistering(false);
            reload();
          }}
        />
      )}
      {restarting && (
        <Restart
          name={restarting.name}
          onClose={() => {
            setRestarting(null);
            reload();
          }}
        />
      )}
    </View>
  );
}

function Restart({ name, onClose }: { name: string; onClose: () => void }) {
  const { say } = usePage();
  return (
    <Confirm
      title={`Restart ${name}`}
      of={call("post", "/api/services/{name}/restart", { path: { name } })}
      submit="Restart"
      onClose={onClose}
      onDone={() => {
        say(`${name} restarts.`);
        onClose();
      }}
    >
      <p>Requests that are in progress may fail. It waits up to 20 seconds.</p>
    </Confirm>
  );
}

function OneService({ name }: { name: string }) {
  const { me, say } = usePage();
  const { loading, reload } = useCall(
    () => call("get", "/api/services/{name}/health", { path: { name } }),
    name,
  );
  const [asked, setAsked] = useState<"restart" | "remove" | null>(null);
  const why = missing(me, "services:write");
  return (
    <View title={name} actions={<a href={linkTo("services")}>All services</a>}>
      <Loaded loading={loading} reload={reload}>
        {(service) => (
          <section class="card">
            <dl class="facts">
              <dt>Status</dt>
              <dd>
                <Status value={service.status} /> {service.detail}
              </dd>
              <dt>Kind</dt>
              <dd>{service.kind}</dd>
              <dt>Health URL</dt>
              <dd>{service.healthUrl ?? "none"}</dd>
              <dt>Log group</dt>
              <dd>{service.logGroup ?? "none"}</dd>
              <dt>Checked</dt>
              <dd>
                <Moment at={service.lastChecked} />
              </dd>
            </dl>
            <p class="buttons">
              <button type="button" onClick={reload}>
                Check now
              </button>
              <button type="button" disabled={why !== null} onClick={() => setAsked("restart")}>
                Restart
              </button>
              {service.kind === "http" && (
                <button
                  type="button"
                  class="danger"
                  disabled={why !== null}
                  onClick={() => setAsked("remove")}
                >
                  Remove
                </button>
              )}
            </p>
          </section>
        )}
      </Loaded>
      {asked === "restart" && (
        <Restart
          name={name}
          onClose={() => {
            setAsked(null);
            reload();
          }}
        />
      )}
      {asked === "remove" && (
        <Confirm
          title={`Remove ${name}`}
          of={call("delete", "/api/services/{name}", { path: { name } })}
          submit="Remove"
          name={name}
          onClose={() => setAsked(null)}
          onDone={() => {
            say(`${name} is removed.`);
            location.hash = linkTo("services");
          }}
        >
          <p>Its health is no longer checked. The service itself goes on.</p>
        </Confirm>
      )}
      <Logs service={name} />
    </View>
  );
}
