/** The id without its kind: `webhook:<uuid>` becomes `<uuid>`. */
export function bare(id: string): string {
  return id.replace(/^\w+:/, "");
}
