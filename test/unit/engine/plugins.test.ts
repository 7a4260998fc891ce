// Plugins found by name, greeted and called: real sockets and ports, answered by servers of the test's own.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createPlugins } from "../../../src/engine/plugins.ts";

const base = mkdtempSync(join(tmpdir(), "berth-plugins-"));
const places = { sockets: [join(base, "sockets")], files: [join(base, "etc"), join(base, "lib")] };
const plugins = createPlugins(places);
const servers: Server[] = [];
let greetings = 0;

/** Answers each path with a status and a text. */
async function serve(where: string | number, answers: Record<string, [status: number, text: string]>): Promise<number> {
  const server = createServer((request, response) => {
    request.resume();
    if (request.url === "/Plugin.Activate") greetings++;
    const [status, text] = answers[request.url ?? ""] ?? [404, "no such page"];
    response.writeHead(status).end(text);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(where, resolve));
  return typeof where === "number" ? (server.address() as AddressInfo).port : 0;
}
const ACTIVATE: Record<string, [number, string]> = { "/Plugin.Activate": [200, '{"Implements":["VolumeDriver"]}'] };

beforeAll(async () => {
  for (const path of [...places.sockets, ...places.files, join(base, "sockets/deep")]) mkdirSync(path);
  await serve(join(base, "sockets/plain.sock"), {
    ...ACTIVATE,
    "/Says": [200, '{"a":1,"Err":""}'],
    "/Refuses": [200, '{"Err":"not today"}'],
    "/Fails": [500, '{"Err":"out of boxes"}'],
    "/Babbles": [200, "<html>"],
    "/Floods": [200, `"${"x".repeat(17 << 20)}"`],
    "/Silent": [200, ""],
  });
  await serve(join(base, "sockets/deep/deep.sock"), ACTIVATE);
  const port = await serve(0, ACTIVATE);
  writeFileSync(join(base, "etc/far.spec"), `tcp://127.0.0.1:${port}\n`);
  writeFileSync(join(base, "lib/far.spec"), "not looked at");
  writeFileSync(join(base, "lib/json.json"), JSON.stringify({ Name: "json", Addr: `http://127.0.0.1:${port}` }));
  writeFileSync(join(base, "etc/odd.spec"), "gopher://x");
  writeFileSync(join(base, "etc/gone.spec"), `unix://${base}/nobody.sock`);
  await serve(join(base, "sockets/other.sock"), { "/Plugin.Activate": [200, '{"Implements":["authz"]}'] });
  await serve(join(base, "sockets/mute.sock"), { "/Plugin.Activate": [200, '{"Implements":7}'] });
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(base, { recursive: true });
});

test("is found by its socket, its directory, its address or its description", async () => {
  for (const name of ["plain", "deep", "far", "json"]) {
    expect((await plugins.find(name, "VolumeDriver")).implements).toEqual(["VolumeDriver"]);
  }
  expect((await plugins.all("VolumeDriver")).map(({ name }) => name)).toEqual(["deep", "far", "json", "plain"]);
  expect((await plugins.all("authz")).map(({ name }) => name)).toEqual(["other"]);
});

test("is greeted once", async () => {
  await plugins.find("plain", "VolumeDriver");
  const before = greetings;
  const [one, other] = [await plugins.find("plain", "VolumeDriver"), await plugins.find("plain", "VolumeDriver")];
  expect(one).toBe(other);
  expect(greetings).toBe(before);
});

test.each([
  ["nobody", 'plugin "nobody" not found'],
  ["../plain", 'plugin "../plain" not found'],
  ["other", 'plugin "other" does not implement the interface "VolumeDriver"'],
  ["mute", 'plugin "mute" does not implement the interface "VolumeDriver"'],
  ["odd", "not an address"],
  ["gone", "error looking up plugin gone"],
])("%s is refused", async (name, message) => {
  await expect(plugins.find(name, "VolumeDriver")).rejects.toThrow(message);
});

test("answers a document, or says in its own words why not", async () => {
  const plugin = await plugins.find("plain", "VolumeDriver");
  expect(await plugin.call("Says", {})).toEqual({ a: 1, Err: "" });
  expect(await plugin.call("Silent", {})).toEqual({});
  await expect(plugin.call("Refuses", {})).rejects.toThrow("not today");
  await expect(plugin.call("Fails", {})).rejects.toThrow("out of boxes");
  await expect(plugin.call("Missing", {})).rejects.toThrow("no such page");
  await expect(plugin.call("Babbles", {})).rejects.toThrow(/JSON/);
  await expect(plugin.call("Floods", {})).rejects.toThrow("too long");
});
