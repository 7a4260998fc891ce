// Swarm, plugins, distribution and building: what an engine answers for the objects it does not have.
import { expect, test } from "bun:test";
import { unauthorized } from "../../src/errors.ts";
import { testAPI } from "../support/api.ts";
import { fakeEngine } from "../support/fake_engine.ts";

const api = testAPI(fakeEngine({ events: { publish: () => undefined } }));
const ask = async (method: string, path: string) => {
  const { status, body } = await api.call(method, path);
  return [status, (body as { message?: string } | undefined)?.message];
};
const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

test.each([
  ["GET", "/services?status=true"],
  ["GET", "/services/whatever"],
  ["POST", "/services/create"],
  ["DELETE", "/services/x"],
  ["GET", "/services/x/logs"],
  ["GET", "/nodes"],
  ["POST", "/nodes/x/update"],
  ["GET", "/tasks/x/logs"],
  ["GET", "/secrets"],
  ["POST", "/secrets/x/update"],
  ["GET", "/configs/x"],
  ["GET", "/swarm"],
  ["POST", "/swarm/update"],
  ["GET", "/swarm/unlockkey"],
  ["POST", "/swarm/unlock"],
])("%s %s is a 503 outside a swarm, whatever its body and ID", async (method, path) => {
  expect(await ask(method, path)).toEqual([503, NOT_A_MANAGER]);
});

test("leaving, forming and joining a swarm", async () => {
  expect(await ask("POST", "/swarm/leave")).toEqual([503, "This node is not part of a swarm"]);
  expect((await ask("POST", "/swarm/init"))[0]).toBe(501);
  expect((await ask("POST", "/swarm/join"))[0]).toBe(501);
});

test.each([
  ["GET", "/v1.24/secrets"],
  ["GET", "/v1.29/configs"],
  ["GET", "/v1.28/tasks/x/logs"],
  ["POST", "/v1.30/build/prune"],
  ["GET", "/v1.29/distribution/busybox/json"],
  ["POST", "/v1.25/plugins/x/upgrade"],
  ["PATCH", "/services"],
  ["GET", "/services/a/b/c"],
])("%s %s does not exist", async (method, path) => {
  expect(await ask(method, path)).toEqual([404, "page not found"]);
});

test("there are no plugins, and every name is unknown", async () => {
  expect((await api.call("GET", "/plugins")).body).toEqual([]);
  const missing = [404, 'plugin "vieux/sshfs:latest" not found'];
  expect(await ask("GET", "/plugins/vieux/sshfs:latest/json")).toEqual(missing);
  expect(await ask("DELETE", "/plugins/vieux/sshfs:latest")).toEqual(missing);
  for (const verb of ["disable", "push", "set", "upgrade"]) {
    expect(await ask("POST", `/plugins/vieux/sshfs:latest/${verb}`)).toEqual(missing);
  }
  expect(await ask("POST", "/plugins/vieux/sshfs:latest/enable?timeout=0")).toEqual(missing);
  expect((await ask("POST", "/plugins/vieux/sshfs:latest/enable"))[0]).toBe(400);
  expect((await ask("GET", "/plugins/privileges?remote=x"))[0]).toBe(501);
  expect((await ask("POST", "/plugins/pull?remote=x"))[0]).toBe(501);
  expect((await ask("POST", "/plugins/create?name=x"))[0]).toBe(501);
  expect((await ask("GET", '/plugins?filters={"color":["red"]}'))[0]).toBe(400);
});

test("building is not supported and says so; the empty build cache is pruned", async () => {
  for (const path of ["/build?version=1", "/build/cancel?id=x", "/grpc", "/session"])
    expect((await ask("POST", path))[0]).toBe(501);
  expect((await api.call("POST", "/build/prune?all=1&filters=")).body).toEqual({
    CachesDeleted: null,
    SpaceReclaimed: 0,
  });
});

test("distribution asks the registry with the client's credentials", async () => {
  const facts = {
    Descriptor: { mediaType: "application/vnd.oci.image.index.v1+json", digest: `sha256:${"ab".repeat(32)}`, size: 1 },
    Platforms: [{ architecture: "amd64", os: "linux" }],
  };
  const asked: unknown[] = [];
  const able = testAPI(fakeEngine(), {
    inspect: async (name, credentials) => (asked.push([name, credentials]), facts),
  });
  const headers = { "X-Registry-Auth": Buffer.from('{"username":"u","password":"p"}').toString("base64url") };
  expect((await able.call("GET", "/distribution/reg:5000/a/b:1/json", { headers })).body).toEqual(facts);
  expect(asked).toEqual([["reg:5000/a/b:1", { username: "u", password: "p", identityToken: "", registryToken: "" }]]);
  const refused = testAPI(fakeEngine(), { inspect: () => Promise.reject(unauthorized("access denied")) });
  expect((await refused.call("GET", "/distribution/x/json")).status).toBe(401);
});
