import type { components } from "../generated/api";

export type Webhook = components["schemas"]["WebhooksWebhookView"];

/** One word for a webhook's state. */
export function stateOf(webhook: Webhook): string {
  if (webhook.disabled_reason) {
    return "disabled";
  }
  if (!webhook.active) {
    return "paused";
  }
  return webhook.failing ? "failing" : "active";
}

/** What a webhook's filters let through, as short words; none for everything. */
export function filtersOf(webhook: Webhook): string[] {
  const { types, rings, min_urgency: urgency } = webhook.filters;
  return [
    ...(types ?? []),
    ...(rings ?? []).map((ring) => `ring ${ring}`),
    ...(urgency ? [`urgency ≥ ${urgency}`] : []),
  ];
}

/** Reads lines `Name: value` as headers. Throws an Error that names a line that is not one. */
export function readHeaders(text: string): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const line of text.split("\n").filter((one) => one.trim())) {
    const [name = "", ...rest] = line.split(":");
    if (!name.trim() || rest.length === 0) {
      throw new Error(`"${line.trim()}" is not "Name: value"`);
    }
    headers[name.trim()] = rest.join(":").trim();
  }
  return headers;
}
