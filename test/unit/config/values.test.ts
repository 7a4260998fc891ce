// Readers of single values, with what each refuses.
import { expect, test } from "bun:test";
import * as values from "../../../src/config/values.ts";

const refused = <Value>(parse: (text: string) => Value, texts: string[]): void => {
  for (const text of texts) expect(() => parse(text)).toThrow();
};

test("parseSize() counts in powers of 1024", () => {
  expect(["0", "64m", "1.5GiB", "2KB", "1 t", "12B"].map(values.parseSize)).toEqual([
    0,
    64 << 20,
    1.5 * 2 ** 30,
    2048,
    2 ** 40,
    12,
  ]);
  refused(values.parseSize, ["", "x", "-1", "1x", "1.", "m", "1 kbb", "1e3"]);
});

test("parseHost() gives addresses in full and refuses others", () => {
  const parse = (text: string) => values.parseHost(text, { socket: "/run/s", isTLS: false });
  expect(
    ["", "unix://", "unix:///a", "fd://", "fd://x", ":1", "tcp://", "tcp://h:7", "h", "tcp://[::1]:5"].map(parse),
  ).toEqual([
    "unix:///run/s",
    "unix:///run/s",
    "unix:///a",
    "fd://",
    "fd://x",
    "tcp://localhost:1",
    "tcp://localhost:2375",
    "tcp://h:7",
    "tcp://h:2375",
    "tcp://[::1]:5",
  ]);
  refused(parse, [
    "http://x",
    "tcp://h:99999",
    "tcp://h:x",
    "tcp://h:1/path",
    "tcp://::1",
    "tcp://[zz]:1",
    "npipe:////./x",
  ]);
});

test("parseCIDR() needs an address and a prefix that fits it", () => {
  expect(values.parseCIDR(" 10.0.0.1/24")).toBe("10.0.0.1/24");
  expect(values.parseCIDR("fd00::1/64")).toBe("fd00::1/64");
  refused(values.parseCIDR, ["", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/x", "10.0.0/8", "1.2.3.4/8/9", "::1/129", "a/8"]);
});

test("parseBool() and parseInteger() are as strict as dockerd's", () => {
  expect(["1", "t", "True", "0", "F", "false"].map(values.parseBool)).toEqual([true, true, true, false, false, false]);
  refused(values.parseBool, ["", "yes", "2", "tRue"]);
  expect(["7", "-3", "+5"].map(values.parseInteger)).toEqual([7, -3, 5]);
  refused(values.parseInteger, ["", "1.5", "0x10", "99999999999999999999", " 1"]);
});

test("parseMirror() takes scheme and host alone", () => {
  expect(values.parseMirror("https://m.example:5000")).toBe("https://m.example:5000/");
  refused(values.parseMirror, [
    "",
    "m.example",
    "ftp://m",
    "https://m/p",
    "https://m/?q",
    "https://m/#f",
    "https://u:p@m",
  ]);
});

test("parseInsecureRegistry() takes hosts, ports and networks", () => {
  expect(["http://r.lan", "r:5000", "10.0.0.0/8", "[::1]:80"].map(values.parseInsecureRegistry)).toEqual([
    "r.lan",
    "r:5000",
    "10.0.0.0/8",
    "[::1]:80",
  ]);
  refused(values.parseInsecureRegistry, ["", "-x", "ftp://x", "r:99999", "x/y", "a b"]);
});

test("parseUlimit() takes soft and hard, or one for both", () => {
  expect(values.parseUlimit("nofile=1024:2048")).toEqual(["nofile", { soft: 1024, hard: 2048 }]);
  expect(values.parseUlimit("core=-1")).toEqual(["core", { soft: -1, hard: -1 }]);
  refused(values.parseUlimit, ["", "nofile", "nofile=", "files=1", "nofile=2:1", "nofile=1:2:3", "nofile=x"]);
});

test("parseAddressPool() needs a size that fits its base", () => {
  expect(values.parseAddressPool("base=10.0.0.0/8, size=24")).toEqual({ base: "10.0.0.0/8", size: 24 });
  refused(values.parseAddressPool, [
    "",
    "base=10.0.0.0/8",
    "size=24",
    "base=10.0.0.0/8,size=4",
    "base=10.0.0.0/8,size=33",
    "base=x,size=8",
    "base=10.0.0.0/8,size=24,x=1",
  ]);
});

test("parseSearchDomain() takes names of domains and the dot", () => {
  expect(["lan", "a.b-c.example", "."].map(values.parseSearchDomain)).toEqual(["lan", "a.b-c.example", "."]);
  refused(values.parseSearchDomain, ["", "a b", "-a", "a..b", "x".repeat(260)]);
});
