import { call } from "../core/api";
import { Rotation } from "../ui/rotation";
import { Moment } from "../ui/text";

const GRACES: [string, string][] = [
  ["86400", "signs for a day more"],
  ["3600", "signs for an hour more"],
  ["604800", "signs for a week more"],
  ["0", "ends at once"],
];

/** Gives a webhook a new secret; in the grace both sign. */
export function RotateSecret({ id, onClose }: { id: string; onClose: () => void }) {
  return (
    <Rotation
      title="Rotate the secret"
      old="The old secret"
      graces={GRACES}
      secretName="secret"
      make={(seconds) =>
        call("post", "/admin/webhooks/{id}/rotate-secret", {
          path: { id },
          body: { grace_seconds: seconds },
        })
      }
      read={({ data }) => ({
        secret: data.secret,
        note: (
          <>
            The old secret ends <Moment at={data.old_secret_ends_at} />. Until then both sign.
          </>
        ),
      })}
      onClose={onClose}
    />
  );
}
