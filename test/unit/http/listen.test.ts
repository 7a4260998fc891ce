// src/http/listen.ts: hosts, the unix socket's file, TLS, and what is refused.
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listenAll, type ListenDeps, parseHost } from "../../../src/http/listen.ts";
import { exchange, NO_TLS, quietLog, serve } from "../../support/raw_http.ts";

const deps = (change: Partial<ListenDeps> = {}): ListenDeps => ({
  fetch: () => new Response("hello"),
  commonHeaders: {},
  log: quietLog,
  now: () => Date.now(),
  tls: NO_TLS,
  group: "",
  inheritedFds: [],
  ...change,
});

/** Runs with a directory that is gone afterwards. */
async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "berth-listen-"));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

describe("parseHost", () => {
  test("reads what dockerd reads", () => {
    expect(parseHost("unix:///run/berth.sock", false)).toEqual({ kind: "unix", path: "/run/berth.sock" });
    expect(parseHost("tcp://127.0.0.1:2376", true)).toEqual({ kind: "tcp", host: "127.0.0.1", port: 2376 });
    expect(parseHost("tcp://[::1]:0", false)).toEqual({ kind: "tcp", host: "::1", port: 0 });
    expect(parseHost("tcp://:4000", false)).toEqual({ kind: "tcp", host: "127.0.0.1", port: 4000 });
    expect(parseHost("tcp://", true)).toEqual({ kind: "tcp", host: "127.0.0.1", port: 2376 });
    expect(parseHost("tcp://host", false)).toEqual({ kind: "tcp", host: "host", port: 2375 });
    expect(parseHost("fd://", false)).toEqual({ kind: "fd", fd: null });
    expect(parseHost("fd://4", false)).toEqual({ kind: "fd", fd: 4 });
  });

  for (const bad of [
    "",
    "/run/x.sock",
    "unix://x",
    "unix:/x",
    "tcp://a:b",
    "tcp://a:70000",
    "tcp://[::1",
    "npipe:////x",
    "fd://x",
  ]) {
    test(`refuses ${JSON.stringify(bad)}`, () => expect(() => parseHost(bad, false)).toThrow("cannot listen on"));
  }
});

describe("unix sockets", () => {
  test("the socket has mode 0660, its directory is made, and closing removes it", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "a/b/s.sock");
      const umask = process.umask();
      const server = await listenAll([`unix://${path}`], deps({ group: String(process.getgid?.() ?? 0) }));
      expect(server.addresses).toEqual([`unix://${path}`]);
      expect(statSync(path).mode & 0o7777).toBe(0o660);
      expect(process.umask()).toBe(umask);
      await server.close(0);
      expect(existsSync(path)).toBe(false);
    }));

  test("a socket that nobody answers on is replaced", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "s.sock");
      const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
      spawnSync(process.execPath, ["-e", script]);
      expect(statSync(path).isSocket()).toBe(true);
      const server = await listenAll([`unix://${path}`], deps());
      await server.close(0);
    }));

  test("a socket that somebody answers on is refused and left alone", async () => {
    await using server = await serve(() => new Response("first"));
    await expect(listenAll([`unix://${server.socket}`], deps())).rejects.toThrow("another process listens there");
    expect(await exchange(server, "GET / HTTP/1.0\r\n\r\n")).toEndWith("first");
  });

  test("a file that is no socket is refused and left alone", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "file");
      writeFileSync(path, "precious");
      await expect(listenAll([`unix://${path}`], deps())).rejects.toThrow("is not a socket");
      expect(readFileSync(path, "utf8")).toBe("precious");
    }));

  test("a path that is too long is refused by its limit", async () => {
    await expect(listenAll([`unix:///${"x".repeat(120)}`], deps())).rejects.toThrow("at most 107 bytes");
  });

  test("an unknown group is refused, but for docker's, which may be missing", () =>
    inDirectory(async (directory) => {
      await expect(listenAll([`unix://${directory}/s`], deps({ group: "no-such-group" }))).rejects.toThrow(
        'no group "no-such-group"',
      );
    }));

  test("when one host cannot be had, the others are closed again", () =>
    inDirectory(async (directory) => {
      const path = join(directory, "s.sock");
      await expect(listenAll([`unix://${path}`, "fd://"], deps())).rejects.toThrow("no sockets were handed over");
      expect(existsSync(path)).toBe(false);
    }));
});

describe("TCP", () => {
  test("port 0 takes a free port, and the address tells which", async () => {
    const server = await listenAll(["tcp://127.0.0.1:0"], deps());
    const [address = ""] = server.addresses;
    expect(address).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+$/);
    expect(await (await fetch(address.replace("tcp", "http"))).text()).toBe("hello");
    await server.close(0);
  });

  test("a port in use is an error", async () => {
    const server = await listenAll(["tcp://127.0.0.1:0"], deps());
    await expect(listenAll([server.addresses[0] ?? ""], deps())).rejects.toThrow();
    await server.close(0);
  });

  test("with TLS only a client with a certificate of the CA gets through", () =>
    inDirectory(async (directory) => {
      makeCertificates(directory);
      const file = (name: string) => join(directory, name);
      const tls = {
        isOn: true,
        verifies: true,
        caFile: file("ca.pem"),
        certFile: file("server.pem"),
        keyFile: file("server.key"),
      };
      const server = await listenAll(["tcp://127.0.0.1:0"], deps({ tls }));
      const port = Number(server.addresses[0]?.split(":").at(-1));
      const read = (name: string) => readFileSync(file(name));
      expect(await getTLS({ port, ca: read("ca.pem"), cert: read("client.pem"), key: read("client.key") })).toBe(
        "hello",
      );
      await expect(getTLS({ port, ca: read("ca.pem") })).rejects.toThrow();
      await expect(
        getTLS({ port, ca: read("ca.pem"), cert: read("other.pem"), key: read("other.key") }),
      ).rejects.toThrow();
      await server.close(0);
    }));
});

function getTLS(options: { port: number; ca: Buffer; cert?: Buffer; key?: Buffer }): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { host: "127.0.0.1", servername: "localhost", path: "/", agent: false, ...options },
      (response) => {
        let text = "";
        response.on("data", (bytes) => (text += String(bytes)));
        response.on("end", () => resolve(text));
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end();
  });
}

/** A CA with a server's and a client's certificate, and a stranger's that signs itself. */
function makeCertificates(directory: string): void {
  const openssl = (...args: string[]) => {
    const { status, stderr } = spawnSync("openssl", args, { cwd: directory });
    if (status !== 0) throw new Error(String(stderr));
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  openssl("req", "-x509", ...key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem");
  openssl("req", "-x509", ...key, "-subj", "/CN=other", "-keyout", "other.key", "-out", "other.pem");
  for (const name of ["server", "client"]) {
    // A certificate that may sign others is no client's: TLS libraries differ in whether they mind.
    const extra = ["-addext", "basicConstraints=critical,CA:FALSE"];
    extra.push("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1");
    openssl(
      "req",
      "-x509",
      ...key,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-subj",
      `/CN=${name}`,
      ...extra,
      "-keyout",
      `${name}.key`,
      "-out",
      `${name}.pem`,
    );
  }
}
