// src/image/registry_hosts.ts: which endpoints a registry has, and which certificates go with each.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { createHosts, type Hosts, type RegistrySettings } from "../../../src/image/registry_hosts.ts";
import { quietLog } from "../../support/raw_http.ts";

let certs: string;
let nowMs = 0;
beforeEach(() => {
  certs = mkdtempSync(`${tmpdir()}/berth-certs-`);
});
afterEach(() => rmSync(certs, { recursive: true }));

const hosts = (settings: Partial<RegistrySettings> = {}): Hosts =>
  createHosts({
    settings: () => ({ insecureRegistries: [], registryMirrors: [], certsDirs: [`${certs}/none`, certs], ...settings }),
    now: () => nowMs,
    log: quietLog,
  });

function write(path: string, text: string): void {
  mkdirSync(dirname(`${certs}/${path}`), { recursive: true });
  writeFileSync(`${certs}/${path}`, text);
}

const bases = async (from: Hosts, domain: string) => (await from.endpoints(domain)).map(({ base }) => base);

test("a registry is asked by https, one on loopback or on the list by http as well and without verification", async () => {
  expect(await bases(hosts(), "registry.lan:5000")).toEqual(["https://registry.lan:5000/v2"]);
  expect(await bases(hosts(), "docker.io")).toEqual(["https://registry-1.docker.io/v2"]);
  const lax = hosts({ insecureRegistries: ["registry.lan", "10.1.0.0/16", "other.lan:5000"] });
  for (const domain of ["localhost:5000", "127.0.0.1:5000", "registry.lan:5000", "10.1.2.3", "other.lan:5000"]) {
    expect(await bases(lax, domain)).toEqual([`https://${domain}/v2`, `http://${domain}/v2`]);
    expect((await lax.endpoints(domain))[0]?.trust.verifies).toBe(false);
  }
  expect(await bases(lax, "10.2.0.1")).toEqual(["https://10.2.0.1/v2"]);
  expect(await bases(lax, "other.lan:5001")).toEqual(["https://other.lan:5001/v2"]);
});

test("mirrors of the default registry are for pulling, and for it alone", async () => {
  const mirrored = hosts({ registryMirrors: ["https://mirror.lan/", "http://10.0.0.1:5000/"] });
  expect(await bases(mirrored, "docker.io")).toEqual([
    "https://mirror.lan/v2",
    "http://10.0.0.1:5000/v2",
    "https://registry-1.docker.io/v2",
  ]);
  const [first] = await mirrored.endpoints("docker.io");
  expect(first).toMatchObject({ isMirror: true, capabilities: new Set(["pull", "resolve"]) });
  expect(await bases(mirrored, "registry.lan")).toEqual(["https://registry.lan/v2"]);
});

test("a host's directory gives authorities and client certificates, and is read anew after a while", async () => {
  write("registry.lan:5000/ca.crt", "CA");
  write("registry.lan:5000/client.cert", "CERT");
  write("registry.lan:5000/client.key", "KEY");
  const from = hosts();
  const [endpoint] = await from.endpoints("registry.lan:5000");
  expect(endpoint?.trust).toEqual({ verifies: true, authorities: ["CA"], clients: [{ cert: "CERT", key: "KEY" }] });
  expect((await from.endpoints("registry.lan:5001"))[0]?.trust.authorities).toEqual([]);
  // A token server elsewhere: the registry's authority is trusted, its client certificate stays at home.
  expect(await from.trustOf("auth.lan", endpoint ?? null)).toEqual({
    verifies: true,
    authorities: ["CA"],
    clients: [],
  });
  write("registry.lan:5000/ca.crt", "NEW");
  nowMs += 60_000;
  expect((await from.endpoints("registry.lan:5000"))[0]?.trust.authorities).toEqual(["NEW"]);
});

test("a certificate without its key, or a key without its certificate, is told in dockerd's words", async () => {
  write("a.lan/client.cert", "CERT");
  await expect(hosts().endpoints("a.lan")).rejects.toThrow(
    "missing key client.key for client certificate client.cert. CA certificates must use the extension .crt",
  );
  write("b.lan/client.key", "KEY");
  await expect(hosts().endpoints("b.lan")).rejects.toThrow("missing client certificate client.cert for key client.key");
});

test("hosts.toml names what is asked before a registry, with certificates and headers of its own", async () => {
  write(
    "docker.io/hosts.toml",
    `server = "https://hub.lan"
     [host."https://mirror.lan:5000/hub"]
       capabilities = ["pull"]
       ca = "mirror.crt"
       client = ["m.cert", "m.key"]
       [host."https://mirror.lan:5000/hub".header]
         Authorization = "Basic dTpw"
     [host."http://plain.lan/whole/v2"]
       override_path = true
       skip_verify = true`,
  );
  for (const name of ["mirror.crt", "m.cert", "m.key"]) write(`docker.io/${name}`, name);
  const endpoints = await hosts().endpoints("docker.io");
  expect(endpoints.map(({ base, isMirror, namespace }) => ({ base, isMirror, namespace }))).toEqual([
    { base: "https://mirror.lan:5000/hub/v2", isMirror: true, namespace: "docker.io" },
    { base: "http://plain.lan/whole/v2", isMirror: true, namespace: "docker.io" },
    { base: "https://hub.lan/v2", isMirror: false, namespace: null },
  ]);
  expect(endpoints[0]).toMatchObject({
    headers: { authorization: "Basic dTpw" },
    trust: { verifies: true, authorities: ["mirror.crt"] },
  });
  expect(endpoints[1]?.trust.verifies).toBe(false);
});

test("_default stands for every registry without a directory, and a colon may be spelt as an underscore", async () => {
  write("_default/hosts.toml", '[host."https://cache.lan"]');
  write("registry.lan_5000_/ca.crt", "CA");
  expect(await bases(hosts(), "quay.example")).toEqual(["https://cache.lan/v2", "https://quay.example/v2"]);
  expect(await bases(hosts(), "registry.lan:5000")).toEqual(["https://registry.lan:5000/v2"]);
  expect((await hosts().endpoints("registry.lan:5000"))[0]?.trust.authorities).toEqual(["CA"]);
});
