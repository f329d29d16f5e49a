import { call } from "../core/api";
import { bare } from "../core/ids";
import { Rotation } from "../ui/rotation";
import type { AdminKey } from "./rules";

const GRACES: [string, string][] = [
  ["0", "ends at once"],
  ["3600", "works for an hour more"],
  ["86400", "works for a day more"],
  ["604800", "works for a week more"],
];

/** Gives a key a successor with the same grants. */
export function Rotate({ shown, onClose }: { shown: AdminKey; onClose: () => void }) {
  const path = { id: bare(shown.id) };
  return (
    <Rotation
      title={`Rotate ${shown.name}`}
      old="The old key"
      graces={GRACES}
      secretName="new key"
      make={(seconds) =>
        call("post", "/admin/api-keys/{id}/rotate", { path, body: { grace_seconds: seconds } })
      }
      read={({ data }) => ({ secret: data.api_key })}
      onClose={onClose}
    />
  );
}
