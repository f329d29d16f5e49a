import type { components } from "../generated/api";

type Webhook = components["schemas"]["WebhooksWebhookView"];

export interface Line {
  id: string;
  url: string;
  why: string;
}

/** The webhooks that somebody should look at, and why. */
export function attention(webhooks: readonly Webhook[]): Line[] {
  return webhooks
    .filter((webhook) => webhook.failing || webhook.disabled_reason)
    .map((webhook) => ({
      id: webhook.id.replace(/^webhook:/, ""),
      url: webhook.url,
      why: webhook.disabled_reason
        ? `is disabled: ${webhook.disabled_reason.replaceAll("_", " ")}`
        : `is failing: ${webhook.failure_count} attempts in a row`,
    }));
}

/** Writes a number of bytes in its largest unit; a dash where it is not known. */
export function bytes(count: number | null): string {
  if (count === null) {
    return "–";
  }
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
