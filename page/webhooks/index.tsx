import { useState } from "preact/hooks";
import { call } from "../core/api";
import { bare } from "../core/ids";
import { linkTo, type Route } from "../core/route";
import { useCall } from "../core/use_calls";
import { Empty, Loaded, View } from "../ui/state";
import { Table } from "../ui/table";
import { Moment, Status, Words } from "../ui/text";
import { OneDelivery } from "./delivery";
import { NewWebhook } from "./new_webhook";
import { filtersOf, stateOf } from "./rules";
import { OneWebhook } from "./webhook";

/** Webhooks, one of them with its deliveries, and one delivery with its attempts. */
export function Webhooks({ route }: { route: Route }) {
  const [id, what, deliveryId] = route.rest;
  if (id && what === "deliveries" && deliveryId) {
    return <OneDelivery webhookId={id} id={deliveryId} />;
  }
  return id ? <OneWebhook id={id} status={route.query.status ?? ""} /> : <All />;
}

function All() {
  const { loading, reload } = useCall(() => call("get", "/admin/webhooks"), "webhooks");
  const [creating, setCreating] = useState(false);
  return (
    <View
      title="Webhooks"
      actions={
        <button type="button" class="main" onClick={() => setCreating(true)}>
          Create webhook
        </button>
      }
    >
      <Loaded loading={loading} reload={reload}>
        {({ data }) =>
          data.length ? (
            <Table
              caption="Webhooks"
              rows={data}
              rowKey={(webhook) => webhook.id}
              columns={[
                {
                  name: "URL",
                  show: (webhook) => (
                    <a href={linkTo("webhooks", [bare(webhook.id)])}>{webhook.url}</a>
                  ),
                },
                {
                  name: "Gets",
                  show: (webhook) => <Words of={filtersOf(webhook)} none="everything" />,
                },
                { name: "State", show: (webhook) => <Status value={stateOf(webhook)} /> },
                {
                  name: "Last success",
                  show: (webhook) => <Moment at={webhook.last_success_at} />,
                },
                {
                  name: "Last failure",
                  show: (webhook) => <Moment at={webhook.last_failure_at} />,
                },
              ]}
            />
          ) : (
            <Empty>No webhook. Create one to receive signals by HTTP.</Empty>
          )
        }
      </Loaded>
      {creating && (
        <NewWebhook
          onClose={() => {
            setCreating(false);
            reload();
          }}
        />
      )}
    </View>
  );
}
