/** Whether a list of scopes, wildcards included, opens one scope. */
export function opens(scopes: readonly string[], scope: string): boolean {
  const [area = "", verb = ""] = scope.split(":");
  return scopes.some((held) => {
    if (held === "*" || held === "all") {
      return true;
    }
    const [heldArea, heldVerb] = held.split(":");
    return (heldArea === "*" || heldArea === area) && (heldVerb === "*" || heldVerb === verb);
  });
}
