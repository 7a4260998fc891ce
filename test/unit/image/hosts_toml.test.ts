// src/image/hosts_toml.ts: the part of TOML that hosts.toml files use, and what they say.
import { expect, test } from "bun:test";
import { parseHostsFile } from "../../../src/image/hosts_toml.ts";

const parse = (text: string) => parseHostsFile(text, "hosts.toml");

test("a file as containerd's documentation has it", () => {
  const file = parse(`
    # where it really is
    server = "https://registry-1.docker.io"   # a comment with "quotes"

    [host."https://mirror.lan:5000"]
      capabilities = ["pull", "resolve"]
      ca = "mirror.crt"
      client = [["a.cert", 'a.key'], ["b.pem"]]
      dial_timeout = "3s"
      [host."https://mirror.lan:5000".header]
        Authorization = "Basic dTpw"
        x-custom = ["a",
          "b"]  # over several lines

    [host."http://10.0.0.1/some/path"]
      skip_verify = true
      override_path = true
      ca = ["/etc/one.crt", "two.crt"]
  `);
  expect(file.server?.url.href).toBe("https://registry-1.docker.io/");
  expect(file.hosts.map(({ url }) => url.href)).toEqual(["https://mirror.lan:5000/", "http://10.0.0.1/some/path"]);
  expect(file.hosts[0]).toMatchObject({
    capabilities: new Set(["pull", "resolve"]),
    ca: ["mirror.crt"],
    client: [
      { cert: "a.cert", key: "a.key" },
      { cert: "b.pem", key: "b.pem" },
    ],
    skipVerify: false,
    headers: { authorization: "Basic dTpw", "x-custom": "a, b" },
  });
  expect(file.hosts[1]).toMatchObject({
    capabilities: new Set(["pull", "resolve", "push"]),
    skipVerify: true,
    overridePath: true,
    ca: ["/etc/one.crt", "two.crt"],
  });
  expect(file.unknown).toEqual(["dial_timeout"]);
});

test("an empty file says nothing", () => {
  expect(parse("# nothing\n")).toEqual({ server: null, hosts: [], unknown: [] });
});

test.each([
  ['server = "a', "line 1"],
  ["server = 5", "server is not a string"],
  ['\n[host."x"\n', 'line 2: "]" is missing'],
  ['[host."x"]\ncapabilities = ["fly"]', 'unknown capability "fly"'],
  ['[host."x"]\nskip_verify = "yes"', "skip_verify is not a boolean"],
  ['[host."x"]\nca = "a"\nca = "b"', "ca stands there twice"],
  ['[host."http://"]', "is not a host"],
  [`a = ${"[".repeat(50)}`, "no value that is known here"],
  ['a = "x" b', "line 1: the line does not end"],
])("%j is refused with its place", (text, words) => {
  expect(() => parse(text)).toThrow(words);
});
