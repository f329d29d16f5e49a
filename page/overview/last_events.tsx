import { call } from "../core/api";
import { linkTo } from "../core/route";
import { useCall } from "../core/use_calls";
import { Loaded } from "../ui/state";
import { Moment } from "../ui/text";

/** The last changes of the account. */
export function LastEvents() {
  const { loading, reload } = useCall(
    () => call("get", "/admin/audit", { query: { limit: 5 } }),
    "audit",
  );
  return (
    <section aria-labelledby="changes">
      <h2 id="changes">Last changes</h2>
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <>
            <ul class="changes">
              {data.events.map((event) => (
                <li key={event.id}>
                  <code>{event.action}</code> by {event.actor} <Moment at={event.created_at} />
                </li>
              ))}
            </ul>
            <a href={linkTo("audit")}>The whole trail</a>
          </>
        )}
      </Loaded>
    </section>
  );
}
