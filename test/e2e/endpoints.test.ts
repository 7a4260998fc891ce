// What an endpoint is asked to be, published ports that nobody named, and legacy links while containers come and go: seen on
// the interfaces inside, from the daemon's host, and in the hosts file.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  await berth.dockerOK("network", "create", "--subnet", "10.91.0.0/24", "--ipv6", "--subnet", "fd91::/64", "mine");
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const inspect = (name: string, format: string): Promise<string> =>
  berth.dockerOK("container", "inspect", "-f", `{{${format}}}`, name);

interface Created {
  Id: string;
  Warnings: string[];
  message?: string;
}

/** By the API: the CLI has no flags for some of it. */
async function create(config: object, version = "1.51"): Promise<{ status: number; body: Created }> {
  const reply = await berth.request("POST", `/v${version}/containers/create`, {
    body: { Image: "busybox", ...config },
  });
  return { status: reply.status, body: (await reply.json()) as Created };
}

/** What a container prints that is made of this request. */
async function output(config: object, script: string): Promise<string> {
  const { status, body } = await create({ Cmd: ["sh", "-c", script], ...config });
  expect({ status, message: body.message }).toEqual({ status: 201, message: undefined });
  const text = await berth.dockerOK("start", "-a", body.Id);
  await berth.dockerOK("rm", body.Id);
  return text;
}

const onMine = (settings: object): object => ({
  HostConfig: { NetworkMode: "mine" },
  NetworkingConfig: { EndpointsConfig: { mine: settings } },
});

describe("an endpoint", () => {
  test("has the addresses that were asked for, link-local ones beside them, and its MAC address", async () => {
    const settings = {
      IPAMConfig: {
        IPv4Address: "10.91.0.77",
        IPv6Address: "fd91::77",
        LinkLocalIPs: ["169.254.34.68", "fe80::3468"],
      },
      MacAddress: "02:42:ac:11:00:77",
    };
    const shown = await output(onMine(settings), "ip -o addr show dev eth0; cat /sys/class/net/eth0/address");
    const addresses = [...shown.matchAll(/inet6? (\S+)/g)].map(([, address]) => address);
    expect(addresses).toEqual(
      expect.arrayContaining(["10.91.0.77/24", "169.254.34.68/16", "fd91::77/64", "fe80::3468/64"]),
    );
    expect(shown.split("\n").at(-1)).toBe("02:42:ac:11:00:77");
  });

  test("answers to its aliases", async () => {
    await berth.dockerOK(
      "run",
      "-d",
      "--name",
      "web",
      "--network",
      "mine",
      "--network-alias",
      "www",
      "busybox",
      "sleep",
      "100",
    );
    const address = await inspect("web", ".NetworkSettings.Networks.mine.IPAddress");
    expect(await output(onMine({}), "nslookup www | tail -n +3")).toContain(address);
    await berth.dockerOK("rm", "-f", "web");
  });

  test("has the name that its driver option says", async () => {
    const option = { DriverOpts: { "com.docker.network.endpoint.ifname": "uplink" } };
    expect(await output(onMine(option), "ls /sys/class/net")).toBe("lo\nuplink");
  });

  test("has the default route if its gateway priority is the highest", async () => {
    await berth.dockerOK("network", "create", "--subnet", "10.92.0.0/24", "other");
    const both = (priority: number): object => ({
      HostConfig: { NetworkMode: "mine" },
      NetworkingConfig: { EndpointsConfig: { mine: {}, other: { GwPriority: priority } } },
    });
    const script = "ip -4 route show default";
    expect(await output(both(0), script)).toContain("via 10.91.0.1");
    expect(await output(both(5), script)).toContain("via 10.92.0.1");
    await berth.dockerOK("network", "rm", "other");
  });

  test("takes the address of the whole container from older clients, with a warning from 1.44 on", async () => {
    const MacAddress = "02:42:ac:11:00:09";
    const old = await create({ MacAddress, Cmd: ["cat", "/sys/class/net/eth0/address"] }, "1.43");
    expect(old.body.Warnings).toEqual([]);
    const newer = await create({
      ...onMine({}),
      MacAddress,
      Cmd: ["cat", "/sys/class/net/eth0/address"],
    });
    expect(newer.body.Warnings).toEqual([
      "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.",
    ]);
    for (const { body } of [old, newer]) {
      expect(await berth.dockerOK("start", "-a", body.Id)).toBe(MacAddress);
      await berth.dockerOK("rm", body.Id);
    }
    const refused = await create({ ...onMine({ MacAddress: "02:42:ac:11:00:08" }), MacAddress });
    expect([refused.status, refused.body.message]).toEqual([
      400,
      "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
    ]);
  });
});

test("-P publishes each exposed port, of the image and of the request, and leaves those that were chosen", async () => {
  const flags = ["--expose", "81", "--expose", "82/udp", "-p", "8088:80"];
  const serve = "httpd -p 81 -h /www; exec httpd -f -p 80 -h /www";
  await berth.dockerOK("run", "-d", "--name", "published", "-P", ...flags, "busybox", "sh", "-c", serve);
  const ports = (await berth.dockerOK("port", "published")).split("\n");
  expect(ports.filter((line) => line.startsWith("80/tcp"))).toContain("80/tcp -> 0.0.0.0:8088");
  expect(ports.some((line) => /^82\/udp -> 0\.0\.0\.0:\d+$/.test(line))).toBe(true);
  const chosen = /^81\/tcp -> 0\.0\.0\.0:(\d+)$/m.exec(ports.join("\n"))?.[1];
  for (const port of ["8088", chosen]) {
    const url = `http://127.0.0.1:${port}/`;
    await until(
      `${url} answers`,
      async () => (await berth.inside(["curl", "-s", url])).stdout === "served by busybox\n",
    );
  }
  await berth.dockerOK("rm", "-f", "published");
});

describe("a legacy link", () => {
  const START = ["run", "-d", "--name"];
  const SLEEP = ["busybox", "sleep", "1000"];
  const hosts = async (): Promise<string[]> =>
    (await berth.dockerOK("exec", "app", "cat", "/etc/hosts"))
      .split("\n")
      .filter((line) => /\t(data|own)\b/.test(line));
  const addressOf = (name: string): Promise<string> => inspect(name, ".NetworkSettings.Networks.bridge.IPAddress");

  test("follows the other container to its next address, in the file as it is", async () => {
    await berth.dockerOK(...START, "db", "-h", "dbhost", ...SLEEP);
    await berth.dockerOK(...START, "app", "--link", "db:data", ...SLEEP);
    const before = await addressOf("db");
    expect(await hosts()).toEqual([`${before}\tdata dbhost db`]);
    await berth.dockerOK("exec", "app", "sh", "-c", "printf '9.9.9.9\\town\\n' >> /etc/hosts");
    await berth.dockerOK("stop", "-t", "0", "db");
    await berth.dockerOK("start", "db");
    const after = await addressOf("db");
    expect(after).not.toBe(before);
    expect(await hosts()).toEqual([`${after}\tdata dbhost db`, "9.9.9.9\town"]);
    expect(await berth.dockerOK("exec", "app", "ping", "-c1", "-W5", "data")).toContain(after);
  });

  test("is taken away by rm --link, and the containers stay", async () => {
    await berth.dockerOK("rm", "--link", "/app/data");
    expect(await hosts()).toEqual(["9.9.9.9\town"]);
    expect(await inspect("app", ".HostConfig.Links")).toBe("[]");
    expect(await berth.dockerOK("ps", "--format", "{{.Names}}")).toBe("app\ndb");
    const again = await berth.request("DELETE", "/containers/app/data?link=1");
    expect(again.status).toBe(404);
    const own = await berth.request("DELETE", "/containers/app?link=1");
    expect([own.status, await own.json()]).toEqual([
      500,
      { message: "Conflict, cannot remove the default link name of the container" },
    ]);
    await berth.dockerOK("restart", "-t", "0", "app");
    expect(await hosts()).toEqual([]);
    await berth.dockerOK("rm", "-f", "app", "db");
  });
});
