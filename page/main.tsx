import { render } from "preact";
import { App } from "./app";
import { Client } from "./core/api";
import { apiBase } from "./core/base";
import "./ui/page.css";

const sockets =
  document.querySelector<HTMLMetaElement>('meta[name="gatehouse-sockets"]')?.content ?? "";
const client = new Client(apiBase(location.origin, location.pathname));
const root = document.getElementById("page");
if (root) {
  render(<App client={client} sockets={sockets} />, root);
}
