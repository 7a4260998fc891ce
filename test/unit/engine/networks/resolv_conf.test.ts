// resolv.conf: the host's as it changes, and the text that containers find.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createHostResolvConf,
  parseResolvConf,
  PUBLIC_SERVERS,
  resolvConfText,
} from "../../../../src/engine/networks/resolv_conf.ts";

const RULES = {
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  isInternal: false,
  dropsLoopback: true,
  hasIPv6: false,
  fallback: PUBLIC_SERVERS,
};
const text = (host: string, more: Partial<Parameters<typeof resolvConfText>[1]> = {}) =>
  resolvConfText({ path: "/etc/resolv.conf", conf: parseResolvConf(host) }, { ...RULES, ...more });
const resolv = (...given: Parameters<typeof text>) =>
  text(...given)
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));

describe("without a resolver of its own", () => {
  test("is the host's without loopback servers, and without IPv6 where the container has none", () => {
    expect(
      resolv(
        "nameserver 127.0.0.53\nnameserver 192.0.2.1 # x\nnameserver fd00::1\nsearch a b\n" +
          "options ndots:2\noptions edns0\nsortlist 10.0.0.0\n",
      ),
    ).toEqual(["nameserver 192.0.2.1", "search a b", "options ndots:2 edns0", "sortlist 10.0.0.0"]);
    expect(resolv("nameserver fd00::1\nnameserver fe80::1%eth0", { hasIPv6: true })).toEqual(["nameserver fd00::1"]);
  });

  test("falls back to public servers when none is left, where that is wanted", () => {
    expect(resolv("nameserver ::1")).toEqual(["nameserver 8.8.8.8", "nameserver 8.8.4.4"]);
    expect(resolv("", { fallback: [] })).toEqual([]);
  });

  test("has each part replaced by what the container asks for; a dot means no search domain", () => {
    const host = "nameserver 192.0.2.1\nsearch a\noptions x";
    expect(resolv(host, { dns: ["1.1.1.1"] })).toEqual(["nameserver 1.1.1.1", "search a", "options x"]);
    expect(resolv(host, { dnsSearch: ["."] })).toEqual(["nameserver 192.0.2.1", "options x"]);
    expect(resolv(host, { dnsOptions: ["y"], dnsSearch: ["b", "c"] })).toEqual([
      "nameserver 192.0.2.1",
      "search b c",
      "options y",
    ]);
  });

  test("keeps loopback servers in the host's own network", () => {
    expect(resolv("nameserver 127.0.0.53", { dropsLoopback: false })).toEqual(["nameserver 127.0.0.53"]);
  });

  test("of any shape is read without complaint", () => {
    expect(parseResolvConf("nameserver\n;x\nsearch\ndomain d\n\0garbage line\nnameserver not-an-address")).toEqual({
      servers: ["not-an-address"],
      search: ["d"],
      options: [],
      others: [],
    });
    expect(resolv("nameserver not-an-address", { fallback: [] })).toEqual([]);
  });
});

describe("with a resolver of its own", () => {
  const host = "nameserver 127.0.0.53\nnameserver 10.99.0.2\nsearch corp.example\noptions timeout:3\n";

  test("names it alone, and tells in comments which servers it asks", () => {
    expect(text(host, { isInternal: true })).toBe(
      [
        "nameserver 127.0.0.11",
        "search corp.example",
        "options timeout:3 ndots:0",
        "",
        "# Based on host file: '/etc/resolv.conf' (internal resolver)",
        "# ExtServers: [host(127.0.0.53) host(10.99.0.2)]",
        "# Overrides: []",
        "# Option ndots from: internal",
        "",
      ].join("\n"),
    );
  });

  test("has given servers, domains and options take the host's place, one by one", () => {
    const rules = { isInternal: true, dns: ["10.9.9.9"], dnsSearch: ["a.b"], dnsOptions: ["ndots:2"] };
    const lines = text(host, rules).split("\n");
    expect(lines.slice(0, 3)).toEqual(["nameserver 127.0.0.11", "search a.b", "options ndots:2"]);
    expect(lines).toContain("# ExtServers: [10.9.9.9]");
    expect(lines).toContain("# Overrides: [nameservers search options]");
    expect(lines).toContain("# Option ndots from: override");
    expect(resolv("options ndots:3", { isInternal: true })).toEqual(["nameserver 127.0.0.11", "options ndots:3"]);
  });
});

describe("the host's", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-resolv-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const paths = { resolvConf: join(directory, "resolv.conf"), resolvedConf: join(directory, "resolved.conf") };
  const current = createHostResolvConf(paths);

  test("is followed as it comes, changes and goes", () => {
    expect(current().conf.servers).toEqual([]);
    writeFileSync(paths.resolvConf, "nameserver 10.0.0.1\n");
    expect(current()).toMatchObject({ path: paths.resolvConf, conf: { servers: ["10.0.0.1"] } });
    writeFileSync(paths.resolvConf, "nameserver 10.0.0.2\nnameserver 10.0.0.3\n");
    expect(current().conf.servers).toEqual(["10.0.0.2", "10.0.0.3"]);
    rmSync(paths.resolvConf);
    expect(current().conf.servers).toEqual([]);
  });

  test("is the file with the real servers where systemd-resolved's stub stands alone", () => {
    writeFileSync(paths.resolvConf, "nameserver 127.0.0.53\noptions edns0 trust-ad\n");
    expect(current().conf.servers).toEqual(["127.0.0.53"]);
    writeFileSync(paths.resolvedConf, "nameserver 10.0.0.9\n");
    expect(current()).toMatchObject({ path: paths.resolvedConf, conf: { servers: ["10.0.0.9"] } });
  });
});
