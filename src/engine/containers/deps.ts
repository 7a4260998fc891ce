// What the verbs of a container stand on. Built once in daemon.ts; each verb takes the part it needs.
import type { LayerPool, Logs, OciSeccomp, Runtime, Snapshotter, StdioPlane } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import type { ContainerStore } from "../../db/containers.ts";
import type { Log } from "../../log.ts";
import type { RandomBytes } from "../ids.ts";
import type { CdiRegistry } from "../cdi/registry.ts";
import type { ImageService } from "../images.ts";
import type { Events } from "../mod.ts";
import type { AppArmor } from "./apparmor.ts";
import type { ContainerNetworking } from "../networks/networking.ts";
import type { LogDelivery } from "./log_delivery.ts";
import type { Machine } from "./machine.ts";
import type { ContainerMounts } from "./mounts.ts";
import type { Registry } from "./registry.ts";

/** What this machine has, read once at start. */
export interface Machinery {
  hostName: string;
  /** What this daemon can hand on: its own bounding set. */
  capabilities: ReadonlySet<string>;
  /** Paths masked beyond the fixed list: those of each CPU that exist here. */
  maskedPaths: readonly string[];
  /** Docker's own profile, resolved for a set of capabilities. */
  builtinSeccomp: (capabilities: readonly string[]) => OciSeccomp;
  /** What containers get that ask for nothing (`--seccomp-profile`); null: no filter. */
  defaultSeccomp: ((capabilities: readonly string[]) => OciSeccomp) | null;
}

export interface Clock {
  now(): Date;
  /** COMPAT: as Docker shows times: RFC 3339 in UTC, to the nanosecond. */
  nowText(): string;
  /** Calls back once, after that time; the returned function cancels it. */
  after(delayMs: number, work: () => void): () => void;
}

export interface ProbeOutcome {
  exitCode: number;
  output: string;
}

/** What health checks need of exec sessions. */
export interface ProbeBounds {
  timeoutMs: number;
  outputBytes: number;
  /** Its result is not wanted any more: it is killed. */
  signal: AbortSignal;
}

type Probe = (containerID: string, command: string[], bounds: ProbeBounds) => Promise<ProbeOutcome>;

export interface ContainersDeps {
  config(): Config;
  machinery: Machinery;
  runtime: Runtime;
  store: ContainerStore;
  registry: Registry;
  machine: Machine;
  events: Events;
  images: Pick<ImageService, "get" | "rootfsLayers" | "claim" | "make">;
  layerPool: Pick<LayerPool, "run">;
  snapshots: Snapshotter;
  /** Takes a directory out of its place now, and off the disk later. */
  discard(path: string): Promise<void>;
  networking: ContainerNetworking;
  mounts: ContainerMounts;
  cdi: CdiRegistry;
  apparmor: AppArmor;
  stdio: StdioPlane;
  logs: Logs;
  logDelivery: LogDelivery;
  probe: Probe;
  clock: Clock;
  random: RandomBytes;
  log: Log;
  /** Work with an end of its own, that nobody waits for now, but the end of the daemon does. Its failure is logged. */
  inBackground(work: Promise<unknown>): void;
}
