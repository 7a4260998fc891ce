// Containers and exec sessions over fakes: a runtime without Linux, networks and snapshots that write down what is asked
// of them, a clock that is turned by hand, a real database in memory. For unit tests of the engine.
import { createLogs } from "../../runtime/log/mod.ts";
import { CAPABILITIES, type ExitReport, type Snapshotter, type Stdio, type StdioPlane } from "../../runtime/mod.ts";
import type { Config } from "../../src/config.ts";
import { type ContainerStore, containerStore } from "../../src/db/containers.ts";
import { type OpenedDb, openDb } from "../../src/db/open.ts";
import type { ContainersDeps, Clock } from "../../src/engine/containers/deps.ts";
import type { ContainerRecord } from "../../src/engine/containers/container.ts";
import { createCdiRegistry } from "../../src/engine/cdi/registry.ts";
import { createMachine } from "../../src/engine/containers/machine.ts";
import { createRegistry, type Registry } from "../../src/engine/containers/registry.ts";
import { type ContainerService, createContainers } from "../../src/engine/containers/service.ts";
import { createEvents } from "../../src/engine/events.ts";
import { createExecSessions, type ExecService } from "../../src/engine/exec.ts";
import type { Events, ImageRecord } from "../../src/engine/mod.ts";
import type { ContainerNetworking } from "../../src/engine/networks/networking.ts";
import { notFound } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { ContainerCreate } from "../../src/schema/container.ts";
import { FakeRuntime } from "./fake_runtime.ts";
import * as v from "valibot";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";

/** Time that stands still until a test turns it. */
class HandClock implements Clock {
  #nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);
  readonly #due: { atMs: number; work: () => void }[] = [];

  now(): Date {
    return new Date(this.#nowMs);
  }

  nowText(): string {
    return this.now().toISOString();
  }

  after(delayMs: number, work: () => void): () => void {
    const entry = { atMs: this.#nowMs + delayMs, work };
    this.#due.push(entry);
    return () => {
      const at = this.#due.indexOf(entry);
      if (at >= 0) this.#due.splice(at, 1);
    };
  }

  /** Delays of what waits, the soonest first. */
  get pending(): number[] {
    return this.#due.map(({ atMs }) => atMs - this.#nowMs).sort((a, b) => a - b);
  }

  advance(byMs: number): void {
    this.#nowMs += byMs;
    for (const entry of this.#due.filter(({ atMs }) => atMs <= this.#nowMs)) {
      this.#due.splice(this.#due.indexOf(entry), 1);
      entry.work();
    }
  }
}

/** Streams of a process that writes nothing: over when the process is, unless a test holds them back. */
class FakeStdio implements Stdio {
  readonly isTTY: boolean;
  readonly logged: Promise<void>;
  readonly drained: Promise<void>;
  readonly clients: Parameters<Stdio["attach"]>[0][] = [];
  isClosed = false;
  /** Set before the exit: the streams end only when it is called. */
  release: () => void = () => {};
  holds = false;
  #isOver = false;

  constructor(exited: Promise<ExitReport>, isTTY: boolean) {
    this.isTTY = isTTY;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.release = () => {
      this.#isOver = true;
      for (const client of this.clients.splice(0)) void client.end();
      resolve();
    };
    void exited.then(() => {
      if (!this.holds) this.release();
    });
    this.logged = promise;
    this.drained = promise;
  }

  attach(client: Parameters<Stdio["attach"]>[0]): () => void {
    if (this.#isOver) void client.end();
    else this.clients.push(client);
    return () => {};
  }
  async writeStdin(): Promise<void> {}
  closeStdin(): void {}
  close(): void {
    this.isClosed = true;
  }
}

export interface Room extends AsyncDisposable {
  deps: ContainersDeps;
  containers: ContainerService;
  exec: ExecService;
  runtime: FakeRuntime;
  clock: HandClock;
  events: Events;
  store: ContainerStore;
  registry: Registry;
  /** What happened, in order: events by type and action, networks and snapshots by what was asked of them. */
  story: string[];
  stdios: FakeStdio[];
  config: Config;
  /** What a test may replace. */
  hooks: { discard: (path: string) => Promise<void> };
  create(body?: Record<string, unknown>, name?: string): Promise<string>;
}

const IMAGE: ImageRecord = {
  id: `sha256:${"1".repeat(64)}`,
  tags: ["docker.io/library/busybox:latest"],
  repoDigests: [],
  createdAt: "2026-01-01T00:00:00Z",
  author: "",
  comment: "",
  architecture: "amd64",
  variant: "",
  os: "linux",
  osVersion: "",
  config: { Cmd: ["true"], Env: ["A=image", "B=image"], Labels: { from: "image" }, ExposedPorts: { "80/tcp": {} } },
  diffIDs: [],
  history: [],
  sizeBytes: 0,
  lastTagTime: "2026-01-01T00:00:00Z",
  manifest: null,
  index: null,
};

const CONFIG = {
  cgroupParent: "/berth-test",
  defaultLogDriver: "json-file",
  defaultLogOptions: {},
  defaultUlimits: {},
  defaultShmSizeBytes: 64 << 20,
  initPath: "",
  isInitDefault: false,
  defaultIpcMode: "private",
  defaultCgroupnsMode: "",
  noNewPrivileges: false,
  defaultStopTimeoutSec: 10,
  defaultRuntime: "runc",
  idMaps: null,
  cdiSpecDirs: [],
} as const;

export async function createRoom(options: { runtime?: FakeRuntime; directory?: string } = {}): Promise<Room> {
  const directory = options.directory ?? mkdtempSync(`${tmpdir()}/berth-room-`);
  const opened: OpenedDb = await openDb(`file:${directory}/berth.db`);
  const runtime = options.runtime ?? new FakeRuntime();
  const clock = new HandClock();
  runtime.now = () => clock.now();
  const story: string[] = [];
  const stdios: FakeStdio[] = [];
  const events = recording(createEvents(clock), story);
  const registry = createRegistry();
  const store = containerStore(opened.db, opened.relaxed);
  const log = createLog(
    () => {},
    () => "error",
    () => clock.now(),
  );
  const machine = createMachine({ store, registry, events, log });
  // A failure in the background fails the test that caused it.
  const inBackground = (work: Promise<unknown>): void => void work;
  const config = { ...CONFIG, dataRoot: directory, execRoot: `${directory}/exec` } as unknown as Config;
  const plane: StdioPlane = {
    open(task, { isTTY }) {
      const stdio = new FakeStdio(task.exited, isTTY);
      stdios.push(stdio);
      return stdio;
    },
    close() {},
  };
  const random = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));
  const exec = createExecSessions({
    registry,
    machine,
    runtime,
    stdio: plane,
    clock,
    random,
  });
  const hooks = { discard: async (_path: string): Promise<void> => void story.push("files discarded") };
  const deps: ContainersDeps = {
    config: () => config,
    machinery: {
      hostName: "host",
      capabilities: new Set(CAPABILITIES),
      maskedPaths: [],
      builtinSeccomp: () => ({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [] }),
      defaultSeccomp: () => ({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [] }),
    },
    runtime,
    store,
    registry,
    machine,
    events,
    images: {
      get: findImage,
      claim: (name) => ({ image: findImage(name), release: () => {} }),
      rootfsLayers: async () => ({ layersDir: "/layers", lower: ["a"] }),
      make: () => Promise.reject(new Error("there is no image store here")),
    },
    layerPool: { run: () => Promise.reject(new Error("there are no Workers here")) },
    snapshots: snapshots(directory),
    discard: (path) => hooks.discard(path),
    networking: networking(story),
    cdi: createCdiRegistry(),
    apparmor: { prepare: async () => {}, profile: () => "" },
    mounts: {
      resolve: async () => [],
      copyUp: async () => {},
      release: () => {},
      enter: async ({ mounts }) => ({ mounts, keep: () => {}, [Symbol.asyncDispose]: async () => {} }),
      leave: async () => {},
      regain: () => {},
      settle: () => {},
      toOci: async () => [],
      removeAnonymous: async () => {},
    },
    stdio: plane,
    logDelivery: { begin: () => {}, finish: async () => {}, close: () => {} },
    logs: createLogs({ nowNano: () => BigInt(clock.now().getTime()) * 1_000_000n, onProblem: () => {} }),
    probe: exec.probe,
    clock,
    random,
    log,
    inBackground,
  };
  const containers = createContainers({
    ...deps,
    execIDs: exec.runningIn,
    imageBytes: () => 0,
    processes: { root: "/proc", userName: String, groupName: String, now: () => clock.now(), memoryBytes: 1 },
  });
  return {
    deps,
    containers,
    exec,
    runtime,
    clock,
    events,
    store,
    registry,
    story,
    stdios,
    config,
    hooks,
    create: async (body = {}, name = "") => {
      const request = v.parse(ContainerCreate, { Image: "busybox", ...body });
      return (await containers.create({ name: name === "" ? null : name, platform: "", body: request })).id;
    },
    async [Symbol.asyncDispose]() {
      containers.close();
      opened[Symbol.dispose]();
      if (options.directory === undefined) rmSync(directory, { recursive: true, force: true });
    },
  };
}

function findImage(name: string): ImageRecord {
  if (name === "busybox" || name === IMAGE.id) return IMAGE;
  throw notFound(`No such image: ${name}:latest`);
}

function recording(events: Events, story: string[]): Events {
  return {
    ...events,
    publish(type, action, actorID, attributes) {
      story.push(`${type} ${action}`);
      events.publish(type, action, actorID, attributes);
    },
  };
}

function snapshots(directory: string): Snapshotter {
  const rootfs = (key: string) => ({
    kind: "overlay" as const,
    layersDir: "/layers",
    lower: ["a"],
    upper: `/c/${key}/upper`,
    work: `/c/${key}/work`,
    target: `/c/${key}/rootfs`,
  });
  return {
    driver: "overlay2",
    canLimit: false,
    release: () => {},
    prepare: async (key) => {
      mkdirSync(`${directory}/containers/${key}`, { recursive: true });
      return rootfs(key);
    },
    rootfs,
    remove: async () => {},
    usage: async () => 10,
  };
}

function networking(story: string[]): ContainerNetworking {
  return {
    plan: () => [],
    join: async () => ({
      netns: null,
      endpoints: [],
      publishedPorts: [],
      files: { hostname: "/h/hostname", hosts: "/h/hosts", resolvConf: "/h/resolv.conf" },
      keep: () => void story.push("networks kept"),
      [Symbol.asyncDispose]: async () => void story.push("networks disposed"),
    }),
    leave: async (_record: ContainerRecord) => void story.push("networks left"),
    regain: async () => void story.push("networks regained"),
    renamed: () => {},
  };
}

/** Lets the event loop turn until it holds, files and all. For what follows by itself, without a promise to wait for. */
export async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000; turn++) {
    if (condition()) return;
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`never: ${String(condition)}`);
}
