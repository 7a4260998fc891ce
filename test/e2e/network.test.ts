// The default bridge, published ports, and the other network modes: seen from the containers, from the host's side and from
// a second network namespace that stands for the world outside.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
let outside: string;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  // ext0 (192.0.2.1) in the daemon's namespace, eth0 (192.0.2.9) in one of its own.
  const peer = Bun.spawn(["unshare", "--net", "sleep", "86400"]);
  outside = String(peer.pid);
  await until(
    "the namespace is there",
    async () => (await Bun.file(`/proc/${outside}/comm`).text()).trim() === "sleep",
  );
  await must("ip", "link", "add", "ext0", "type", "veth", "peer", "name", "eth0", "netns", outside);
  await must("ip", "addr", "add", "192.0.2.1/24", "dev", "ext0");
  await must("ip", "link", "set", "ext0", "up");
  for (const command of [
    "addr add 192.0.2.9/24 dev eth0",
    "link set eth0 up",
    "link set lo up",
    "route add default via 192.0.2.1",
  ]) {
    const ran = Bun.spawnSync(["nsenter", "-t", outside, "-n", "ip", ...command.split(" ")]);
    if (ran.exitCode !== 0) throw new Error(ran.stderr.toString());
  }
});
afterAll(async () => {
  process.kill(Number(outside), "SIGKILL");
  await berth.inside(["ip", "link", "del", "ext0"]);
  await berth[Symbol.asyncDispose]();
});

async function must(...command: string[]): Promise<void> {
  const ran = await berth.inside(command);
  if (ran.code !== 0) throw new Error(`${command.join(" ")}: ${ran.stderr}`);
}
/** What a URL answers; a server that does not listen yet is asked again for a moment. */
const fromHost = async (...args: string[]): Promise<string> =>
  (
    await berth.inside([
      "curl",
      "-s",
      "--max-time",
      "5",
      "--retry",
      "10",
      "--retry-connrefused",
      "--retry-delay",
      "0",
      ...args,
    ])
  ).stdout;
/** The same without patience: for what must not answer. */
const refusedOnHost = async (url: string): Promise<string> =>
  (await berth.inside(["curl", "-s", "--max-time", "3", url])).stdout;
const fromOutside = (...args: string[]): string =>
  Bun.spawnSync(["nsenter", "-t", outside, "-n", "curl", "-s", "--max-time", "3", ...args]).stdout.toString();
const WEB = ["busybox", "httpd", "-f", "-p", "80", "-h", "/www"];

test("a published port answers on the host, on loopback, from outside and from another container", async () => {
  await berth.dockerOK("run", "-d", "--name", "web", "-p", "8080:80", ...WEB);
  expect(await fromHost("http://127.0.0.1:8080/index.html")).toBe("served by busybox\n");
  expect(await fromHost("http://192.0.2.1:8080/index.html")).toBe("served by busybox\n");
  expect(fromOutside("http://192.0.2.1:8080/index.html")).toBe("served by busybox\n");
  expect(await berth.dockerOK("run", "--rm", "busybox", "wget", "-qO-", "http://192.0.2.1:8080/index.html")).toBe(
    "served by busybox",
  );
  expect(await berth.dockerOK("port", "web")).toContain("80/tcp -> 0.0.0.0:8080");
  await berth.dockerOK("rm", "-f", "web");
  expect(await refusedOnHost("http://127.0.0.1:8080/index.html")).toBe("");
});

test("a port bound to loopback is not reachable from outside", async () => {
  await berth.dockerOK("run", "-d", "--name", "local", "-p", "127.0.0.1:8081:80", ...WEB);
  expect(await fromHost("http://127.0.0.1:8081/index.html")).toBe("served by busybox\n");
  expect(fromOutside("http://192.0.2.1:8081/index.html")).toBe("");
  // Nor by routing straight to the container's or to the loopback address.
  const address = await berth.dockerOK("inspect", "local", "--format", "{{.NetworkSettings.IPAddress}}");
  expect(fromOutside(`http://${address}/index.html`)).toBe("");
  await berth.dockerOK("rm", "-f", "local");
});

/** Sends each datagram back to where it came from: no applet of busybox does. */
const UDP_ECHO = `
#include <netinet/in.h>
#include <sys/socket.h>
int main(void) {
  char bytes[2048];
  struct sockaddr_in self = { .sin_family = AF_INET, .sin_port = htons(53) }, peer;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  bind(fd, (struct sockaddr *)&self, sizeof self);
  for (;;) {
    socklen_t size = sizeof peer;
    ssize_t count = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&peer, &size);
    if (count >= 0) sendto(fd, bytes, count, 0, (struct sockaddr *)&peer, size);
  }
}`;

test("ephemeral ports, ranges and udp", async () => {
  const tools = `${berth.directory}/tools`;
  await Bun.write(`${tools}/udp-echo.c`, UDP_ECHO);
  const compiled = await run(["cc", "-O1", "-static", "-o", `${tools}/udp-echo`, `${tools}/udp-echo.c`]);
  expect(compiled.stderr).toBe("");
  const ports = ["-p", "80", "-p", "9000-9002:9000-9002", "-p", "5353:53/udp"];
  await berth.dockerOK("run", "-d", "--name", "many", "-v", `${tools}:/tools`, ...ports, ...WEB);
  const port = /0\.0\.0\.0:(\d+)/.exec(await berth.dockerOK("port", "many", "80/tcp"))?.[1];
  expect(await fromHost(`http://127.0.0.1:${port}/index.html`)).toBe("served by busybox\n");
  const range = (await berth.dockerOK("port", "many")).split("\n").filter((line) => /0\.0\.0\.0:900[012]/.test(line));
  expect(range.length).toBe(3);
  await berth.dockerOK("exec", "-d", "many", "/tools/udp-echo");
  for (const address of ["127.0.0.1", "192.0.2.1"]) {
    await until(`a datagram to ${address} comes back`, async () => {
      const asked = `echo hello | timeout 1 socat -t 0.5 - UDP:${address}:5353`;
      return (await berth.inside(["sh", "-c", asked])).stdout === "hello\n";
    });
  }
  await berth.dockerOK("rm", "-f", "many");
});

test("a port that is taken is refused in Docker's words, before anything runs", async () => {
  await berth.dockerOK("run", "-d", "--name", "first", "-p", "8082:80", ...WEB);
  const second = await berth.docker(["run", "--name", "second", "-p", "8082:80", ...WEB]);
  expect(second.code).toBe(125);
  expect(second.stderr).toContain("Bind for 0.0.0.0:8082 failed: port is already allocated");
  await berth.dockerOK("rm", "-f", "first", "second");
  const listener = Bun.spawn([
    "nsenter",
    "-t",
    String(berth.holderPID),
    "-n",
    "socat",
    "TCP-LISTEN:8083,fork",
    "SYSTEM:true",
  ]);
  await until(
    "the other listens",
    async () =>
      (
        await berth.inside(["sh", "-c", "ss -tln 2>/dev/null | grep -c 8083 || grep -c :1F93 /proc/net/tcp"])
      ).stdout.trim() !== "0",
  );
  const third = await berth.docker(["run", "--rm", "-p", "8083:80", ...WEB]);
  expect(third.stderr).toContain("address already in use");
  listener.kill();
});

test("containers reach each other and the world, and the world sees the host's address", async () => {
  await berth.dockerOK("run", "-d", "--name", "server", ...WEB);
  const address = await berth.dockerOK(
    "inspect",
    "server",
    "--format",
    "{{.NetworkSettings.Networks.bridge.IPAddress}}",
  );
  expect(address).toMatch(/^172\.\d+\.0\.\d+$/);
  expect(await berth.dockerOK("run", "--rm", "busybox", "wget", "-qO-", `http://${address}/index.html`)).toBe(
    "served by busybox",
  );
  const listener = Bun.spawn([
    "nsenter",
    "-t",
    outside,
    "-n",
    "socat",
    "TCP-LISTEN:7000,reuseaddr",
    "SYSTEM:echo you are $SOCAT_PEERADDR",
  ]);
  await until(
    "the world listens",
    () =>
      Bun.spawnSync(["nsenter", "-t", outside, "-n", "sh", "-c", "grep -c :1B58 /proc/net/tcp"])
        .stdout.toString()
        .trim() !== "0",
  );
  expect(await berth.dockerOK("run", "--rm", "busybox", "sh", "-c", "sleep 1 | nc 192.0.2.9 7000")).toBe(
    "you are 192.0.2.1",
  );
  listener.kill();
  await berth.dockerOK("rm", "-f", "server");
});

test("none, host and container networks", async () => {
  expect(await berth.dockerOK("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net")).toBe("lo");
  expect(await berth.dockerOK("run", "--rm", "--network", "host", "busybox", "ls", "/sys/class/net")).toContain("ext0");
  await berth.dockerOK("run", "-d", "--name", "donor", "--hostname", "donor", ...WEB);
  expect(
    await berth.dockerOK(
      "run",
      "--rm",
      "--network",
      "container:donor",
      "busybox",
      "wget",
      "-qO-",
      "http://127.0.0.1/index.html",
    ),
  ).toBe("served by busybox");
  expect(await berth.dockerOK("run", "--rm", "--network", "container:donor", "busybox", "hostname")).toBe("donor");
  await berth.dockerOK("rm", "-f", "donor");
});

test("resolv.conf follows --dns, --dns-search and --dns-option", async () => {
  const text = await berth.dockerOK(
    "run",
    "--rm",
    "--dns",
    "10.9.8.7",
    "--dns-search",
    "example.test",
    "--dns-option",
    "ndots:3",
    "busybox",
    "cat",
    "/etc/resolv.conf",
  );
  expect(text).toContain("nameserver 10.9.8.7");
  expect(text).toContain("search example.test");
  expect(text).toContain("options ndots:3");
});

test("two user networks are apart, and network ls, inspect and rm tell of them", async () => {
  await berth.dockerOK("network", "create", "left");
  await berth.dockerOK("network", "create", "--subnet", "10.77.0.0/24", "right");
  await berth.dockerOK("run", "-d", "--name", "right1", "--network", "right", "--ip", "10.77.0.9", ...WEB);
  expect(
    await berth.dockerOK("run", "--rm", "--network", "right", "busybox", "wget", "-qO-", "http://10.77.0.9/index.html"),
  ).toBe("served by busybox");
  const cut = await berth.docker([
    "run",
    "--rm",
    "--network",
    "left",
    "busybox",
    "wget",
    "-T",
    "2",
    "-qO-",
    "http://10.77.0.9/index.html",
  ]);
  expect(cut.code).not.toBe(0);
  expect((await berth.docker(["network", "rm", "right"])).stderr).toContain("has active endpoints");
  await berth.dockerOK("rm", "-f", "right1");
  await berth.dockerOK("network", "rm", "left", "right");
  expect((await berth.dockerOK("network", "ls", "--format", "{{.Name}}")).split("\n").sort()).toEqual([
    "bridge",
    "host",
    "none",
  ]);
});
