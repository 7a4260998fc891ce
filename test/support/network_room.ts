// The networks of the engine on the real kernel, with small stand-ins for containers: a network namespace, a process that
// sleeps in it, and servers whose sockets belong to it. Only for tests inside a network namespace of their own.
import { mkdirSync, mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createDNSPlane, openHostNetwork, parseAddress } from "../../runtime/mod.ts";
import { addressBytes } from "../../runtime/net/address.ts";
import { boundSocketIn, createNetns } from "../../runtime/program/batch.ts";
import type { Fd } from "../../runtime/sys/fd.ts";
import { AF, internetAddress, SOCK } from "../../runtime/sys/socket.ts";
import { parseCommandLine } from "../../src/config.ts";
import { networkStore } from "../../src/db/networks.ts";
import { openDb } from "../../src/db/open.ts";
import type { ContainerRecord } from "../../src/engine/containers/container.ts";
import { createEvents } from "../../src/engine/events.ts";
import { newContainerID } from "../../src/engine/ids.ts";
import type { EngineEvent } from "../../src/engine/mod.ts";
import type { NetworkContainers } from "../../src/engine/networks/connect.ts";
import type { Joined } from "../../src/engine/networks/networking.ts";
import { createNetworks, type NetworksService } from "../../src/engine/networks/networks.ts";
import { notFound } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { ContainerCreate } from "../../src/schema/container.ts";
import { NetworkCreate } from "../../src/schema/network.ts";
import * as v from "valibot";
import { until } from "./daemon.ts";

const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));

export interface RoomContainer {
  record: ContainerRecord;
  joined: Joined;
  netns: Fd;
  pid: number;
  /** Answers every connection to a port inside with one line: its own name, and who asks. */
  serve(port: number): Promise<void>;
  serveUDP(port: number): void;
  stop(): Promise<void>;
}

/** One daemon's networks over a data root that a later one may take up. */
export class NetworkRoom implements AsyncDisposable {
  readonly events: EngineEvent[] = [];
  readonly records = new Map<string, ContainerRecord>();
  readonly lines: string[] = [];
  #service: NetworksService | null = null;
  #close: () => void = () => {};

  private constructor(
    readonly root: string,
    readonly args: string[],
  ) {}

  static async open(args: string[] = []): Promise<NetworkRoom> {
    const root = mkdtempSync(join(tmpdir(), "berth-net-"));
    const room = new NetworkRoom(root, args);
    await room.start();
    return room;
  }

  get service(): NetworksService {
    if (this.#service === null) throw new Error("the room is closed");
    return this.#service;
  }

  async start(): Promise<void> {
    const { config } = parseCommandLine({ argv0: "berth", args: this.args, env: {}, readFile: () => null });
    const opened = await openDb(`file:${this.root}/berth.db`);
    const host = openHostNetwork();
    const dns = createDNSPlane({
      random: randomBytes,
      onError: (error) => this.lines.push(`level=error msg="resolver" error=${String(error)}`),
    });
    const now = () => new Date();
    const abort = new AbortController();
    const events = createEvents({ now });
    const subscription = events.subscribe({ since: null, until: null, filters: new Map() }, abort.signal);
    void (async () => {
      for await (const event of subscription) this.events.push(event);
    })();
    this.#service = createNetworks({
      store: networkStore(opened.db),
      host,
      dns,
      events,
      config: () => config,
      containers: () => this.#containers(),
      filesDir: (id) => join(this.root, id),
      linkHosts: () => [],
      hostFiles: { hosts: "/etc/hosts", resolvConf: "/etc/resolv.conf", resolvedConf: "/nonexistent" },
      hasIPv6: true,
      random: randomBytes,
      now,
      log: createLog(
        (line) => this.lines.push(line),
        () => "debug",
        now,
      ),
    });
    this.#close = () => {
      abort.abort();
      dns.close();
      host[Symbol.dispose]();
      opened[Symbol.dispose]();
    };
    const running = [...this.records.values()].filter(({ state }) => state.status === "running");
    await this.#service.start(running);
  }

  /** What a killed daemon leaves: its sockets are gone, everything else stays. */
  async abandon(): Promise<void> {
    await this.service.stop(false);
    this.#close();
    this.#service = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.service.stop(true);
    this.#close();
    rmSync(this.root, { recursive: true, force: true });
  }

  async createNetwork(body: Record<string, unknown>): Promise<string> {
    return (await this.service.networks.create(v.parse(NetworkCreate, body))).id;
  }

  /** A record as `create` would make it. */
  record(name: string, body: Record<string, unknown>): ContainerRecord {
    const { HostConfig, NetworkingConfig, ...config } = v.parse(ContainerCreate, { Hostname: name, ...body });
    const hostConfig = v.parse(ContainerCreate.entries.HostConfig, HostConfig ?? {});
    const networking = v.parse(ContainerCreate.entries.NetworkingConfig, NetworkingConfig ?? {});
    if (hostConfig === undefined || hostConfig === null || networking === undefined || networking === null) {
      throw new Error("no HostConfig");
    }
    return {
      id: newContainerID(randomBytes),
      name,
      createdAt: new Date().toISOString(),
      image: "busybox",
      imageID: "",
      platform: "linux",
      path: "",
      args: [],
      config,
      hostConfig,
      state: { status: "created" },
      mounts: [],
      endpoints: this.service.networking.plan(hostConfig, config, networking),
      publishedPorts: [],
      restartCount: 0,
      hasBeenManuallyStopped: false,
      hasBeenStartedBefore: false,
    };
  }

  async run(name: string, body: Record<string, unknown> = {}): Promise<RoomContainer> {
    const planned = this.record(name, body);
    const directory = join(this.root, planned.id);
    mkdirSync(directory);
    const joined = await this.service.networking.join(planned, null, directory);
    if (joined.netns === null) throw new Error("in the host's network");
    const netns = joined.netns.duplicate();
    const sleeper = Bun.spawn(["nsenter", `--net=/proc/${process.pid}/fd/${netns.number}`, "sleep", "600"]);
    // Where the network's service looks for the namespace: not before nsenter has entered it.
    const own = readlinkSync(`/proc/${process.pid}/fd/${netns.number}`);
    await until("the sandbox has its process", () => readlinkSync(`/proc/${sleeper.pid}/ns/net`) === own);
    joined.keep();
    await joined[Symbol.asyncDispose]();
    const record: ContainerRecord = {
      ...planned,
      endpoints: joined.endpoints,
      publishedPorts: joined.publishedPorts,
      state: {
        status: "running",
        startedAt: planned.createdAt,
        stopRequested: false,
        task: {
          id: planned.id,
          pid: sleeper.pid,
          shimPid: 0,
          shimStartTime: "",
          hasTerminal: false,
          hasStdin: false,
          exitFile: "",
          cgroupPath: "",
        },
      },
    };
    this.records.set(record.id, record);
    const closers: (() => void)[] = [];
    return {
      record,
      joined,
      netns,
      pid: sleeper.pid,
      serve: async (port) => void closers.push(await answer(netns, name, port)),
      serveUDP: (port) => void closers.push(answerUDP(netns, name, port)),
      stop: async () => {
        for (const close of closers) close();
        sleeper.kill("SIGKILL");
        await sleeper.exited;
        netns.close();
        this.records.delete(record.id);
        await this.service.networking.leave(record);
      },
    };
  }

  #containers(): NetworkContainers {
    const get = (nameOrID: string): ContainerRecord => {
      const found = [...this.records.values()].find(({ id, name }) => id === nameOrID || name === nameOrID);
      if (found === undefined) throw notFound(`No such container: ${nameOrID}`);
      return found;
    };
    return {
      get,
      all: () => this.records.values(),
      change: async (nameOrID, work) => {
        const record = get(nameOrID);
        this.records.set(record.id, { ...record, ...(await work(record)) });
      },
    };
  }
}

async function answer(netns: Fd, name: string, port: number): Promise<() => void> {
  const any = parseAddress("0.0.0.0");
  if (any === null) throw new Error("no address");
  const address = internetAddress(addressBytes(any), port);
  const socket = boundSocketIn(netns, {
    family: AF.INET,
    type: SOCK.STREAM | SOCK.NONBLOCK,
    protocol: 0,
    address,
    backlog: 16,
  });
  const server = createServer((client) => {
    client.on("error", () => {});
    client.end(`${name} answers ${client.remoteAddress}\n`);
  });
  await new Promise<void>((resolve) => server.listen({ fd: socket.release() }, resolve));
  return () => server.close();
}

/** By a program: a datagram socket of another namespace is more than dgram can be given. */
function answerUDP(netns: Fd, name: string, port: number): () => void {
  const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", ${port}))
while True:
    data, peer = s.recvfrom(2048); s.sendto(("${name} answers " + peer[0] + "\\n").encode(), peer)`;
  const child = Bun.spawn(["nsenter", `--net=/proc/${process.pid}/fd/${netns.number}`, "python3", "-c", script]);
  return () => child.kill("SIGKILL");
}

/** What a TCP client in a namespace (null: the host's) hears before the connection ends; "" when it hears nothing in time. */
export async function ask(from: Fd | null, host: string, port: number, timeoutSec = 2): Promise<string> {
  return await shell(from, `exec 3<>/dev/tcp/${host}/${port} && cat <&3`, timeoutSec);
}

export async function askUDP(from: Fd | null, host: string, port: number, timeoutSec = 2): Promise<string> {
  return await shell(from, `exec 3<>/dev/udp/${host}/${port} && echo hello >&3 && head -n 1 <&3`, timeoutSec);
}

export async function shell(from: Fd | null, script: string, timeoutSec = 5): Promise<string> {
  const enter = from === null ? [] : ["nsenter", `--net=/proc/${process.pid}/fd/${from.number}`];
  const child = Bun.spawn([...enter, "timeout", String(timeoutSec), "bash", "-c", script], {
    stdout: "pipe",
    stderr: "ignore",
  });
  const text = await new Response(child.stdout).text();
  await child.exited;
  return text.trim();
}

/** A machine on the host's other side: 192.0.2.9 beyond the host's 192.0.2.1, with a route to whatever the host has. */
export async function openOutside(): Promise<Fd> {
  const outside = createNetns();
  const target = `/proc/${process.pid}/fd/${outside.number}`;
  await shell(
    null,
    `ip link set lo up; ip link add ext type veth peer name eth0 netns ${target}; ip addr add 192.0.2.1/24 dev ext; ip link set ext up`,
  );
  await shell(
    outside,
    "ip link set lo up; ip addr add 192.0.2.9/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.1",
  );
  return outside;
}

/** What refused work says; work that is not refused fails the test. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const outcome = await work.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(outcome instanceof Error)) throw new Error("it was not refused");
  return outcome.message;
}
