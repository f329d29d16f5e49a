import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction, useCall, usePages } from "../core/use_calls";
import type { components } from "../generated/api";
import { ACTIONS } from "../generated/words";
import { Form, Select } from "../ui/form";
import { Loaded, View } from "../ui/state";
import { Table } from "../ui/table";
import { Status } from "../ui/text";
import { patchFor } from "./rules";
import { Turn } from "./turn";
import "./style.css";

type Decision = components["schemas"]["PeopleDecisionView"];

/** The rules in their order, and who may do what. */
export function Policy() {
  const rules = useCall(() => call("get", "/admin/policy"), "policy");
  return (
    <View title="Policy">
      <Ask />
      <h2>Rules, in the order in which they are asked</h2>
      <Loaded loading={rules.loading} reload={rules.reload}>
        {({ data }) => (
          <Table
            caption="Rules"
            rows={data.rules}
            rowKey={(rule) => rule.name}
            columns={[
              { name: "Order", number: true, show: (rule) => rule.order },
              { name: "Rule", show: (rule) => <code>{rule.name}</code> },
              { name: "Effect", show: (rule) => rule.effect },
              { name: "Description", show: (rule) => rule.description },
            ]}
          />
        )}
      </Loaded>
    </View>
  );
}

function Ask() {
  const people = usePages(
    (after) =>
      call("get", "/admin/identities", { query: { limit: 100, ...(after ? { after } : {}) } }),
    (value) => value.data,
    "identities",
  );
  const action = useAction();
  const [identity, setIdentity] = useState("");
  const [wanted, setWanted] = useState<string>(ACTIONS[0] ?? "");
  const [decision, setDecision] = useState<Decision | null>(null);
  return (
    <section class="card">
      <h2>May somebody do something?</h2>
      <Loaded loading={people.loading} reload={people.reload}>
        {(listed) => {
          const chosen = identity || listed[0]?.id || "";
          const of = call("post", "/admin/policy/evaluate", {
            body: { identity: chosen, action: wanted as never },
          });
          const ask = async () => {
            setDecision(null);
            const answer = await action.run(of);
            if (answer) {
              setDecision(answer.value.data);
            }
          };
          return (
            <>
              <Form of={of} action={action} submit="Ask" onSubmit={ask}>
                <Select
                  label="Identity"
                  value={chosen}
                  options={listed.map((one): [string, string] => [one.id, one.name])}
                  onChange={setIdentity}
                />
                <Select label="Action" value={wanted} options={ACTIONS} onChange={setWanted} />
              </Form>
              {decision && (
                <div role="status" class="decision">
                  <p>
                    <Status value={decision.allowed ? "allowed" : "denied"} /> by the rule{" "}
                    <code>{decision.rule}</code>
                  </p>
                  <ul>
                    {decision.reasons.map((reason) => (
                      <li key={reason}>{reason}</li>
                    ))}
                  </ul>
                  {patchFor(decision.would_allow) && (
                    <Turn id={chosen} decision={decision} onDone={ask} />
                  )}
                </div>
              )}
            </>
          );
        }}
      </Loaded>
    </section>
  );
}
