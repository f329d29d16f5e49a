import cf from "cloudfront";

// Routes WebSocket handshakes for a service's logs to the WebSocket API, the origin of this cache
// behavior. That API has no paths below its stage, so the service's name moves into the query.
// All other requests go unchanged to the REST API.
//
// CloudFront hides the headers Upgrade and Connection from functions, so a handshake is recognized
// by its key. The code uses only what this runtime has: ES 5.1, const, let and arrow functions.
const LOG_PATH = /^\/api\/services\/([^\/]+)\/logs$/;

function handler(event) {
  const request = event.request;
  const match = LOG_PATH.exec(request.uri);
  const name = match ? decode(match[1]) : null;
  const isHandshake = request.method === "GET" && "sec-websocket-key" in request.headers;
  if (name === null || !isHandshake) {
    cf.selectRequestOriginById("rest");
    return request;
  }
  // Remove the caller's own `service`, however it is escaped: there must be only one.
  // Also remove parameters that cannot be decoded: another decoder might read `service`.
  Object.keys(request.querystring).forEach((key) => {
    const decoded = decode(key);
    if (decoded === null || decoded === "service") {
      delete request.querystring[key];
    }
  });
  // Encode the name again: `&` and `+` are plain characters in a path, but not in a query.
  request.querystring.service = { value: encodeURIComponent(name) };
  request.uri = "/";
  return request;
}

// CloudFront passes names and values still encoded. Returns null if the escapes are not valid.
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return null;
  }
}
