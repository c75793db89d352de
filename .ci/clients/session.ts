// A first session with the types that openapi-typescript generates: create, list, get, an error.

import createClient from "openapi-fetch";
import type { components, paths } from "./api";

const [base, key] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: base, headers: { "X-API-Key": key } });

function assert(holds: boolean, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function session() {
  const created = await client.POST("/api/v1/identities", {
    body: { agent_handle: "@Node-Desk", vault_secret_ids: "*", phone_number: { state: "NY" } },
  });
  const identity: components["schemas"]["Identity"] | undefined = created.data;
  assert(identity?.agent_handle === "node-desk", created.error);
  assert(identity.phone_number?.number.startsWith("+1") === true, identity);

  const listed = await client.GET("/api/v1/identities", { params: { query: { limit: 10, status: "active" } } });
  assert(listed.data?.some((other) => other.id === identity.id) === true, listed.error);

  const found = await client.GET("/api/v1/identities/{agent_handle}", { params: { path: { agent_handle: "node-desk" } } });
  assert(found.data?.email_address === identity.email_address, found.error);

  const missing = await client.GET("/api/v1/identities/{agent_handle}", { params: { path: { agent_handle: "nobody-here" } } });
  assert(missing.error?.code === "identity_not_found", missing.data);
}

session().catch((error) => {
  console.error(error);
  process.exit(1);
});
