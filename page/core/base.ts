/** The API's base URL as the browser sees it, without a slash at the end. */
export function apiBase(origin: string, pathname: string): string {
  return origin + pathname.replace(/\/ui\/?$/, "").replace(/\/$/, "");
}

// The host that API Gateway gives an API. It has no WebSockets: they are another API there.
const OWN_HOST = /^https:\/\/[^./]+\.execute-api\./;

/**
 * The address of a service's live logs: the WebSocket API's own address where the page is on API
 * Gateway's own host, else the page's host.
 */
export function logAddress(base: string, sockets: string, service: string): string {
  const name = encodeURIComponent(service);
  if (OWN_HOST.test(base)) {
    return `${sockets}?service=${name}`;
  }
  return `${base.replace(/^http/, "ws")}/api/services/${name}/logs`;
}
