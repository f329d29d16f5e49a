import type { components } from "../generated/api";

export type AdminKey = components["schemas"]["KeysAdminKeyView"];
export type KeyState = "active" | "expired" | "revoked";

/** The state of a key now. A key in the grace of a rotation is still active. */
export function stateOf(key: AdminKey, now: Date): KeyState {
  if (key.revoked && (!key.revoked_at || new Date(key.revoked_at) <= now)) {
    return "revoked";
  }
  if (key.expires_at && new Date(key.expires_at) <= now) {
    return "expired";
  }
  return "active";
}

/** Whether a key is found by a text: in its name, its prefix or its owner. */
export function isFound(key: AdminKey, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  return [key.name, key.key_prefix, key.owner].some((one) => one.toLowerCase().includes(wanted));
}
