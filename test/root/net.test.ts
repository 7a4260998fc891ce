// The networks of the engine on the real kernel, proved with traffic. See test/support/network_room.ts.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Fd } from "../../runtime/sys/fd.ts";
import { NO_SETTINGS } from "../../src/engine/networks/endpoint.ts";
import type { Joined } from "../../src/engine/networks/networking.ts";
import { ask, askUDP, NetworkRoom, openOutside, refusal, type RoomContainer, shell } from "../support/network_room.ts";
import { until } from "../support/daemon.ts";
import { inOwnNetns } from "../support/own_netns.ts";

inOwnNetns(import.meta.path, () => {
  let room: NetworkRoom;
  let outside: Fd;
  beforeAll(async () => {
    outside = await openOutside();
    room = await NetworkRoom.open();
  });
  const published = (bindings: Record<string, object[]>, mode = "default") => ({
    HostConfig: { NetworkMode: mode, PortBindings: bindings },
  });

  describe("a published port", () => {
    let web: RoomContainer, other: RoomContainer;
    beforeAll(async () => {
      web = await room.run(
        "web",
        published({
          "80/tcp": [
            { HostIp: "", HostPort: "8080" },
            { HostIp: "127.0.0.1", HostPort: "8081" },
          ],
          "53/udp": [{ HostIp: "", HostPort: "5353" }],
        }),
      );
      other = await room.run("other");
      await web.serve(80);
      web.serveUDP(53);
    });
    afterAll(async () => {
      await web.stop();
      await other.stop();
    });

    test("is bound for both families, and is told so", () => {
      expect(web.joined.publishedPorts).toEqual([
        { port: 80, protocol: "tcp", hostIP: "0.0.0.0", hostPort: 8080 },
        { port: 80, protocol: "tcp", hostIP: "::", hostPort: 8080 },
        { port: 80, protocol: "tcp", hostIP: "127.0.0.1", hostPort: 8081 },
        { port: 53, protocol: "udp", hostIP: "0.0.0.0", hostPort: 5353 },
        { port: 53, protocol: "udp", hostIP: "::", hostPort: 5353 },
      ]);
      expect(web.joined.endpoints[0]).toMatchObject({
        interfaceName: "eth0",
        ipAddress: "172.17.0.2",
        ipPrefixLength: 16,
        gateway: "172.17.0.1",
      });
    });

    test("answers from outside, and the container sees who asks", async () => {
      expect(await ask(outside, "192.0.2.1", 8080)).toBe("web answers 192.0.2.9");
    });

    test("answers the host by its own address, by 127.0.0.1 and by ::1", async () => {
      expect(await ask(null, "192.0.2.1", 8080)).toBe("web answers 192.0.2.1");
      expect(await ask(null, "127.0.0.1", 8080)).toBe("web answers 172.17.0.1");
      expect(await ask(null, "127.0.0.1", 8081)).toBe("web answers 172.17.0.1");
      expect(await ask(null, "::1", 8080)).toBe("web answers 172.17.0.1");
    });

    test("answers a container by the host's address: its own, and one beside it", async () => {
      expect(await ask(web.netns, "192.0.2.1", 8080)).toBe("web answers 172.17.0.1");
      expect(await ask(other.netns, "172.17.0.1", 8080)).toBe("web answers 172.17.0.1");
    });

    test("carries datagrams, from outside, from loopback and by IPv6", async () => {
      // The program that answers needs a moment to be there.
      let first = "";
      for (let attempt = 0; attempt < 20 && first === ""; attempt++)
        first = await askUDP(outside, "192.0.2.1", 5353, 0.3);
      expect(first).toBe("web answers 192.0.2.9");
      expect(await askUDP(null, "127.0.0.1", 5353)).toBe("web answers 172.17.0.1");
      expect(await askUDP(null, "::1", 5353)).toBe("web answers 172.17.0.1");
    });

    test("leaves the container's own address and what is bound to loopback out of reach from outside", async () => {
      expect(await ask(outside, "172.17.0.2", 80, 0.4)).toBe("");
      expect(await ask(outside, "192.0.2.1", 8081, 0.4)).toBe("");
      await shell(
        outside,
        [
          "ip route add local 127.0.0.0/8 dev lo table 1; ip addr del 127.0.0.1/8 dev lo",
          "ip route replace 127.0.0.1/32 via 192.0.2.1; sysctl -qw net.ipv4.conf.eth0.route_localnet=1",
        ].join("; "),
      );
      expect(await ask(outside, "127.0.0.1", 8081, 0.4)).toBe("");
      await shell(
        other.netns,
        "sysctl -qw net.ipv4.conf.eth0.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; ip route replace 127.0.0.1/32 via 172.17.0.1",
      );
      expect(await ask(other.netns, "127.0.0.1", 8081, 0.4)).toBe("");
      // Nor does route_localnet on the bridge open what else listens on the host's loopback.
      using secret = Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        socket: { open: (s) => void s.end("secret"), data() {} },
      });
      expect(await ask(other.netns, "127.0.0.1", secret.port, 0.4)).toBe("");
    });

    test("is refused to a second container with Docker's words", async () => {
      const second = room.record("second", published({ "80/tcp": [{ HostIp: "", HostPort: "8080" }] }));
      expect(await refusal(room.service.networking.join(second, null, room.root))).toMatch(
        new RegExp(
          "^failed to set up container networking: driver failed programming external connectivity on endpoint second " +
            "\\([0-9a-f]{64}\\): Bind for 0\\.0\\.0\\.0:8080 failed: port is already allocated$",
        ),
      );
    });

    test("is refused when another program has it", async () => {
      using listener = Bun.listen({ hostname: "0.0.0.0", port: 0, socket: { data() {} } });
      const second = room.record("second", published({ "80/tcp": [{ HostIp: "", HostPort: String(listener.port) }] }));
      expect(await refusal(room.service.networking.join(second, null, room.root))).toMatch(
        `failed to bind host port 0.0.0.0:${listener.port}/tcp: address already in use`,
      );
    });
  });

  test("an ephemeral port has the same number for both families, from the kernel's range", async () => {
    const container = await room.run("ephemeral", published({ "80/tcp": [{ HostIp: "", HostPort: "" }] }));
    const [v4, v6] = container.joined.publishedPorts;
    expect(v4?.hostPort).toBeGreaterThanOrEqual(32_768);
    expect(v6).toMatchObject({ hostIP: "::", hostPort: v4?.hostPort });
    await container.stop();
  });

  test("a container reaches its gateway and, as the host, what lies outside", async () => {
    const container = await room.run("client");
    expect(await shell(container.netns, "ip -4 -br addr show eth0 | tr -s ' '")).toMatch(
      /^eth0@if\d+ UP 172\.17\.0\.\d+\/16$/,
    );
    const child = Bun.spawn(
      [
        "nsenter",
        `--net=/proc/${process.pid}/fd/${outside.number}`,
        "python3",
        "-c",
        `import socket
s = socket.create_server(("192.0.2.9", 9000)); print("ready", flush=True)
c, peer = s.accept(); c.sendall(("you are " + peer[0]).encode()); c.close()`,
      ],
      { stdout: "pipe" },
    );
    await child.stdout.getReader().read();
    expect(await ask(container.netns, "192.0.2.9", 9000)).toBe("you are 192.0.2.1");
    await child.exited;
    expect(
      await shell(
        container.netns,
        "cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6 /proc/sys/net/ipv6/conf/lo/disable_ipv6",
      ),
    ).toBe("1\n0");
    await container.stop();
  });

  test("containers on one bridge reach each other; those on two do not, but for published ports", async () => {
    await room.createNetwork({ Name: "n1" });
    const near = await room.run("near");
    const far = await room.run("far", published({ "80/tcp": [{ HostIp: "", HostPort: "8090" }] }, "n1"));
    const friend = await room.run("friend", published({}, "n1"));
    await far.serve(80);
    const address = far.joined.endpoints[0]?.ipAddress ?? "";
    expect(address).toBe("172.18.0.2");
    expect(await ask(friend.netns, address, 80)).toBe("far answers 172.18.0.3");
    expect(await ask(near.netns, address, 80, 0.4)).toBe("");
    expect(await ask(near.netns, "172.17.0.1", 8090)).toMatch(/^far answers /);
    expect(await refusal(room.service.networks.remove("n1"))).toMatch(
      /has active endpoints \(name:"far" id:"[0-9a-f]{12}", name:"friend"/,
    );
    for (const container of [near, far, friend]) await container.stop();
    await room.service.networks.remove("n1");
    expect(await shell(null, "ip -br link show type bridge")).toMatch(/^docker0 .*$/);
  });

  test("containers on a bridge without ICC do not reach each other, but the host", async () => {
    await room.createNetwork({ Name: "quiet", Options: { "com.docker.network.bridge.enable_icc": "false" } });
    const a = await room.run("a", published({}, "quiet")),
      b = await room.run("b", published({}, "quiet"));
    await b.serve(80);
    expect(await ask(a.netns, b.joined.endpoints[0]?.ipAddress ?? "", 80, 0.4)).toBe("");
    expect(await ask(null, b.joined.endpoints[0]?.ipAddress ?? "", 80)).toMatch(/^b answers/);
    await a.stop();
    await b.stop();
    await room.service.networks.remove("quiet");
  });

  test("an internal network has no way out and none in", async () => {
    await room.createNetwork({ Name: "inside", Internal: true });
    const container = await room.run("shut", published({ "80/tcp": [{ HostIp: "", HostPort: "8095" }] }, "inside"));
    expect(container.joined.endpoints[0]?.gateway).toBe("");
    expect(container.joined.publishedPorts).toEqual([]);
    expect(await shell(container.netns, "ip route show default")).toBe("");
    await shell(container.netns, "ip route add default via $(ip -4 route | sed -n 's/\\.0\\/.*/.1/p')");
    expect(
      await shell(
        container.netns,
        "ping -c 1 -W 0.3 192.0.2.9 >/dev/null 2>&1 && echo reached; exec 3<>/dev/tcp/192.0.2.9/22 && echo reached",
        0.4,
      ),
    ).toBe("");
    await container.stop();
    await room.service.networks.remove("inside");
  });

  test("a network with IPv6 gives both addresses, and both work", async () => {
    await room.createNetwork({ Name: "dual", EnableIPv6: true });
    const container = await room.run("six", published({}, "dual"));
    const [endpoint] = container.joined.endpoints;
    expect(endpoint?.ip6Address).toMatch(/^fd.*::2$/);
    expect(endpoint?.gateway6).toMatch(/^fd.*::1$/);
    expect(await shell(container.netns, "ip -6 route show default")).toStartWith(
      `default via ${endpoint?.gateway6} dev eth0`,
    );
    expect(
      await shell(
        null,
        `python3 -c 'import socket; s = socket.create_server(("${endpoint?.gateway6}", 9100), family=socket.AF_INET6); s.settimeout(0.1)' && echo bound`,
      ),
    ).toBe("bound");
    await container.stop();
    await room.service.networks.remove("dual");
  });

  test("connecting and disconnecting while it runs changes addresses, routes, files and ports", async () => {
    await room.createNetwork({ Name: "extra", IPAM: { Config: [{ Subnet: "10.55.0.0/24" }] } });
    const container = await room.run("moving", published({ "80/tcp": [{ HostIp: "", HostPort: "8099" }] }));
    await container.serve(80);
    const settings = {
      IPAMConfig: { IPv4Address: "10.55.0.7", IPv6Address: "", LinkLocalIPs: [] },
      Links: [],
      MacAddress: "",
      Aliases: ["m"],
      DriverOpts: {},
      GwPriority: 0,
    };
    await room.service.networks.connect("extra", "moving", settings);
    expect(await shell(container.netns, "ip -4 -br addr show eth1 | tr -s ' '")).toContain("10.55.0.7/24");
    expect(await refusal(room.service.networks.connect("extra", "moving", settings))).toMatch(
      "endpoint with name moving already exists in network extra",
    );
    const hosts = () => readFileSync(`${room.root}/${container.record.id}/hosts`, "utf8");
    expect(hosts()).toContain("10.55.0.7\tmoving");
    await room.service.networks.disconnect("bridge", "moving", false);
    expect(await shell(container.netns, "ip -4 route show default")).toBe("default via 10.55.0.1 dev eth1");
    expect(hosts()).not.toContain("172.17.");
    expect(await ask(outside, "192.0.2.1", 8099)).toBe("moving answers 192.0.2.9");
    const record = room.records.get(container.record.id);
    expect(record?.endpoints.map(({ networkName }) => networkName)).toEqual(["extra"]);
    await container.stop();
    await room.service.networks.remove("extra");
  });

  test("a connection that fails leaves the container's other interfaces alone, and takes no address", async () => {
    const id = await room.createNetwork({ Name: "second", IPAM: { Config: [{ Subnet: "10.77.0.0/24" }] } });
    const one = await room.run("one");
    const settings = { ...NO_SETTINGS, DriverOpts: { "com.docker.network.endpoint.ifname": "eth0" } };
    expect(await refusal(room.service.networks.connect(id, one.record.id, settings))).toContain(
      'interface name "eth0" is in use',
    );
    // One that the container has made itself, behind our back.
    await shell(one.netns, "ip link add eth1 type bridge");
    expect(await refusal(room.service.networks.connect(id, one.record.id, NO_SETTINGS))).toContain("EEXIST");
    expect(await shell(one.netns, "ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d '\\n'")).toBe("lo eth0 eth1");
    await shell(one.netns, "ip link delete eth1");
    const given = { ...NO_SETTINGS, IPAMConfig: { IPv4Address: "10.77.0.2", IPv6Address: "", LinkLocalIPs: [] } };
    await room.service.networks.connect(id, one.record.id, given);
    await one.stop();
    await room.service.networks.remove(id);
  });

  test("a network is joined or removed, never both, whoever comes first", async () => {
    const one = await room.run("one");
    const directory = mkdtempSync(join(tmpdir(), "berth-net-"));
    for (let turns = 0; turns < 6; turns++) {
      const id = await room.createNetwork({ Name: `brief${turns}` });
      const record = room.record("late", { HostConfig: { NetworkMode: `brief${turns}` } });
      const succeeds = (work: Promise<unknown>): Promise<boolean> => work.then(Boolean, () => false);
      const removal = succeeds(room.service.networks.remove(id).then(() => true));
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      let joined: Joined | null = null;
      const join = succeeds(room.service.networking.join(record, null, directory).then((made) => (joined = made)));
      const connect = succeeds(room.service.networks.connect(id, one.record.id, null).then(() => true));
      const [isRemoved, isJoined, isConnected] = await Promise.all([removal, join, connect]);
      expect(isRemoved).toBe(!isJoined && !isConnected);
      if (isConnected) await room.service.networks.disconnect(id, one.record.id, false);
      await (joined as Joined | null)?.[Symbol.asyncDispose]();
      if (!isRemoved) await room.service.networks.remove(id);
    }
    rmSync(directory, { recursive: true });
    await one.stop();
  });

  test("the host's own namespace is no sandbox, even where a process with a container's number lives in it", async () => {
    const id = await room.createNetwork({ Name: "third" });
    const one = await room.run("one");
    const { state } = one.record;
    if (state.status !== "running") throw new Error("not running");
    const wrong = { ...one.record, state: { ...state, task: { ...state.task, pid: process.pid } } };
    room.records.set(wrong.id, wrong);
    const before = await shell(null, "ip -o link | wc -l");
    expect(await refusal(room.service.networks.connect(id, one.record.id, null))).toContain("it is the host's");
    expect(await shell(null, "ip -o link | wc -l")).toBe(before);
    await one.stop();
    await room.service.networks.remove(id);
  });

  test("a static address is taken, refused to a second container, and free again afterwards", async () => {
    await room.createNetwork({ Name: "static", IPAM: { Config: [{ Subnet: "10.56.0.0/24" }] } });
    const body = {
      HostConfig: { NetworkMode: "static" },
      NetworkingConfig: {
        EndpointsConfig: { static: { IPAMConfig: { IPv4Address: "10.56.0.9" }, MacAddress: "02:42:AC:11:00:09" } },
      },
    };
    const first = await room.run("first", body);
    expect(await shell(first.netns, "ip -br link show eth0")).toContain("02:42:ac:11:00:09");
    expect(await refusal(room.run("second", body))).toMatch(
      "failed to set up container networking: Address already in use",
    );
    await first.stop();
    const again = await room.run("again", body);
    expect(again.joined.endpoints[0]?.ipAddress).toBe("10.56.0.9");
    await again.stop();
    await room.service.networks.remove("static");
  });

  test("a new daemon takes up addresses and ports of what still runs", async () => {
    const container = await room.run("kept", published({ "80/tcp": [{ HostIp: "", HostPort: "8077" }] }));
    await container.serve(80);
    await room.abandon();
    expect(await ask(outside, "192.0.2.1", 8077)).toBe("kept answers 192.0.2.9");
    await room.start();
    expect(await ask(outside, "192.0.2.1", 8077)).toBe("kept answers 192.0.2.9");
    expect(await ask(null, "::1", 8077)).toBe("kept answers 172.17.0.1");
    const next = await room.run("next", {});
    expect(next.joined.endpoints[0]?.ipAddress).not.toBe(container.joined.endpoints[0]?.ipAddress);
    const thief = room.record("thief", published({ "80/tcp": [{ HostIp: "", HostPort: "8077" }] }));
    expect(await refusal(room.service.networking.join(thief, null, room.root))).toMatch("port is already allocated");
    await next.stop();
    await container.stop();
  });

  test("the administrator's chain is asked first, and is left alone", async () => {
    const container = await room.run("watched", published({ "80/tcp": [{ HostIp: "", HostPort: "8066" }] }));
    await container.serve(80);
    await shell(null, "nft add rule inet berth_user forward ip saddr 192.0.2.9 drop");
    expect(await ask(outside, "192.0.2.1", 8066, 0.4)).toBe("");
    const another = await room.run("another", published({ "80/tcp": [{ HostIp: "", HostPort: "8067" }] }));
    expect(await shell(null, "nft list table inet berth_user")).toContain("ip saddr 192.0.2.9 drop");
    await shell(null, "nft flush table inet berth_user");
    expect(await ask(outside, "192.0.2.1", 8066)).toBe("watched answers 192.0.2.9");
    await another.stop();
    await container.stop();
  });

  test("rules that another program flushes are put back, the administrator's table too", async () => {
    const container = await room.run("flushed", published({ "80/tcp": [{ HostIp: "", HostPort: "8068" }] }));
    await container.serve(80);
    for (const flush of [
      "nft flush ruleset",
      "nft delete chain inet berth published 2>&1 || nft flush table inet berth",
    ]) {
      await shell(null, flush);
      await until("the port answers again", async () => (await ask(outside, "192.0.2.1", 8068, 0.3)) !== "");
    }
    expect(await shell(null, "nft list tables")).toContain("table inet berth_user");
    const warned = room.lines.filter((line) => line.includes("another program has deleted"));
    expect(warned.length).toBeGreaterThanOrEqual(2);
    room.lines.splice(0, room.lines.length, ...room.lines.filter((line) => !warned.includes(line)));
    await container.stop();
  });

  test("a published UDP port leaves no flows behind for the next container with its address", async () => {
    const flows = (): string =>
      readFileSync("/proc/net/nf_conntrack", "utf8")
        .split("\n")
        .filter((line) => line.includes("udp") && line.includes("dport=5354"))
        .join("\n");
    const container = await room.run("flow", published({ "53/udp": [{ HostIp: "", HostPort: "5354" }] }));
    container.serveUDP(53);
    await until("it answers", async () => (await askUDP(outside, "192.0.2.1", 5354, 0.3)) !== "");
    expect(flows()).not.toBe("");
    await container.stop();
    expect(flows()).toBe("");
  });

  test("a second daemon has a bridge, a table and forwarding of its own, and takes just those away", async () => {
    await shell(null, "sysctl -qw net.ipv4.ip_forward=0");
    const second = await NetworkRoom.open(["--bridge", "br7", "--bip", "10.77.0.1/24"]);
    expect(await shell(null, "cat /proc/sys/net/ipv4/ip_forward")).toBe("1");
    expect(await shell(null, "ip -4 -br addr show br7 | tr -s ' '")).toMatch(/^br7 \w+ 10\.77\.0\.1\/24/);
    expect(await shell(null, "nft list tables | sort | tr '\\n' ' '")).toBe(
      "table inet berth table inet berth_br7 table inet berth_br7_user table inet berth_user",
    );
    await second[Symbol.asyncDispose]();
    expect(await shell(null, "cat /proc/sys/net/ipv4/ip_forward")).toBe("0");
    expect(await shell(null, "ip link show br7; nft list tables | grep br7")).toBe("");
    await shell(null, "sysctl -qw net.ipv4.ip_forward=1");
  });

  test("without a packet filter published ports go by proxy, and an adopted bridge stays", async () => {
    await shell(null, "ip link add br8 type bridge; ip addr add 10.78.0.1/24 dev br8; ip link set br8 up");
    const bare = await NetworkRoom.open(["--bridge", "br8", "--iptables=false"]);
    const container = await bare.run("plain", published({ "80/tcp": [{ HostIp: "", HostPort: "8055" }] }));
    await container.serve(80);
    expect(container.joined.endpoints[0]).toMatchObject({ ipAddress: "10.78.0.2", gateway: "10.78.0.1" });
    expect(await ask(null, "127.0.0.1", 8055)).toBe("plain answers 10.78.0.1");
    expect(await ask(outside, "192.0.2.1", 8055)).toBe("plain answers 10.78.0.1");
    expect(await shell(null, "nft list tables | grep br8")).toBe("");
    await container.stop();
    await bare[Symbol.asyncDispose]();
    expect(await shell(null, "ip -br link show br8")).toStartWith("br8");
    await shell(null, "ip link del br8");
  });

  test("events tell of every connection and its end", () => {
    const connects = room.events.filter(({ action }) => action === "connect");
    const disconnects = room.events.filter(({ action }) => action === "disconnect");
    expect(connects.length).toBeGreaterThan(0);
    expect(disconnects.length).toBe(connects.length);
    expect(connects[0]?.attributes).toMatchObject({ name: "bridge", type: "bridge" });
  });

  test("nothing is left when the daemon takes everything away", async () => {
    await room[Symbol.asyncDispose]();
    expect(await shell(null, "nft list ruleset")).toBe("");
    // The interfaces of the last containers go with their namespaces, a moment after.
    let links = "";
    for (let attempt = 0; attempt < 50; attempt++) {
      links = await shell(null, "ip -br link | awk '{print $1}' | sort | tr '\\n' ' '");
      if (!links.includes("veth")) break;
      await Bun.sleep(20);
    }
    expect(links).toMatch(/^ext@if\d+ lo$/);
    expect(room.lines.filter((line) => /level=(warn|error)/.test(line))).toEqual([]);
    outside.close();
  });
});
