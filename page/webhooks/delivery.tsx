import { call } from "../core/api";
import { bare } from "../core/ids";
import { usePage } from "../core/page";
import { linkTo } from "../core/route";
import { duration } from "../core/time";
import { useAction, useCall } from "../core/use_calls";
import type { components } from "../generated/api";
import { Failure, Loaded, View } from "../ui/state";
import { Moment, Status } from "../ui/text";
import "./style.css";

type Attempt = components["schemas"]["DeliveriesAttemptView"];

/** One delivery with its attempts: what was sent and what was answered. */
export function OneDelivery({ webhookId, id }: { webhookId: string; id: string }) {
  const { say } = usePage();
  const action = useAction();
  const { loading, reload } = useCall(
    () => call("get", "/admin/webhooks/deliveries/{id}", { path: { id } }),
    id,
  );
  const replay = async () => {
    const path = { id };
    const answer = await action.run(
      call("post", "/admin/webhooks/deliveries/{id}/replay", { path }),
    );
    if (answer) {
      say("It is sent again.");
      const made = bare(answer.value.data.id);
      if (made === id) {
        reload();
      } else {
        location.hash = linkTo("webhooks", [webhookId, "deliveries", made]);
      }
    }
  };
  return (
    <View
      title="Delivery"
      actions={<a href={linkTo("webhooks", [webhookId])}>Back to the webhook</a>}
    >
      {action.error && <Failure error={action.error} />}
      <Loaded loading={loading} reload={reload}>
        {({ data }) => (
          <>
            <section class="card">
              <dl class="facts">
                <dt>Id</dt>
                <dd>
                  <code>{data.id}</code>
                </dd>
                <dt>Status</dt>
                <dd>
                  <Status value={data.status} /> {data.reason?.replaceAll("_", " ")}
                </dd>
                <dt>Signal</dt>
                <dd>
                  <a href={linkTo("events", [bare(data.signal_id)])}>{data.event}</a>
                </dd>
                <dt>Created</dt>
                <dd>
                  <Moment at={data.created_at} />
                </dd>
                <dt>Delivered</dt>
                <dd>
                  <Moment at={data.delivered_at} none="not yet" />
                </dd>
                <dt>Next attempt</dt>
                <dd>
                  <Moment at={data.next_retry_at} none="none" />
                </dd>
              </dl>
              <p class="buttons">
                <button
                  type="button"
                  class="main"
                  disabled={action.pending || !["delivered", "dead_letter"].includes(data.status)}
                  onClick={replay}
                >
                  Replay
                </button>
                <button type="button" onClick={reload}>
                  Refresh
                </button>
              </p>
            </section>
            <h2>Attempts</h2>
            {data.attempts.length === 0 && <p class="empty">None yet.</p>}
            <ol class="attempts">
              {data.attempts.map((attempt) => (
                <OneAttempt key={attempt.number} attempt={attempt} />
              ))}
            </ol>
          </>
        )}
      </Loaded>
    </View>
  );
}

function OneAttempt({ attempt }: { attempt: Attempt }) {
  return (
    <li class="card">
      <p>
        <strong>
          {attempt.number}.{" "}
          {attempt.status_code ?? attempt.error?.replaceAll("_", " ") ?? "no answer"}
        </strong>{" "}
        <Moment at={attempt.started_at} /> · {duration(attempt.duration_ms)}
      </p>
      {attempt.response && (
        <>
          <h3>Answer</h3>
          <pre>{attempt.response}</pre>
        </>
      )}
    </li>
  );
}
