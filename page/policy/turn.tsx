import { useState } from "preact/hooks";
import { call } from "../core/api";
import { usePage } from "../core/page";
import type { components } from "../generated/api";
import { Confirm } from "../ui/dialog";
import { asWords, patchFor } from "./rules";

/** Offers the change that would allow what was denied. */
export function Turn({
  id,
  decision,
  onDone,
}: {
  id: string;
  decision: components["schemas"]["PeopleDecisionView"];
  onDone: () => void;
}) {
  const { say } = usePage();
  const [asking, setAsking] = useState(false);
  const patch = patchFor(decision.would_allow);
  if (!patch) {
    return null;
  }
  return (
    <p>
      To allow it: {asWords(patch)}.{" "}
      <button type="button" onClick={() => setAsking(true)}>
        Do this
      </button>
      {asking && (
        <Confirm
          title="Change the identity"
          of={call("patch", "/admin/identities/{id}", { path: { id }, body: patch })}
          submit="Change"
          onClose={() => setAsking(false)}
          onDone={() => {
            setAsking(false);
            say("The identity is changed.");
            onDone();
          }}
        >
          <p>This will {asWords(patch)}. Everything else that this allows is allowed, too.</p>
        </Confirm>
      )}
    </p>
  );
}
