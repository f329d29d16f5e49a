import type { Identity, Invite } from "./index";

/** Whether an invite can be used, and if not, why. */
export function stateOf(invite: Invite, now: Date): "open" | "redeemed" | "expired" {
  if (invite.uses >= invite.max_uses) {
    return "redeemed";
  }
  return new Date(invite.expires_at) <= now ? "expired" : "open";
}

export interface Wanted {
  status: string;
  claw_type: string;
  is_admin: boolean;
  scopes: string[];
}

/** Only what differs from the identity as it is shown. */
export function changes(shown: Identity, wanted: Wanted): Partial<Wanted> {
  const changed: Partial<Wanted> = {};
  if (wanted.status !== shown.status) {
    changed.status = wanted.status;
  }
  if (wanted.claw_type !== shown.claw_type) {
    changed.claw_type = wanted.claw_type;
  }
  if (wanted.is_admin !== shown.is_admin) {
    changed.is_admin = wanted.is_admin;
  }
  if (wanted.scopes.join() !== shown.scopes.join()) {
    changed.scopes = wanted.scopes;
  }
  return changed;
}
