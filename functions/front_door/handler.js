import cf from "cloudfront";

// Sends the log path of the contract to the API that it means. This behaviour's own origin is the
// WebSocket API, which has no paths below its stage: the service's name goes into the query there.
// Whatever is no handshake for that path goes to the REST API as it came.
//
// CloudFront shows a function neither Upgrade nor Connection; the handshake's key tells instead.
// Statements are those of the edge's own runtime: ES 5.1, const, let and arrows.
const LOG_PATH = /^\/api\/services\/([^\/]+)\/logs$/;

function handler(event) {
  const request = event.request;
  const found = LOG_PATH.exec(request.uri);
  const name = found ? decoded(found[1]) : null;
  const upgrades = request.method === "GET" && "sec-websocket-key" in request.headers;
  if (name === null || !upgrades) {
    cf.selectRequestOriginById("rest");
    return request;
  }
  // A caller's own `service`, however it is spelled, would be a second answer to one question.
  // A name that cannot be decoded goes too: another decoder may read it as anything.
  Object.keys(request.querystring).forEach((key) => {
    const meant = decoded(key);
    if (meant === null || meant === "service") {
      delete request.querystring[key];
    }
  });
  // Escaped anew: in a path `&` and `+` are plain characters, in a query they are not.
  request.querystring.service = { value: encodeURIComponent(name) };
  request.uri = "/";
  return request;
}

// Names and values come as they were sent. Null where the escapes are none.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return null;
  }
}
