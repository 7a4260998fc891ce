// The hosts file as containers find it, and how the three files are written.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  changeHosts,
  forgetHosts,
  hostNames,
  hostsText,
  hostsWith,
  moveHosts,
  parseExtraHost,
  rewriteResolvConf,
  writeFiles,
} from "../../../../src/engine/networks/files.ts";

describe("hosts", () => {
  test("has Docker's lines, then extra hosts, then the container's own", () => {
    expect(
      hostsText([{ address: "10.0.0.1", names: "db" }], [{ address: "172.17.0.2", names: hostNames("h1", "d1") }]),
    ).toBe(
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n" +
        "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n10.0.0.1\tdb\n172.17.0.2\th1.d1 h1\n",
    );
    expect(hostNames("h1", "")).toBe("h1");
  });

  test("of the host gains the extra hosts at its end", () => {
    expect(hostsWith("127.0.0.1 localhost", [{ address: "10.0.0.1", names: "db" }])).toBe(
      "127.0.0.1 localhost\n10.0.0.1\tdb\n",
    );
    expect(hostsWith("x\n", [])).toBe("x\n");
  });

  test("changes by whole addresses, keeping what the container wrote", () => {
    const text = "127.0.0.1\tlocalhost\n10.0.0.2\tme\n10.0.0.22 mine\n";
    expect(changeHosts(text, { add: [{ address: "10.1.0.2", names: "me" }], removeAddresses: ["10.0.0.2"] })).toBe(
      "127.0.0.1\tlocalhost\n10.0.0.22 mine\n10.1.0.2\tme\n",
    );
  });

  test("extra hosts come with a colon or an equals sign, IPv6 in brackets or not", () => {
    expect(parseExtraHost("db:10.0.0.1")).toEqual({ name: "db", address: "10.0.0.1" });
    expect(parseExtraHost("db=10.0.0.1")).toEqual({ name: "db", address: "10.0.0.1" });
    expect(parseExtraHost("db:[::1]")).toEqual({ name: "db", address: "::1" });
    expect(parseExtraHost("db:fe80::1")).toEqual({ name: "db", address: "fe80::1" });
    expect(parseExtraHost("host.docker.internal:host-gateway")).toEqual({
      name: "host.docker.internal",
      address: "host-gateway",
    });
    for (const text of ["", "db", ":10.0.0.1", "a b:10.0.0.1"])
      expect(() => parseExtraHost(text)).toThrow("bad format for add-host");
    expect(() => parseExtraHost("db:10.0.0")).toThrow('invalid IP address in add-host: "10.0.0"');
  });
});

describe("written", () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-files-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const texts = (resolvConf: string) => ({ hostname: "h\n", hosts: "hosts\n", resolvConf });

  test("the files are readable by all, and an edited resolv.conf is left alone", async () => {
    const paths = writeFiles(directory, texts("one\n"));
    expect(statSync(paths.hosts).mode & 0o777).toBe(0o644);
    writeFiles(directory, texts("two\n"));
    expect(readFileSync(paths.resolvConf, "utf8")).toMatch(/^# Made by berth .*\ntwo\n$/);
    rewriteResolvConf(directory, "changed\n");
    expect(readFileSync(paths.resolvConf, "utf8")).toMatch(/^# Made by berth .*\nchanged\n$/);
    writeFileSync(paths.resolvConf, "mine\n");
    writeFiles(directory, texts("three\n"));
    rewriteResolvConf(directory, "four\n");
    expect(readFileSync(paths.resolvConf, "utf8")).toBe("mine\n");
    writeFileSync(paths.resolvConf, "");
    writeFiles(directory, texts("four\n"));
    expect(readFileSync(paths.resolvConf, "utf8")).toBe("");
    expect(readFileSync(paths.hostname, "utf8")).toBe("h\n");
  });
});

test("the entry of a link moves to another address of its family, or goes; names are whole words", () => {
  const text = "10.0.0.2\tdb dbhost\nfd00::2\tdb dbhost\n10.0.0.3\tdb2 db\n# db\n9.9.9.9 db\n";
  expect(moveHosts(text, "db", ["10.0.0.9", "fd00::9"])).toBe(
    "10.0.0.9\tdb dbhost\nfd00::9\tdb dbhost\n10.0.0.3\tdb2 db\n# db\n10.0.0.9 db\n",
  );
  expect(moveHosts(text, "db", ["10.0.0.9"])).toContain("fd00::2\tdb dbhost");
  expect(forgetHosts(text, "db2")).toBe(text.replace("10.0.0.3\tdb2 db\n", ""));
});
