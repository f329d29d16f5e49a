export interface IdentityPatch {
  is_admin?: boolean;
  claw_type?: "central" | "employee" | "service";
  status?: "active";
}

/** The change of an identity that a denial names, null if it names none. */
export function patchFor(wouldAllow: Record<string, unknown>): IdentityPatch | null {
  const patch: IdentityPatch = {};
  if (wouldAllow.is_admin === true) {
    patch.is_admin = true;
  }
  if (wouldAllow.claw_type === "employee") {
    patch.claw_type = "employee";
  }
  if (wouldAllow.status === "active") {
    patch.status = "active";
  }
  return Object.keys(patch).length ? patch : null;
}

/** Says a change in words. */
export function asWords(patch: IdentityPatch): string {
  const words = [
    patch.is_admin && "make this identity an admin",
    patch.claw_type && `change its membership to ${patch.claw_type}`,
    patch.status && "make it active",
  ].filter(Boolean);
  return words.join(", and ");
}
