// The daemon's flags for networks, and the driver options of networks and endpoints: seen from inside containers, and from a
// network namespace that stands for the world outside.
import { afterAll, beforeAll, expect, test } from "bun:test";
import process from "node:process";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
let outside: string;
const FLAGS = [
  "--bip",
  "10.77.0.1/24",
  "--fixed-cidr",
  "10.77.0.128/25",
  "--default-gateway",
  "10.77.0.9",
  "--ipv6",
  "--fixed-cidr-v6",
  "fd77::/64",
  "--default-gateway-v6",
  "fd77::9",
  "--icc=false",
  "--ip",
  "127.0.0.1",
  "--host-gateway-ip",
  "10.9.9.9",
  "--host-gateway-ip",
  "fd99::9",
  "--default-network-opt",
  "bridge=com.docker.network.driver.mtu=1400",
  "--bridge-accept-fwmark",
  "0x7/0xf",
];

beforeAll(async () => {
  berth = await TestDaemon.start({ args: FLAGS });
  await loadBusybox(berth);
  const peer = Bun.spawn(["unshare", "--net", "sleep", "86400"]);
  outside = String(peer.pid);
  await until("it is there", async () => (await Bun.file(`/proc/${outside}/comm`).text()).trim() === "sleep");
  const setUp = [
    `ip link add ext0 type veth peer name eth0 netns ${outside}`,
    "ip addr add 192.0.2.1/24 dev ext0 && ip link set ext0 up",
    `nsenter -t ${outside} -n ip addr add 192.0.2.9/24 dev eth0`,
    `nsenter -t ${outside} -n ip link set eth0 up`,
    `nsenter -t ${outside} -n ip route add default via 192.0.2.1`,
  ].join(" && ");
  expect(await berth.inside(["sh", "-c", setUp])).toMatchObject({ code: 0 });
});
afterAll(async () => {
  process.kill(Number(outside), "SIGKILL");
  await berth.inside(["ip", "link", "del", "ext0"]);
  await berth[Symbol.asyncDispose]();
});

const WEB = ["busybox", "httpd", "-f", "-p", "80", "-h", "/www"];
const inspect = (name: string, format: string): Promise<string> =>
  berth.dockerOK("container", "inspect", "-f", `{{${format}}}`, name);
const fromOutside = (url: string): string =>
  Bun.spawnSync(["nsenter", "-t", outside, "-n", "curl", "-gs", "--max-time", "2", url]).stdout.toString();
/** Once the server listens. */
const served = (url: string): Promise<void> =>
  until(`${url} answers`, async () => (await berth.inside(["curl", "-gs", "--max-time", "2", url])).code === 0);

test("the default bridge has the subnet, range, gateways and families that the flags say", async () => {
  const script = "ip -o addr show eth0; ip route; ip -6 route; cat /etc/hosts";
  const seen = await berth.dockerOK("run", "--rm", "--add-host", "host:host-gateway", "busybox", "sh", "-c", script);
  expect(seen).toMatch(/inet 10\.77\.0\.1(2[89]|[3-9]\d)\/24/);
  expect(seen).toContain("inet6 fd77::2/64");
  expect(seen).toContain("default via 10.77.0.9");
  expect(seen).toContain("default via fd77::9");
  expect(seen).toContain("10.9.9.9\thost");
  expect(seen).toContain("fd99::9\thost");
  const { stdout } = await berth.inside(["ip", "-o", "addr", "show", "docker0"]);
  expect(stdout).toContain("inet 10.77.0.1/24");
  expect(stdout).toContain("inet6 fd77::1/64");
});

test("containers of the default bridge do not reach each other, and their ports are bound where --ip says", async () => {
  await berth.dockerOK("run", "-d", "--name", "web", "-p", "8080:80", ...WEB);
  expect(await berth.dockerOK("port", "web")).toBe("80/tcp -> 127.0.0.1:8080");
  await served("http://127.0.0.1:8080/index.html");
  const address = await inspect("web", ".NetworkSettings.IPAddress");
  const asked = ["run", "--rm", "busybox", "wget", "-T", "1", "-qO-", `http://${address}/index.html`];
  expect((await berth.docker(asked)).code).not.toBe(0);
  await berth.dockerOK("rm", "-f", "web");
});

test("new networks have the default options; what they say themselves counts more", async () => {
  const mtu = async (...options: string[]): Promise<string> => {
    await berth.dockerOK("network", "create", ...options, "n");
    const seen = await berth.dockerOK("run", "--rm", "--network", "n", "busybox", "cat", "/sys/class/net/eth0/mtu");
    await berth.dockerOK("network", "rm", "n");
    return seen;
  };
  expect(await mtu()).toBe("1400");
  expect(await mtu("--opt", "com.docker.network.driver.mtu=1300")).toBe("1300");
});

test("a routed network is reached at its containers' addresses: by ping and at published ports, as nobody else", async () => {
  const mode = "com.docker.network.bridge.gateway_mode_ipv4=routed";
  await berth.dockerOK("network", "create", "--opt", mode, "--subnet", "10.78.0.0/24", "routed");
  await berth.dockerOK("run", "-d", "--name", "routed", "--network", "routed", "-p", "80", ...WEB);
  expect(await inspect("routed", 'json (index .NetworkSettings.Ports "80/tcp")')).toContain('"HostPort":""');
  await served("http://10.78.0.2/index.html");
  expect(fromOutside("http://10.78.0.2/index.html")).toBe("served by busybox\n");
  await berth.dockerOK("exec", "-d", "routed", "busybox", "httpd", "-p", "81", "-h", "/www");
  await served("http://10.78.0.2:81/index.html");
  expect(fromOutside("http://10.78.0.2:81/index.html")).toBe("");
  const ping = ["busybox", "ping", "-c1", "-W2", "10.78.0.2"];
  expect(Bun.spawnSync(["nsenter", "-t", outside, "-n", ...ping]).exitCode).toBe(0);
  // A route to a container's address is all that is needed; the port stays open through a restart of the daemon.
  await berth.kill();
  await berth.boot();
  await inspect("routed", ".Id");
  expect(fromOutside("http://10.78.0.2/index.html")).toBe("served by busybox\n");
  await berth.dockerOK("rm", "-f", "routed");
  await berth.dockerOK("network", "rm", "routed");
});

test("published ports answer at containers' own addresses to trusted interfaces, and to marked packets", async () => {
  const trusted = "com.docker.network.bridge.trusted_host_interfaces=ext0";
  await berth.dockerOK("network", "create", "--opt", trusted, "--subnet", "10.79.0.0/24", "open");
  await berth.dockerOK("network", "create", "--subnet", "10.80.0.0/24", "shut");
  await berth.dockerOK("run", "-d", "--name", "open", "--network", "open", "-p", "8081:80", ...WEB);
  await berth.dockerOK("run", "-d", "--name", "shut", "--network", "shut", "-p", "8082:80", ...WEB);
  await served("http://10.79.0.2/index.html");
  await served("http://10.80.0.2/index.html");
  expect(fromOutside("http://10.79.0.2/index.html")).toBe("served by busybox\n");
  expect(fromOutside("http://10.80.0.2/index.html")).toBe("");
  const mark = `table inet marks { chain pre { type filter hook prerouting priority -150; iifname "ext0" meta mark set 0x17; }; }\n`;
  expect(await berth.inside(["nft", "-f", "-"], { stdin: mark })).toMatchObject({ code: 0 });
  expect(fromOutside("http://10.80.0.2/index.html")).toBe("served by busybox\n");
  await berth.inside(["nft", "delete", "table", "inet", "marks"]);
  expect(fromOutside("http://10.80.0.2/index.html")).toBe("");
  await berth.dockerOK("rm", "-f", "open", "shut");
  await berth.dockerOK("network", "rm", "open", "shut");
});

test("an endpoint's own kernel settings are made on its interface, and nothing else is", async () => {
  await berth.dockerOK("network", "create", "nn");
  const option = (value: string): string => `name=nn,driver-opt=com.docker.network.endpoint.sysctls=${value}`;
  const file = "/proc/sys/net/ipv4/conf/eth0/log_martians";
  const run = ["run", "--rm", "--network"];
  expect(await berth.dockerOK(...run, option("net.ipv4.conf.IFNAME.log_martians=1"), "busybox", "cat", file)).toBe("1");
  const refused = await berth.docker([...run, option("net.ipv4.ip_forward=1"), "busybox", "true"]);
  expect(refused.stderr).toContain("invalid endpoint sysctl");
  await berth.dockerOK("network", "rm", "nn");
});
