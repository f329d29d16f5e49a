/** The built-in scopes, as the API document lists them. */
export const SCOPES: readonly string[] = [
  ...["agents", "telemetry", "factory", "services", "commanders"].flatMap((area) => [
    `${area}:read`,
    `${area}:write`,
  ]),
  "admin:manage",
];
