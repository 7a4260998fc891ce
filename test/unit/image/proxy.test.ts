// src/image/proxy.ts: which proxy a request goes through, by Go's rules.
import { expect, test } from "bun:test";
import { proxyFor } from "../../../src/image/proxy.ts";

const proxies = (no = "") => ({ http: "http://user:p%40ss@proxy:3128", https: "proxy-tls:8080", no });

test("each scheme has its proxy, and a proxy without a scheme is http", () => {
  expect(proxyFor(new URL("http://example.com/"), proxies())).toBe("http://user:p%40ss@proxy:3128/");
  expect(proxyFor(new URL("https://example.com/"), proxies())).toBe("http://proxy-tls:8080/");
  expect(proxyFor(new URL("https://example.com/"), { http: "http://proxy", https: "", no: "" })).toBeNull();
});

test("this machine is never reached through a proxy", () => {
  for (const host of ["localhost", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"])
    expect(proxyFor(new URL(`http://${host}/`), proxies())).toBeNull();
  expect(proxyFor(new URL("http://localhost.example.com/"), proxies())).not.toBeNull();
});

test.each([
  // entry, hosts it spares, hosts it does not
  ["*", ["example.com", "10.0.0.1"], []],
  ["example.com", ["example.com", "a.example.com"], ["badexample.com", "example.org"]],
  [".example.com", ["a.example.com"], ["example.com"]],
  ["*.example.com", ["a.b.example.com"], ["example.com"]],
  ["EXAMPLE.com", ["example.com"], []],
  ["example.com:5000", ["example.com:5000"], ["example.com", "example.com:5001"]],
  ["example.com:80", ["example.com"], []],
  ["10.1.0.0/16", ["10.1.2.3", "10.1.255.255:5000"], ["10.2.0.1", "ten.example"]],
  ["10.1.2.3", ["10.1.2.3"], ["10.1.2.33"]],
  ["fd00::/8", ["[fd12::1]:5000"], ["[fe80::1]"]],
  ["10.0.0.0/99, ,nonsense/8", [], ["10.0.0.1"]],
])("no-proxy %s", (entry, spared, others) => {
  for (const host of spared) expect(proxyFor(new URL(`http://${host}/`), proxies(`x.test,${entry}`))).toBeNull();
  for (const host of others) expect(proxyFor(new URL(`http://${host}/`), proxies(`x.test ${entry}`))).not.toBeNull();
});

test("a proxy that cannot be used is told without its password", () => {
  const refused = (http: string) => () => proxyFor(new URL("http://example.com/"), { http, https: "", no: "" });
  expect(refused("socks5://user:secret@proxy:1080")).toThrow("only http and https proxies are supported");
  expect(refused("http://[secret")).toThrow("invalid proxy address");
  expect(refused("socks5://user:secret@proxy:1080")).not.toThrow("secret");
});
