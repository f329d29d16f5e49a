import { call } from "../core/api";
import { missing, usePage } from "../core/page";
import { linkTo } from "../core/route";
import { useCall } from "../core/use_calls";
import { Loaded, View } from "../ui/state";
import { Status, Words } from "../ui/text";
import { LastEvents } from "./last_events";
import { Meter } from "./meter";
import { attention, bytes } from "./rules";
import "./style.css";

/** The state of everything that the caller may see, and first what needs a hand. */
export function Overview() {
  const { me } = usePage();
  const admin = !missing(me, "admin:manage");
  const services = !missing(me, "services:read");
  return (
    <View title="Overview">
      {admin && <Attention />}
      {services && me.operator && me.identity.is_admin && <System />}
      {services && <Services />}
      {admin && <Deliveries />}
      {admin && <LastEvents />}
      <section aria-labelledby="you">
        <h2 id="you">You</h2>
        <p>
          {me.identity.name} of {me.account.name}, with the key <strong>{me.key.name}</strong>,
          which may do:
        </p>
        <Words of={me.grants.scopes} none="nothing" />
      </section>
    </View>
  );
}

function Attention() {
  const webhooks = useCall(() => call("get", "/admin/webhooks"), "webhooks");
  if (webhooks.loading.state !== "loaded") {
    return null;
  }
  const lines = attention(webhooks.loading.value.data);
  return lines.length ? (
    <section aria-labelledby="attention" class="attention">
      <h2 id="attention">Needs a hand</h2>
      <ul>
        {lines.map((line) => (
          <li key={line.id}>
            <a href={linkTo("webhooks", [line.id])}>{line.url}</a> {line.why}
          </li>
        ))}
      </ul>
    </section>
  ) : null;
}

function System() {
  const { loading, reload } = useCall(() => call("get", "/api/services/metrics"), "metrics");
  return (
    <section aria-labelledby="system">
      <h2 id="system">System</h2>
      <Loaded loading={loading} reload={reload}>
        {(system) => (
          <div class="meters">
            <Meter
              name="CPU"
              percent={system.cpuPercent}
              detail={system.cpuCount ? `${system.cpuCount} CPUs` : ""}
            />
            <Meter
              name="Memory"
              percent={system.memUsedPercent}
              detail={`${bytes(system.memUsedBytes)} of ${bytes(system.memTotalBytes)}`}
            />
            <Meter
              name="Disk"
              percent={system.diskUsedPercent}
              detail={`${bytes(system.diskUsedBytes)} of ${bytes(system.diskTotalBytes)}`}
            />
          </div>
        )}
      </Loaded>
    </section>
  );
}

function Services() {
  const { loading, reload } = useCall(() => call("get", "/api/services/list"), "services");
  return (
    <section aria-labelledby="services">
      <h2 id="services">Services</h2>
      <Loaded loading={loading} reload={reload}>
        {(services) =>
          services.length ? (
            <ul class="tiles">
              {services.map((service) => (
                <li key={service.name}>
                  <a href={linkTo("services", [service.name])}>{service.name}</a>{" "}
                  <Status value={service.status} />
                </li>
              ))}
            </ul>
          ) : (
            <p class="empty">
              No service yet. <a href={linkTo("services")}>Register one</a>.
            </p>
          )
        }
      </Loaded>
    </section>
  );
}

function Deliveries() {
  const { loading, reload } = useCall(() => call("get", "/admin/health-metrics"), "health");
  return (
    <section aria-labelledby="deliveries">
      <h2 id="deliveries">Deliveries</h2>
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <dl class="numbers">
            <div>
              <dt>Signals in 24 hours</dt>
              <dd>{data.signal_volume_24h}</dd>
            </div>
            <div>
              <dt>Delivered</dt>
              <dd>{data.delivery_stats.delivered}</dd>
            </div>
            <div>
              <dt>Pending</dt>
              <dd>{data.delivery_stats.pending}</dd>
            </div>
            <div>
              <dt>Dead letters</dt>
              <dd>{data.dead_letter_count}</dd>
            </div>
          </dl>
        )}
      </Loaded>
    </section>
  );
}
