import { readFileSync } from "node:fs";
import { isGenuine } from "./receiving.mjs";
function judged({ secret, headers, body, now }) {
  try {
    return isGenuine(secret, headers, Buffer.from(body, "base64"), now);
  } catch (error) {
    return error.message;
  }
}
console.log(JSON.stringify(JSON.parse(readFileSync(0)).map(judged)));
