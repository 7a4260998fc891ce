// Networks that stand on a link of the host, and settings that networks are made from: seen from inside containers.
import { afterAll, beforeAll, expect, test } from "bun:test";
import process from "node:process";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
/** Stands on the other end of the host's link `lan0`, as 10.60.0.1. */
let neighbour: string;

beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  const peer = Bun.spawn(["unshare", "--net", "sleep", "86400"]);
  neighbour = String(peer.pid);
  await until("it is there", async () => (await Bun.file(`/proc/${neighbour}/comm`).text()).trim() === "sleep");
  const setUp = [
    `ip link add lan0 type veth peer name eth0 netns ${neighbour} && ip link set lan0 up`,
    `nsenter -t ${neighbour} -n ip addr add 10.60.0.1/24 dev eth0`,
    `nsenter -t ${neighbour} -n ip link set eth0 up`,
  ].join(" && ");
  expect(await berth.inside(["sh", "-c", setUp])).toMatchObject({ code: 0 });
});
afterAll(async () => {
  process.kill(Number(neighbour), "SIGKILL");
  await berth.inside(["ip", "link", "del", "lan0"]);
  await berth[Symbol.asyncDispose]();
});

const create = (...args: string[]) => berth.docker(["network", "create", ...args]);
const links = async (): Promise<string> => (await berth.inside(["ip", "-o", "link"])).stdout;

test("a container on macvlan is a machine of the parent's network, with its own MAC address and names", async () => {
  const subnet = ["--subnet", "10.60.0.0/24", "--gateway", "10.60.0.1"];
  expect(await create("-d", "macvlan", "-o", "parent=lan0", ...subnet, "lan")).toMatchObject({ code: 0 });
  const mac = "02:00:00:00:60:05";
  const own = ["--ip", "10.60.0.5", "--mac-address", mac];
  await berth.dockerOK("run", "-d", "--name", "machine", "--network", "lan", ...own, "busybox", "sleep", "86400");
  const seen = await berth.dockerOK("exec", "machine", "sh", "-c", "ip addr show eth0; ip route");
  expect(seen).toContain(mac);
  expect(seen).toContain("inet 10.60.0.5/24");
  expect(seen).toContain("default via 10.60.0.1");
  await berth.dockerOK("exec", "machine", "ping", "-c1", "-W5", "10.60.0.1");
  const { stdout } = Bun.spawnSync(["nsenter", "-t", neighbour, "-n", "ip", "neigh"]);
  expect(stdout.toString()).toContain(`10.60.0.5 dev eth0 lladdr ${mac}`);
  expect(await berth.dockerOK("run", "--rm", "--network", "lan", "busybox", "ping", "-c1", "-W5", "machine")).toContain(
    "1 packets received",
  );
  const second = await create("-d", "macvlan", "-o", "parent=lan0", "--subnet", "10.61.0.0/24", "other");
  expect(second.stderr).toContain("is already using parent interface lan0");
  await berth.kill();
  await berth.boot();
  await berth.dockerOK("exec", "machine", "ping", "-c1", "-W5", "10.60.0.1");
  await berth.dockerOK("rm", "-f", "machine");
  await berth.dockerOK("network", "rm", "lan");
  expect(await links()).toContain(" lan0@");
});

test("a VLAN is made on its parent and goes with the network; another parent must be there", async () => {
  const made = await create("-d", "macvlan", "-o", "parent=lan0.50", "--subnet", "10.62.0.0/24", "vlan");
  // A kernel may lack VLANs.
  if (made.code === 0) {
    expect(await links()).toContain("lan0.50@lan0");
    await berth.dockerOK("run", "--rm", "--network", "vlan", "busybox", "true");
    await berth.dockerOK("network", "rm", "vlan");
  } else expect(made.stderr).toContain("add vlan lan0.50");
  expect(await links()).not.toContain("lan0.50");
  const refused = await create("-d", "macvlan", "-o", "parent=nosuch", "x1");
  expect(refused.stderr).toContain("invalid subinterface vlan name nosuch, example formatting is eth0.10");
  expect((await create("-d", "macvlan", "-o", "parent=lan0", "-o", "macvlan_mode=x", "x2")).stderr).toContain(
    "requested macvlan mode 'x' is not valid",
  );
  expect((await create("-d", "ipvlan", "-o", "parent=lan0", "-o", "ipvlan_mode=x", "x3")).stderr).toContain(
    "requested ipvlan mode 'x' is not valid",
  );
  expect(await berth.dockerOK("network", "ls", "-q", "--filter", "type=custom")).toBe("");
});

test("a container on ipvlan shares its parent's MAC address; a kernel without it says so at start", async () => {
  for (const mode of ["l2", "l3", "l3s"]) {
    const options = ["-o", "parent=lan0", "-o", `ipvlan_mode=${mode}`];
    expect(await create("-d", "ipvlan", ...options, "--subnet", "10.60.0.0/24", "ipv")).toMatchObject({ code: 0 });
    const script = "cat /sys/class/net/eth0/address; ip route";
    const ran = await berth.docker([
      "run",
      "--rm",
      "--network",
      "ipv",
      "--ip",
      "10.60.0.6",
      "busybox",
      "sh",
      "-c",
      script,
    ]);
    if (ran.code === 0) {
      const parent = await berth.inside(["cat", "/sys/class/net/lan0/address"]);
      expect(ran.stdout).toContain(parent.stdout.trim());
      expect(ran.stdout).toContain(mode === "l2" ? "default via 10.60.0.1" : "default dev eth0");
    } else expect(ran.stderr).toContain("add ipvlan eth0");
    await berth.dockerOK("network", "rm", "ipv");
  }
});

test("a configuration is no network, and gives its settings to those made from it", async () => {
  const settings = ["--subnet", "10.63.0.0/24", "--label", "a=b", "--opt", "com.docker.network.driver.mtu=1300"];
  expect(await create("--config-only", ...settings, "settings")).toMatchObject({ code: 0 });
  const show = "{{.ConfigOnly}} {{.Driver}} {{.ConfigFrom.Network}} {{(index .IPAM.Config 0).Subnet}} {{.Labels.a}}";
  const inspect = (name: string) => berth.dockerOK("network", "inspect", "-f", show, name);
  expect(await inspect("settings")).toBe("true null  10.63.0.0/24 b");
  expect(await create("--config-from", "settings", "made")).toMatchObject({ code: 0 });
  expect(await inspect("made")).toBe("false bridge settings 10.63.0.0/24 b");
  const seen = await berth.dockerOK("run", "--rm", "--network", "made", "busybox", "ip", "addr", "show", "eth0");
  expect(seen).toContain("mtu 1300");
  expect(seen).toContain("inet 10.63.0.2/24");
  const refusals = [
    [["network", "rm", "settings"], 'configuration network "settings" is in use'],
    [
      ["network", "create", "--config-from", "settings", "--subnet", "10.64.0.0/24", "x4"],
      "user supplied configurations",
    ],
    [["network", "create", "--config-from", "made", "x5"], "is not a configuration network"],
    [["network", "create", "--config-only", "--internal", "x6"], "configuration network can only contain"],
    [["run", "--rm", "--network", "settings", "busybox", "true"], "configuration-only network"],
  ] as const;
  for (const [args, words] of refusals) expect((await berth.docker([...args])).stderr).toContain(words);
  await berth.kill();
  await berth.boot();
  expect(await inspect("made")).toBe("false bridge settings 10.63.0.0/24 b");
  await berth.dockerOK("network", "rm", "made", "settings");
});
