import { call } from "../core/api";
import { bare } from "../core/ids";
import { linkTo } from "../core/route";
import { usePages } from "../core/use_calls";
import { Select } from "../ui/form";
import { PagedTable } from "../ui/table";
import { Moment, Status } from "../ui/text";

const STATES = ["pending", "retrying", "delivered", "dead_letter"] as const;

/** A webhook's deliveries, newest first. `turn` changes when they should be read again. */
export function Deliveries({
  webhookId,
  status,
  turn,
}: {
  webhookId: string;
  status: string;
  turn: number;
}) {
  const pages = usePages(
    (after) =>
      call("get", "/admin/webhooks/{id}/deliveries", {
        path: { id: webhookId },
        query: {
          limit: 50,
          ...(after ? { after } : {}),
          ...(status ? { status: status as never } : {}),
        },
      }),
    (value) => value.data,
    `${webhookId}|${status}|${turn}`,
  );
  return (
    <section>
      <header class="view">
        <h2>Deliveries</h2>
        <div class="filters">
          <Select
            label="Status"
            value={status}
            options={[["", "all"], ...STATES]}
            onChange={(value) => {
              location.hash = linkTo("webhooks", [webhookId], { status: value });
            }}
          />
          <button type="button" onClick={pages.reload}>
            Refresh
          </button>
        </div>
      </header>
      <PagedTable
        caption="Deliveries"
        pages={pages}
        rowKey={(delivery) => delivery.id}
        empty="No delivery. Send a test, or emit a signal."
        columns={[
          {
            name: "Delivery",
            show: (delivery) => (
              <a href={linkTo("webhooks", [webhookId, "deliveries", bare(delivery.id)])}>
                {bare(delivery.id).slice(-12)}
              </a>
            ),
          },
          { name: "Event", show: (delivery) => delivery.event },
          { name: "Status", show: (delivery) => <Status value={delivery.status} /> },
          { name: "Attempts", number: true, show: (delivery) => delivery.attempt_count },
          { name: "Answer", number: true, show: (delivery) => delivery.last_status_code ?? "none" },
          { name: "Created", show: (delivery) => <Moment at={delivery.created_at} /> },
          {
            name: "Next",
            show: (delivery) => <Moment at={delivery.next_retry_at} none="none" />,
          },
        ]}
      />
    </section>
  );
}
