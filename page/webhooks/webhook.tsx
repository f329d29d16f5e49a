import { useState } from "preact/hooks";
import { call } from "../core/api";
import { usePage } from "../core/page";
import { linkTo } from "../core/route";
import { useAction, useCall } from "../core/use_calls";
import { Confirm } from "../ui/dialog";
import { Failure, Loaded, View } from "../ui/state";
import { Moment, Status, Words } from "../ui/text";
import { Deliveries } from "./deliveries";
import { Recover } from "./recover";
import { RotateSecret } from "./rotate_secret";
import { filtersOf, stateOf, type Webhook } from "./rules";

type Asked = "rotate" | "recover" | "delete" | null;

/** One webhook: its state, what can be done with it, and its deliveries. */
export function OneWebhook({ id, status }: { id: string; status: string }) {
  const { say } = usePage();
  const { loading, reload } = useCall(
    () => call("get", "/admin/webhooks/{id}", { path: { id } }),
    id,
  );
  const [asked, setAsked] = useState<Asked>(null);
  const [turn, setTurn] = useState(0);
  const action = useAction();
  const done = (text: string) => {
    setAsked(null);
    say(text);
    reload();
    setTurn(turn + 1);
  };
  const test = async () => {
    if (await action.run(call("post", "/admin/webhooks/{id}/test", { path: { id } }))) {
      done("A ping is on its way.");
    }
  };
  const toggle = async (webhook: Webhook) => {
    const body = { active: !webhook.active };
    if (await action.run(call("patch", "/admin/webhooks/{id}", { path: { id }, body }))) {
      done(webhook.active ? "The webhook is paused." : "The webhook is active.");
    }
  };
  return (
    <View title="Webhook" actions={<a href={linkTo("webhooks")}>All webhooks</a>}>
      {action.error && <Failure error={action.error} />}
      <Loaded loading={loading} reload={reload}>
        {({ data: webhook }) => (
          <>
            <section class="card">
              <h2>{webhook.url}</h2>
              {webhook.description && <p>{webhook.description}</p>}
              <dl class="facts">
                <dt>State</dt>
                <dd>
                  <Status value={stateOf(webhook)} />{" "}
                  {webhook.disabled_reason?.replaceAll("_", " ")}
                </dd>
                <dt>Gets</dt>
                <dd>
                  <Words of={filtersOf(webhook)} none="everything" />
                </dd>
                <dt>Headers</dt>
                <dd>
                  <Words of={webhook.header_names} />
                </dd>
                <dt>Retries after</dt>
                <dd>{webhook.retry_schedule.map((seconds) => `${seconds} s`).join(", ")}</dd>
                <dt>Last success</dt>
                <dd>
                  <Moment at={webhook.last_success_at} />
                </dd>
              </dl>
              <p class="buttons">
                <button type="button" class="main" disabled={action.pending} onClick={test}>
                  Send a test
                </button>
                <button type="button" disabled={action.pending} onClick={() => toggle(webhook)}>
                  {webhook.active ? "Pause" : "Make active"}
                </button>
                <button type="button" onClick={() => setAsked("rotate")}>
                  Rotate the secret
                </button>
                <button type="button" onClick={() => setAsked("recover")}>
                  Recover dead letters
                </button>
                <button type="button" class="danger" onClick={() => setAsked("delete")}>
                  Delete
                </button>
              </p>
            </section>
            {asked === "rotate" && <RotateSecret id={id} onClose={() => setAsked(null)} />}
            {asked === "recover" && (
              <Recover id={id} onClose={() => setAsked(null)} onDone={done} />
            )}
            {asked === "delete" && (
              <Confirm
                title="Delete this webhook"
                of={call("delete", "/admin/webhooks/{id}", { path: { id } })}
                submit="Delete"
                name={new URL(webhook.url).host}
                onClose={() => setAsked(null)}
                onDone={() => {
                  say("The webhook is deleted.");
                  location.hash = linkTo("webhooks");
                }}
              >
                <p>Deliveries that wait become dead letters.</p>
              </Confirm>
            )}
          </>
        )}
      </Loaded>
      <Deliveries webhookId={id} status={status} turn={turn} />
    </View>
  );
}
