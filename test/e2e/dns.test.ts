// Names in containers on user-defined networks: asked with dig, with busybox and with glibc, from inside; upstream servers stand
// in the daemon's own network namespace.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
let upstream: Bun.Subprocess<"ignore", "pipe", "inherit">;
/** What the upstream servers were asked: `udp 10.99.0.1 web.example 1`. */
const asked: string[] = [];

beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  const setUp = [
    "ip link add up0 type bridge",
    "ip link set up0 up",
    ...[1, 2, 3].map((last) => `ip addr add 10.99.0.${last}/24 dev up0`),
    `touch ${hostFile()}`,
    `mount --bind ${hostFile()} /etc/resolv.conf`,
  ].join(" && ");
  expect(await berth.inside(["sh", "-c", setUp])).toMatchObject({ code: 0 });
  hostResolvConf("nameserver 10.99.0.1", "nameserver 10.99.0.2", "search corp.example");
  const script = join(import.meta.dir, "../support/dns_upstream.ts");
  const servers = ["10.99.0.1", "10.99.0.2", "127.0.0.53"];
  const enter = ["nsenter", "--target", String(berth.holderPID), "--net", process.execPath, script, ...servers];
  upstream = Bun.spawn(enter, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  void listen(upstream.stdout);
  await until("the upstream servers listen", () => asked.filter((line) => line.startsWith("serving")).length === 3);
  await berth.dockerOK("network", "create", "n1");
  await berth.dockerOK("network", "create", "n2");
  await berth.dockerOK("network", "create", "--internal", "inside");
  await start(
    "web",
    "--network",
    "n1",
    "--network-alias",
    "www",
    "--network-alias",
    "sub.dom",
    "--hostname",
    "webhost",
  );
  await start("db", "--network", "n1", "--network-alias", "www");
});
afterAll(async () => {
  upstream.kill("SIGKILL");
  await berth.inside(["sh", "-c", "ip link del up0; umount /etc/resolv.conf"]);
  await berth[Symbol.asyncDispose]();
});

const hostFile = (): string => join(berth.directory, "host-resolv.conf");
const hostResolvConf = (...lines: string[]): void => writeFileSync(hostFile(), `${lines.join("\n")}\n`);

async function listen(stream: ReadableStream<Uint8Array>): Promise<void> {
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + new TextDecoder().decode(chunk)).split("\n");
    rest = lines.pop() ?? "";
    asked.push(...lines);
  }
}

async function start(name: string, ...options: string[]): Promise<string> {
  return await berth.dockerOK("run", "-d", "--name", name, ...options, "busybox", "sleep", "86400");
}

const inspect = (name: string, format: string): Promise<string> =>
  berth.dockerOK("inspect", "-f", `{{${format}}}`, name);
const addressOf = (name: string, network = "n1"): Promise<string> =>
  inspect(name, `(index .NetworkSettings.Networks "${network}").IPAddress`);

/** dig inside a container: its status, and its answers, sorted. */
async function dig(
  container: string,
  ...args: string[]
): Promise<{ status: string; answers: string[]; flags: string }> {
  const pid = await inspect(container, ".State.Pid");
  const options = ["@127.0.0.11", "+tries=1", "+time=15", "+noall", "+comments", "+answer"];
  const { stdout } = await berth.inside(["nsenter", "-t", pid, "-n", "dig", ...options, ...args]);
  const answers = stdout.split("\n").filter((line) => line !== "" && !line.startsWith(";"));
  return {
    status: /status: (\w+)/.exec(stdout)?.[1] ?? stdout,
    flags: /flags: ([a-z ]+);/.exec(stdout)?.[1] ?? "",
    answers: answers.map((line) => line.split(/\s+/).slice(3).join(" ")).sort(),
  };
}
const ok = (...answers: string[]) => ({ status: "NOERROR", answers });

/** Prints each address of a name. */
const LOOKUP = `
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
int main(int argc, char **argv) {
  struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
  int code = getaddrinfo(argv[argc - 1], 0, &hints, &found);
  if (code) return puts(gai_strerror(code)), 1;
  for (; found; found = found->ai_next) {
    char text[64];
    void *at = found->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                                           : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
    puts(inet_ntop(found->ai_family, at, text, sizeof text));
  }
}`;

describe("names of the network", () => {
  test("are a container's name, hostname, short ID and aliases, alone and with the network's name", async () => {
    const web = await addressOf("web"),
      db = await addressOf("db");
    const id = (await inspect("web", ".Id")).slice(0, 12);
    for (const name of ["web", "web.", "WEB", "webhost", id, "sub.dom", "web.n1", "sub.dom.n1"]) {
      expect(await dig("db", name)).toMatchObject(ok(`A ${web}`));
    }
    expect(await dig("db", "www")).toMatchObject(ok(`A ${web}`, `A ${db}`));
    expect(await dig("db", "www", "+tcp")).toMatchObject(ok(`A ${web}`, `A ${db}`));
    expect(await dig("db", "db")).toMatchObject(ok(`A ${db}`));
  });

  test("have nothing of other types, and addresses have names", async () => {
    for (const type of ["AAAA", "MX", "TXT"]) expect(await dig("db", "web", type)).toMatchObject(ok());
    expect(await dig("db", "-x", await addressOf("web"))).toMatchObject(ok("PTR web.n1."));
    expect(asked.some((line) => / web /.test(line))).toBe(false);
  });

  test("are asked for by busybox and by glibc as by dig, and leave port 53 free", async () => {
    const web = await addressOf("web");
    expect((await berth.docker(["exec", "db", "nslookup", "web."])).stdout).toContain(`Address: ${web}`);
    expect(await berth.dockerOK("exec", "db", "ping", "-c1", "-W5", "web")).toContain(`PING web (${web})`);
    const host = ["/usr", "/lib", "/lib64"].flatMap((path) => ["-v", `${path}:${path}:ro`]);
    const libc = await berth.dockerOK(
      "run",
      "--rm",
      "--network",
      "n1",
      ...host,
      "busybox",
      "/usr/bin/getent",
      "hosts",
      "web",
    );
    expect(libc.split(/\s+/)).toEqual([web, "web"]);
    const bound = "nc -l -p 53 & sleep 0.1; netstat -lnt | grep -c ':53 '";
    expect(await berth.dockerOK("run", "--rm", "--network", "n1", "busybox", "sh", "-c", bound)).toBe("1");
  });

  test("are asked for by musl, which asks for both families at once", async () => {
    const tools = `${berth.directory}/tools`;
    await Bun.write(`${tools}/lookup.c`, LOOKUP);
    const compiled = await run(["musl-gcc", "-static", "-o", `${tools}/lookup`, `${tools}/lookup.c`]);
    expect(compiled.stderr).toBe("");
    const lookUp = (name: string): Promise<string> =>
      berth.dockerOK("run", "--rm", "--network", "n1", "-v", `${tools}:/tools`, "busybox", "/tools/lookup", name);
    expect(await lookUp("web")).toBe(await addressOf("web"));
    expect((await lookUp("www")).split("\n").sort()).toEqual([await addressOf("web"), await addressOf("db")].sort());
    expect(await lookUp("one.example")).toBe("192.0.2.1");
  });

  test("follow connect, disconnect, rename, stop and start", async () => {
    await start("mover", "--network", "n1");
    expect(await dig("db", "mover")).toMatchObject(ok(`A ${await addressOf("mover")}`));
    await berth.dockerOK("rename", "mover", "moved");
    expect((await dig("db", "mover")).answers).toEqual(["A 192.0.2.1"]);
    expect(await dig("db", "moved")).toMatchObject(ok(`A ${await addressOf("moved")}`));
    await berth.dockerOK("network", "connect", "--alias", "second", "n2", "moved");
    expect((await dig("db", "second")).answers).toEqual(["A 192.0.2.1"]);
    expect(await dig("moved", "second")).toMatchObject(ok(`A ${await addressOf("moved", "n2")}`));
    await berth.dockerOK("network", "disconnect", "n1", "moved");
    expect((await dig("db", "moved")).answers).toEqual(["A 192.0.2.1"]);
    await berth.dockerOK("network", "connect", "n1", "moved");
    await berth.dockerOK("stop", "-t", "0", "moved");
    expect((await dig("db", "moved")).answers).toEqual(["A 192.0.2.1"]);
    await berth.dockerOK("start", "moved");
    expect(await dig("db", "moved")).toMatchObject(ok(`A ${await addressOf("moved")}`));
    await berth.dockerOK("rm", "-f", "moved");
  });

  test("are its own for each container that links", async () => {
    await start("linking", "--network", "n1", "--link", "web:database");
    const web = await addressOf("web");
    expect(await dig("linking", "database")).toMatchObject(ok(`A ${web}`));
    expect(await dig("linking", "database.n1")).toMatchObject(ok(`A ${web}`));
    expect((await dig("db", "database")).answers).toEqual(["A 192.0.2.1"]);
    await berth.dockerOK("rm", "-f", "linking");
  });

  test("come to a container that joins its first network while it runs, and not on the default bridge", async () => {
    await start("plain");
    expect(await berth.dockerOK("exec", "plain", "cat", "/etc/resolv.conf")).toContain("nameserver 10.99.0.1");
    await berth.dockerOK("network", "connect", "n1", "plain");
    expect(await berth.dockerOK("exec", "plain", "cat", "/etc/resolv.conf")).toContain("nameserver 127.0.0.11\n");
    expect(await berth.dockerOK("exec", "plain", "ping", "-c1", "-W5", "web")).toContain(await addressOf("web"));
    await berth.dockerOK("rm", "-f", "plain");
  });

  test("are the same in a container that shares the network of another", async () => {
    await start("guest", "--network", "container:db");
    expect(await berth.dockerOK("exec", "guest", "ping", "-c1", "-W5", "web")).toContain(await addressOf("web"));
    await berth.dockerOK("rm", "-f", "guest");
  });

  test("have both families on a network with IPv6", async () => {
    await berth.dockerOK("network", "create", "--ipv6", "six");
    await start("both", "--network", "six");
    const v6 = await inspect("both", ".NetworkSettings.Networks.six.GlobalIPv6Address");
    expect(await dig("both", "both", "AAAA")).toMatchObject(ok(`AAAA ${v6}`));
    expect(await dig("both", "both")).toMatchObject(ok(`A ${await addressOf("both", "six")}`));
    expect(await dig("both", "-x", v6)).toMatchObject(ok("PTR both.six."));
    await berth.dockerOK("rm", "-f", "both");
    await berth.dockerOK("network", "rm", "six");
  });
});

describe("other names", () => {
  test("are asked of the host's servers: the next one where one refuses, and theirs is the answer", async () => {
    expect(await dig("web", "one.example")).toMatchObject(ok("A 192.0.2.1"));
    expect(await dig("web", "one.example", "+tcp")).toMatchObject(ok("A 192.0.2.1"));
    expect(await dig("web", "plainname")).toMatchObject(ok("A 192.0.2.1"));
    expect(await dig("web", "one.example", "AAAA")).toMatchObject(ok());
    expect(await dig("web", "nx.example")).toMatchObject({ status: "NXDOMAIN", answers: [] });
    expect(await dig("web", "-x", "10.99.0.1")).toMatchObject(ok());
    for (const name of ["refused.example", "failed.example"]) {
      expect(await dig("web", name)).toMatchObject({ status: "SERVFAIL", answers: [] });
      const [first, second] = asked.filter((line) => line.includes(name));
      expect([first, second]).toEqual([`udp 10.99.0.1 ${name} 1`, `udp 10.99.0.2 ${name} 1`]);
    }
  });

  test("with long answers are cut over UDP, whole with EDNS or over TCP", async () => {
    const cut = await dig("web", "big.example", "+noedns", "+ignore");
    expect(cut.flags).toContain("tc");
    expect(cut.answers.length).toBeLessThan(40);
    expect((await dig("web", "big.example", "+bufsize=4096")).answers.length).toBe(40);
    expect((await dig("web", "big.example", "+noedns")).answers.length).toBe(40);
    expect(asked).toContain("tcp 10.99.0.1 big.example 1");
  });

  test("follow the host's resolv.conf as it changes, to systemd-resolved's stub on its loopback too", async () => {
    hostResolvConf("nameserver 10.99.0.2");
    expect(await dig("web", "two.example")).toMatchObject(ok("A 192.0.2.2"));
    hostResolvConf("nameserver 127.0.0.53", "nameserver 10.99.0.1");
    expect(await dig("web", "stub.example")).toMatchObject(ok("A 192.0.2.53"));
    // Nobody serves this one: refused at once, and the next is asked.
    hostResolvConf("nameserver 10.99.0.3", "nameserver 10.99.0.1");
    expect(await dig("web", "next.example")).toMatchObject(ok("A 192.0.2.1"));
    hostResolvConf("# none");
    expect(await dig("web", "none.example")).toMatchObject({ status: "SERVFAIL" });
    await until("the engine says so", () => berth.log.includes("no nameserver is known"));
    hostResolvConf("nameserver 10.99.0.1", "nameserver 10.99.0.2", "search corp.example");
    expect(await dig("web", "again.example")).toMatchObject(ok("A 192.0.2.1"));
  });

  test("are asked of the servers, domains and options that the container names", async () => {
    await start("own", "--network", "n1", "--dns", "10.99.0.2", "--dns-search", "a.b", "--dns-option", "ndots:2");
    const text = await berth.dockerOK("exec", "own", "cat", "/etc/resolv.conf");
    expect(text.split("\n").slice(1, 4)).toEqual(["nameserver 127.0.0.11", "search a.b", "options ndots:2"]);
    expect(text).toContain("# ExtServers: [10.99.0.2]");
    expect(await dig("own", "two.example")).toMatchObject(ok("A 192.0.2.2"));
    expect(await dig("own", "two.example", "+tcp")).toMatchObject(ok("A 192.0.2.2"));
    // A single label is for the search domains then, and never asked of anybody as it is.
    expect(await dig("own", "nodots")).toMatchObject(ok());
    expect(await dig("own", "web")).toMatchObject(ok(`A ${await addressOf("web")}`));
    await berth.dockerOK("rm", "-f", "own");
  });

  test("are not asked for an internal network, whose own names are known", async () => {
    await start("hidden", "--network", "inside");
    expect(await dig("hidden", "secret.example")).toMatchObject({ status: "SERVFAIL" });
    expect(await dig("hidden", "hidden")).toMatchObject(ok(`A ${await addressOf("hidden", "inside")}`));
    expect(asked.some((line) => line.includes("secret.example"))).toBe(false);
    await berth.dockerOK("network", "connect", "n1", "hidden");
    expect(await dig("hidden", "open.example")).toMatchObject(ok("A 192.0.2.1"));
    await berth.dockerOK("rm", "-f", "hidden");
  });
});

test("an edited resolv.conf is left alone at the next start", async () => {
  await start("edited", "--network", "n1");
  await berth.dockerOK("exec", "edited", "sh", "-c", "echo nameserver 10.99.0.2 > /etc/resolv.conf");
  await berth.dockerOK("restart", "-t", "0", "edited");
  expect(await berth.dockerOK("exec", "edited", "cat", "/etc/resolv.conf")).toBe("nameserver 10.99.0.2");
  await berth.dockerOK("rm", "-f", "edited");
});

test("a killed daemon's successor answers for the containers that ran on", async () => {
  const web = await addressOf("web");
  await berth.kill();
  await berth.boot();
  expect(await addressOf("web")).toBe(web);
  expect(await dig("db", "web")).toMatchObject(ok(`A ${web}`));
  expect(await dig("db", "web", "+tcp")).toMatchObject(ok(`A ${web}`));
  expect(await dig("db", "later.example")).toMatchObject(ok("A 192.0.2.1"));
});
