// An engine for tests of routes: records in memory, and just those service methods that a test gives. A method that it
// does not give throws by its name, so a route that calls something unexpected fails loudly.
import type { Runtime } from "../../runtime/mod.ts";
import { type Config, parseCommandLine } from "../../src/config.ts";
import type { ContainerID, ContainerRecord } from "../../src/engine/containers/container.ts";
import { FACTS } from "./fake_runtime.ts";
import type { Containers, Engine, Events, ExecSessions, Images, Networks, Volumes } from "../../src/engine/mod.ts";
import { notFound } from "../../src/errors.ts";
import { ContainerCreate } from "../../src/schema/container.ts";
import * as v from "valibot";

export interface FakeServices {
  config?: Partial<Config>;
  records?: ContainerRecord[];
  containers?: Partial<Containers>;
  exec?: Partial<ExecSessions>;
  images?: Partial<Images>;
  networks?: Partial<Networks>;
  volumes?: Partial<Volumes>;
  events?: Partial<Events>;
}

export function fakeEngine(given: FakeServices = {}): Engine {
  return {
    config: { ...fakeConfig(), ...given.config },
    runtime: service<Runtime>("runtime", { facts: FACTS }),
    id: "3d0f8a4e-5b0a-4c37-9b5e-6d9d1f0f3c11",
    containers: service<Containers>("containers", { ...recordsIn(given.records ?? []), ...given.containers }),
    exec: service<ExecSessions>("exec", given.exec ?? {}),
    images: service<Images>("images", given.images ?? {}),
    networks: service<Networks>("networks", given.networks ?? {}),
    volumes: service<Volumes>("volumes", given.volumes ?? {}),
    events: service<Events>("events", given.events ?? {}),
  };
}

/** The methods of a service that were given; any other one throws by its name. */
function service<T extends object>(name: string, given: Partial<T>): T {
  return new Proxy(given, {
    get(target, property) {
      if (Reflect.has(target, property)) return Reflect.get(target, property);
      return () => {
        throw new Error(`the test gives no ${name}.${String(property)}`);
      };
    },
  }) as T;
}

function recordsIn(records: ContainerRecord[]): Partial<Containers> {
  return {
    get(nameOrID) {
      const name = nameOrID.replace(/^\//, "");
      const found = records.find((each) => each.id === nameOrID || each.name === name || each.id.startsWith(name));
      if (found === undefined) throw notFound(`No such container: ${nameOrID}`);
      return found;
    },
    list: async () => records.map((record) => ({ record, sizes: null })),
    all: () => records,
    execIDs: () => [],
    logPath: (id) => `/var/lib/berth/containers/${id}/${id}-json.log`,
    health: () => null,
  };
}

export const FAKE_ID = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2" as ContainerID;

/** A created container of busybox; `body` is a create request as clients write it. */
export function fakeRecord(change: Partial<ContainerRecord> = {}, body: Record<string, unknown> = {}): ContainerRecord {
  const {
    HostConfig,
    NetworkingConfig: _,
    ...config
  } = v.parse(ContainerCreate, { Image: "busybox", Cmd: ["sh"], ...body });
  return {
    id: FAKE_ID,
    name: "web",
    createdAt: "2026-01-02T03:04:05.123456789Z",
    image: "busybox",
    imageID: `sha256:${"ab".repeat(32)}`,
    platform: "linux/amd64",
    path: "sh",
    args: [],
    config,
    hostConfig: {
      ...HostConfig,
      NetworkMode: HostConfig.NetworkMode || "bridge",
      CgroupnsMode: HostConfig.CgroupnsMode || "private",
      LogConfig: HostConfig.LogConfig.Type === "" ? { Type: "json-file", Config: {} } : HostConfig.LogConfig,
    },
    state: { status: "created" },
    mounts: [],
    endpoints: [],
    publishedPorts: [],
    restartCount: 0,
    hasBeenManuallyStopped: false,
    hasBeenStartedBefore: false,
    ...change,
  };
}

/** The state of a container that runs as process 4711. */
export function runningSince(startedAt: string): ContainerRecord["state"] {
  return {
    status: "running",
    startedAt,
    stopRequested: false,
    task: {
      id: FAKE_ID,
      pid: 4711,
      shimPid: 4710,
      shimStartTime: "1",
      hasTerminal: false,
      hasStdin: false,
      exitFile: "",
      cgroupPath: "",
    },
  };
}

/** What the daemon runs with when it is given no option, and a storage driver. */
function fakeConfig(): Config {
  const { config } = parseCommandLine({ argv0: "berth", args: [], env: {}, readFile: () => null });
  return { ...config, storageDriver: "overlay2" };
}
