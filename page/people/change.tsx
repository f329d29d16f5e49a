import { useState } from "preact/hooks";
import { call } from "../core/api";
import { useAction } from "../core/use_calls";
import { Dialog } from "../ui/dialog";
import { Checkbox, Form, Select, TextField } from "../ui/form";
import type { Identity } from "./index";
import { changes } from "./rules";

/** Changes an identity's status, role and ceiling. */
export function Change({
  shown,
  onClose,
  onDone,
}: {
  shown: Identity;
  onClose: () => void;
  onDone: (text: string) => void;
}) {
  const action = useAction();
  const [status, setStatus] = useState(shown.status);
  const [clawType, setClawType] = useState(shown.claw_type);
  const [isAdmin, setIsAdmin] = useState(shown.is_admin);
  const [scopes, setScopes] = useState(shown.scopes.join(" "));
  const body = changes(shown, {
    status,
    claw_type: clawType,
    is_admin: isAdmin,
    scopes: scopes.split(/[\s,]+/).filter(Boolean),
  });
  const of = call("patch", "/admin/identities/{id}", {
    path: { id: shown.id },
    body: body as never,
  });
  const ends = status === "suspended" || status === "removed";
  return (
    <Dialog title={`Change ${shown.name}`} onClose={onClose}>
      <Form
        of={of}
        action={action}
        submit={ends ? `Change to ${status}` : "Change"}
        danger={ends}
        disabled={Object.keys(body).length === 0}
        onSubmit={async () => {
          if (await action.run(of)) {
            onDone(`${shown.name} is changed.`);
          }
        }}
      >
        <Select
          label="Status"
          {...(ends
            ? { hint: "Every key of this identity is refused on the very next request." }
            : {})}
          value={status}
          options={["active", "suspended", "removed", ...(status === "invited" ? ["invited"] : [])]}
          onChange={setStatus}
        />
        <Select
          label="Membership"
          value={clawType}
          options={["central", "employee", "service"]}
          onChange={setClawType}
        />
        <Checkbox label="Admin" checked={isAdmin} onChange={setIsAdmin} />
        <TextField
          label="Ceiling"
          hint="Scopes, separated by spaces. No key of this identity exceeds them."
          value={scopes}
          onInput={setScopes}
        />
      </Form>
    </Dialog>
  );
}
