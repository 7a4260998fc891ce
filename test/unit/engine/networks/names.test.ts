// Which names a container may ask for, on the networks that it is on.
import { expect, test } from "bun:test";
import { formatAddress, parseAddress } from "../../../../runtime/mod.ts";
import type { Attachment } from "../../../../src/engine/networks/attachments.ts";
import { emptyEndpoint, NO_SETTINGS } from "../../../../src/engine/networks/endpoint.ts";
import { addressesOfName, nameOfAddress, needsResolver, upstreamsOf } from "../../../../src/engine/networks/names.ts";
import { predefinedRecord } from "../../../../src/engine/networks/predefined.ts";

interface On {
  network: string;
  ip: string;
  names: string[];
  links?: string[];
  isInternal?: boolean;
}

function attached(containerName: string, ...networks: On[]): Attachment {
  const endpoints = networks.map(({ network, ip, names, links = [], isInternal = false }) => {
    const base = predefinedRecord("bridge", (count) => new Uint8Array(count).fill(0xab), new Date(0));
    const endpoint = emptyEndpoint(`id of ${network}`, network, { ...NO_SETTINGS, Links: links });
    return {
      record: { ...endpoint, ipAddress: ip, dnsNames: names },
      network: {
        record: { ...base, id: `id of ${network}`, name: network, isInternal },
        pools: [],
        bridge: null,
        parent: null,
      },
    };
  });
  return {
    containerID: containerName,
    containerName,
    endpoints,
    ports: [],
    portsNetworkID: "",
    announced: [],
    resolver: null,
  };
}

const web = attached("web", { network: "front", ip: "10.1.0.2", names: ["web", "www", "a.b"] });
const db = attached(
  "db",
  { network: "front", ip: "10.1.0.3", names: ["db", "www"] },
  { network: "back.end", ip: "10.2.0.3", names: ["db"] },
);
const store = attached("store", { network: "back.end", ip: "10.2.0.4", names: ["Store", "www"] });
const linked = attached("linked", { network: "front", ip: "10.1.0.5", names: ["linked"], links: ["db:www", "/web"] });
const plain = attached("plain", { network: "bridge", ip: "172.17.0.2", names: [] });
const all = [web, db, store, linked, plain];
const find = (of: Attachment, name: string) => addressesOfName(all, of, name)?.map(formatAddress) ?? null;

test("a name is looked for on each of the container's networks, and the first that knows it decides", () => {
  expect(find(web, "db")).toEqual(["10.1.0.3"]);
  expect(find(web, "www")).toEqual(["10.1.0.2", "10.1.0.3"]);
  expect(find(store, "www")).toEqual(["10.2.0.4"]);
  expect(find(store, "db")).toEqual(["10.2.0.3"]);
  expect(find(db, "store")).toEqual(["10.2.0.4"]);
  expect(find(web, "store")).toBeNull();
  expect(find(plain, "web")).toBeNull();
});

test("the network's name may follow, and both may have dots", () => {
  expect(find(db, "db.back.end")).toEqual(["10.2.0.3"]);
  expect(find(db, "www.back.end")).toEqual(["10.2.0.4"]);
  expect(find(web, "a.b")).toEqual(["10.1.0.2"]);
  expect(find(web, "a.b.front")).toEqual(["10.1.0.2"]);
  for (const name of ["web.back.end", "web.example.org", ".front", "b"]) expect(find(web, name)).toBeNull();
});

test("a link is a name for its own container alone, in front of the network's", () => {
  expect(find(linked, "www")).toEqual(["10.1.0.3"]);
  expect(find(linked, "web")).toEqual(["10.1.0.2"]);
});

test("an address has its container's name with the network's", () => {
  const name = (of: Attachment, text: string) => {
    const address = parseAddress(text);
    return address === null ? null : nameOfAddress(all, of, address);
  };
  expect(name(web, "10.1.0.3")).toBe("db.front");
  expect(name(web, "10.2.0.3")).toBeNull();
  expect(name(plain, "172.17.0.2")).toBeNull();
});

test("servers are the host's, or the container's own asked from where it is; none for an internal network", () => {
  const host = { servers: ["127.0.0.53", "fe80::1%eth7", "nonsense"], search: [], options: [], others: [] };
  const servers = (of: Attachment, ...dns: string[]) =>
    upstreamsOf(of, () => ({ dns, host, interfaceIndex: (name) => (name === "eth7" ? 7 : 0) }))?.map(
      ({ address, scopeID, from }) => `${from} ${formatAddress(address)} ${scopeID}`,
    ) ?? null;
  expect(servers(web)).toEqual(["host 127.0.0.53 0", "host fe80::1 7"]);
  expect(servers(web, "10.9.9.9")).toEqual(["container 10.9.9.9 0"]);
  const inside = attached("inside", { network: "i", ip: "10.3.0.2", names: ["inside"], isInternal: true });
  expect(servers(inside, "10.9.9.9")).toBeNull();
  expect(needsResolver(inside)).toBe(true);
  expect(needsResolver(plain)).toBe(false);
});
