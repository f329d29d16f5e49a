import { type Client, call } from "./api";
import type { Me } from "./page";

// Says that a session may be there, so that the page asks nothing before the first sign-in.
const FLAG = "gatehouse-signed-in";

/** Whether this browser signed in and did not sign out. The cookie itself is not readable. */
export function mayBeSignedIn(): boolean {
  return localStorage.getItem(FLAG) === "yes";
}

export function forget(): void {
  localStorage.removeItem(FLAG);
}

/** Opens a session of a key. The key is sent once and kept nowhere. */
export async function signIn(client: Client, key: string): Promise<Me> {
  await client.send(call("post", "/auth/session"), {
    headers: { Authorization: `Bearer ${key}` },
  });
  localStorage.setItem(FLAG, "yes");
  return whoAmI(client);
}

export async function signOut(client: Client): Promise<void> {
  forget();
  await client.send(call("delete", "/auth/session"));
}

export async function whoAmI(client: Client): Promise<Me> {
  return (await client.send(call("get", "/v1/whoami"))).value.data;
}
