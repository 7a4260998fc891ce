// The engine: services side by side. Routes call these and nothing else; composition is in daemon.ts.
import type { CgroupStats, Change, InterfaceCounters, Runtime } from "../../runtime/mod.ts";
import type { Config } from "../config.ts";
import type { ContainerConfig, ContainerCreate } from "../schema/container.ts";
import type { ExecCreate, ExecStart } from "../schema/exec.ts";
import type { Resources, RestartPolicy } from "../schema/host_config.ts";
import type { EndpointSettings, NetworkCreate } from "../schema/network.ts";
import type { VolumeCreate } from "../schema/volume.ts";
import type { ContainerRecord } from "./containers/container.ts";
import type { HealthReport } from "./containers/health.ts";

/** A filter as the API carries it: name to values. Parsed and checked by engine/filters.ts. */
export type Filters = ReadonlyMap<string, readonly string[]>;

/** A two-way byte stream that has left HTTP: what attach and exec are joined to. `http/hijack.ts` makes them. */
export interface ByteStream {
  /** The next bytes, or null once the peer has half-closed or gone. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when the bytes are on their way (backpressure); rejects once the peer is gone. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Ends our direction; reading goes on. */
  closeWrite(): void;
  destroy(): void;
  /** Called once the connection is wholly gone. */
  onGone(callback: () => void): void;
}

// ---- events

export interface EngineEvent {
  type: "container" | "image" | "network" | "volume" | "daemon" | "builder" | "plugin";
  action: string;
  actorID: string;
  attributes: Readonly<Record<string, string>>;
  /** Unix time in nanoseconds. */
  timeNano: bigint;
}

export interface EventQuery {
  /** Unix seconds, with fraction; null: none. */
  since: number | null;
  until: number | null;
  filters: Filters;
}

export interface Events {
  publish(type: EngineEvent["type"], action: string, actorID: string, attributes: Record<string, string>): void;
  /** Replays what is kept since `since`, then goes on live until `until` or abort. Throws `invalid` before the first event. */
  subscribe(query: EventQuery, signal: AbortSignal): AsyncIterable<EngineEvent>;
  listeners(): number;
}

// ---- containers

export interface CreateRequest {
  name: string | null;
  /** `os/arch[/variant]` or "". */
  platform: string;
  body: ContainerCreate;
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

export interface AttachOptions {
  stream: boolean;
  logs: boolean;
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  /** null: the default, or none without a terminal. */
  detachKeys: string | null;
  /** 8-byte frames (no terminal), or raw bytes. WebSocket attach never frames. */
  framed: boolean;
}

export interface LogQuery {
  follow: boolean;
  stdout: boolean;
  stderr: boolean;
  /** Unix nanoseconds; null: no bound. */
  sinceNano: bigint | null;
  untilNano: bigint | null;
  /** null: all. */
  tail: number | null;
  timestamps: boolean;
  details: boolean;
}

export interface ContainerSizes {
  rwBytes: number;
  rootFsBytes: number;
}

export interface ListOptions {
  all: boolean;
  limit: number;
  size: boolean;
  filters: Filters;
}

export interface TopTable {
  Titles: string[];
  Processes: string[][];
}

/** A container's counters at one moment. */
export interface StatsSample {
  /** ISO 8601 in UTC. */
  readAt: string;
  counters: CgroupStats;
  /** Never more than the machine has. */
  memoryLimitBytes: number;
  /** What all CPUs of the machine have spent, and how many there are. */
  systemCpuNs: number;
  onlineCpus: number;
  interfaces: ReadonlyMap<string, InterfaceCounters>;
}

/** What one client is told: null where the container did not run, or nothing is known from before. */
export interface StatsFrame {
  id: string;
  name: string;
  sample: StatsSample | null;
  previous: StatsSample | null;
}

/** A path in a container, as the header X-Docker-Container-Path-Stat has it. */
export interface PathStat {
  /** The last component as it was asked for. */
  name: string;
  sizeBytes: number;
  /** st_mode of stat(2). */
  mode: number;
  modified: readonly [seconds: bigint, nanoseconds: number];
  /** Where a symbolic link leads in the end; "" for everything else. */
  linkTarget: string;
}

export interface CopyInOptions {
  /** A directory does not give way to a file, nor a file to a directory. */
  noOverwriteDirNonDir: boolean;
  /** Everything becomes the user's that the container runs as. */
  copyUIDGID: boolean;
}

export interface CommitRequest {
  /** Both "": the image gets no name. */
  repository: string;
  tag: string;
  author: string;
  comment: string;
  /** Dockerfile instructions. */
  changes: readonly string[];
  pause: boolean;
  /** null: the container's own. */
  config: ContainerConfig | null;
}

export interface Containers {
  create(request: CreateRequest): Promise<{ id: string; warnings: string[] }>;
  start(nameOrID: string): Promise<"started" | "already-running">;
  stop(
    nameOrID: string,
    options: { signal: string | null; timeoutSec: number | null },
  ): Promise<"stopped" | "already-stopped">;
  restart(nameOrID: string, options: { signal: string | null; timeoutSec: number | null }): Promise<void>;
  kill(nameOrID: string, signal: string | null): Promise<void>;
  pause(nameOrID: string): Promise<void>;
  unpause(nameOrID: string): Promise<void>;
  rename(nameOrID: string, newName: string): Promise<void>;
  resize(nameOrID: string, rows: number, columns: number): Promise<void>;
  remove(nameOrID: string, options: { force: boolean; volumes: boolean; link: boolean }): Promise<void>;
  update(nameOrID: string, change: Resources & { RestartPolicy: RestartPolicy | null }): Promise<string[]>;
  prune(filters: Filters): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  /** Registers at once (throws notFound, invalid); `result` settles when the condition is met or the signal aborts. */
  wait(
    nameOrID: string,
    condition: WaitCondition,
    signal: AbortSignal,
  ): Promise<{ result: Promise<{ statusCode: number; error: string | null }> }>;
  /**
   * Checks that attaching is allowed (throws conflict, notFound) and returns the join. `run` is called once with the
   * hijacked stream and resolves when the attachment has ended. `hasTerminal` decides the reply's content type.
   */
  attach(
    nameOrID: string,
    options: AttachOptions,
  ): Promise<{ hasTerminal: boolean; run(stream: ByteStream): Promise<void> }>;
  /** `chunks` are as the client gets them: each record with timestamp and details, without a terminal framed. */
  logs(
    nameOrID: string,
    query: LogQuery,
    signal: AbortSignal,
  ): Promise<{ hasTerminal: boolean; chunks: AsyncIterable<Uint8Array> }>;
  /** Makes an image of a container's changes; its ID. */
  commit(nameOrID: string, request: CommitRequest, signal: AbortSignal): Promise<string>;
  top(nameOrID: string, psArgs: string): Promise<TopTable>;
  /** A sample at once. */
  statsNow(nameOrID: string): StatsFrame;
  /** A sample with an earlier one to compare it with: takes a second where nobody listens yet. */
  stats(nameOrID: string, signal: AbortSignal): Promise<StatsFrame>;
  /** A sample each second until the container is removed; of the newest ones, those that the reader comes for. */
  followStats(nameOrID: string, signal: AbortSignal): AsyncIterable<StatsFrame>;
  /** Of a container's files, running or not. Throws notFound and invalid. */
  statPath(nameOrID: string, path: string): Promise<PathStat>;
  /** A tar of a file or directory. `chunks` must be read or returned: it holds descriptors open. */
  copyOut(nameOrID: string, path: string): Promise<{ stat: PathStat; chunks: AsyncIterable<Uint8Array> }>;
  /** What differs from its image, in the order of a walk. Throws notFound and conflict before the first. */
  changes(nameOrID: string): Promise<AsyncIterable<Change>>;
  /** A tar of its root file system, without what is mounted in it. Like those of copyOut, `chunks` must be read or returned. */
  exportFiles(nameOrID: string): Promise<AsyncIterable<Uint8Array>>;
  /** Unpacks a tar, plain or compressed, into a directory. */
  copyIn(
    nameOrID: string,
    path: string,
    archive: AsyncIterable<Uint8Array>,
    options: CopyInOptions,
    signal: AbortSignal,
  ): Promise<void>;
  /** The record by full ID, name or unique ID prefix; throws Docker's notFound and invalid. Takes no lock. */
  get(nameOrID: string): ContainerRecord;
  list(options: ListOptions): Promise<{ record: ContainerRecord; sizes: ContainerSizes | null }[]>;
  sizes(nameOrID: string): Promise<ContainerSizes>;
  /** All records, in no order: for views that need to know who uses what. */
  all(): Iterable<ContainerRecord>;
  /** IDs of exec sessions that run in it now. */
  execIDs(id: string): string[];
  logPath(id: string): string;
  /** What the health checks of its current or last run say; null: it has none. */
  health(id: string): HealthReport | null;
}

// ---- exec sessions

export interface ExecRecord {
  id: string;
  containerID: string;
  config: ExecCreate;
  isRunning: boolean;
  exitCode: number | null;
  pid: number;
}

export interface ExecSessions {
  create(containerNameOrID: string, config: ExecCreate): Promise<{ id: string }>;
  get(id: string): ExecRecord;
  /** Detached start: answers once the command runs, or throws. */
  startDetached(id: string, options: ExecStart): Promise<void>;
  /** Checks first (throws notFound, conflict), then `run` starts it on the hijacked stream; a command that cannot be started is told in the stream. */
  startAttached(
    id: string,
    options: ExecStart,
  ): Promise<{
    hasTerminal: boolean;
    run(stream: ByteStream): Promise<void>;
    /** Instead of `run`. */ abandon?(): void;
  }>;
  resize(id: string, rows: number, columns: number): Promise<void>;
}

// ---- images

export interface ImageRecord {
  /** Digest of the config: `sha256:…`. */
  id: string;
  /** Canonical references: `docker.io/library/busybox:latest`. */
  tags: string[];
  /** `docker.io/library/busybox@sha256:…`: the digest it was pulled or pushed by. */
  repoDigests: string[];
  createdAt: string;
  author: string;
  comment: string;
  architecture: string;
  variant: string;
  os: string;
  osVersion: string;
  /** The container configuration in the image's config, in Docker's spelling. */
  config: ImageConfig;
  diffIDs: string[];
  history: HistoryEntry[];
  sizeBytes: number;
  lastTagTime: string;
  manifest: { mediaType: string; digest: string; size: number } | null;
  /** The index it was found through, when it came with one. */
  index: { mediaType: string; digest: string; size: number } | null;
}

/** One manifest of an image's index. */
export interface ManifestSummary {
  descriptor: { mediaType: string; digest: string; size: number };
  annotations: Readonly<Record<string, string>>;
  platform: { os: string; architecture: string; variant: string } | null;
  kind: "image" | "attestation" | "unknown";
  /** Manifest, config and layers are all here. */
  isAvailable: boolean;
  contentBytes: number;
  unpackedBytes: number;
  /** Of an attestation: the digest of the manifest that it is about. */
  subject: string;
  /** IDs of the containers that use it. */
  containers: string[];
}

export interface AttestationStatement {
  descriptor: { mediaType: string; digest: string; size: number };
  predicateType: string;
  /** null where it was not asked for. */
  statement: object | null;
}

export interface ImageConfig {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: string[];
  Entrypoint?: string[] | null;
  Cmd?: string[] | null;
  Volumes?: Record<string, object>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Healthcheck?: {
    Test?: string[];
    Interval?: number;
    Timeout?: number;
    Retries?: number;
    StartPeriod?: number;
    StartInterval?: number;
  };
  Shell?: string[];
  OnBuild?: string[];
  ArgsEscaped?: boolean;
}

export interface HistoryEntry {
  created: string;
  createdBy: string;
  comment: string;
  author: string;
  isEmptyLayer: boolean;
  sizeBytes: number;
}

/** One line of a pull, push or load, as the CLI draws it; written to the client as it is. */
export type ProgressMessage = Readonly<Record<string, unknown>>;
export type Progress = (message: ProgressMessage) => void;

export interface RegistryCredentials {
  username: string;
  password: string;
  /** From `docker login` with a token store. */
  identityToken: string;
  registryToken: string;
}

export interface ImportRequest {
  /** Where it comes from: a URL, or `-` for the body. */
  source: string;
  /** null: from the URL. */
  body: AsyncIterable<Uint8Array> | null;
  repository: string;
  tag: string;
  message: string;
  /** Dockerfile instructions. */
  changes: readonly string[];
  /** `linux/arm64`, or "" for this machine's. */
  platform: string;
}

export interface Images {
  /** By ID, ID prefix or reference in any familiar form; throws Docker's 404. */
  get(nameOrID: string): ImageRecord;
  list(options: {
    all: boolean;
    filters: Filters;
    sharedSize: boolean;
  }): Promise<{ image: ImageRecord; sharedSizeBytes: number; containers: number }[]>;
  manifests(image: ImageRecord): Promise<ManifestSummary[]>;
  /** `platform` is "" for the image's own; throws notFound. */
  attestations(
    nameOrID: string,
    options: { platform: string; types: string[]; withStatement: boolean },
  ): Promise<AttestationStatement[]>;
  tag(source: string, repository: string, tag: string): Promise<void>;
  remove(
    nameOrID: string,
    options: { force: boolean; prune: boolean; platforms: string[] },
  ): Promise<({ Untagged: string } | { Deleted: string })[]>;
  prune(filters: Filters): Promise<{ deleted: ({ Untagged: string } | { Deleted: string })[]; spaceReclaimed: number }>;
  /** Pulls `reference` (all tags when `tag` is ""); throws before the first message for what deserves a status. */
  pull(
    request: { image: string; tag: string; platform: string; credentials: RegistryCredentials | null },
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void>;
  load(
    body: AsyncIterable<Uint8Array>,
    options: { quiet: boolean; platforms: string[] },
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void>;
  /**
   * Pushes one tag, or all of a repository when `tag` is "". Throws before the first message for what deserves a status.
   */
  push(
    request: { image: string; tag: string; platform: string; credentials: RegistryCredentials | null },
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void>;
  /** Makes an image of a tar, plain or compressed. Its ID is the last message. */
  import(request: ImportRequest, progress: Progress, signal: AbortSignal): Promise<void>;
  /** Throws notFound before any byte. */
  save(names: string[], options: { platforms: string[] }, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** Makes sure an image is unpacked and returns its layer directories, the topmost first, relative to `layersDir`. */
  rootfsLayers(imageID: string): Promise<{ layersDir: string; lower: string[] }>;
  totals(): Promise<{ count: number; layersBytes: number }>;
}

// ---- networks

export interface NetworkRecord {
  id: string;
  name: string;
  createdAt: string;
  driver: string;
  scope: "local";
  enableIPv4: boolean;
  enableIPv6: boolean;
  isInternal: boolean;
  isAttachable: boolean;
  isIngress: boolean;
  /** A set of settings for other networks, and no network itself. */
  isConfigOnly?: boolean;
  /** The name of the one that its settings are from. */
  configFrom?: string;
  ipam: {
    driver: string;
    options: Record<string, string> | null;
    config: { subnet: string; ipRange: string; gateway: string; auxiliaryAddresses: Record<string, string> }[];
    /** The engine chose the subnets: static addresses are refused on such a network, as under Docker. */
    isAutomatic?: boolean;
  };
  options: Record<string, string>;
  labels: Record<string, string>;
}

export interface Networks {
  create(request: NetworkCreate): Promise<{ id: string; warning: string }>;
  /** By full ID, exact name, ID prefix; throws Docker's 404 and ambiguity. */
  get(nameOrID: string): NetworkRecord;
  list(filters: Filters): NetworkRecord[];
  remove(nameOrID: string): Promise<void>;
  prune(filters: Filters): Promise<string[]>;
  connect(nameOrID: string, container: string, settings: EndpointSettings | null): Promise<void>;
  disconnect(nameOrID: string, container: string, force: boolean): Promise<void>;
}

// ---- volumes

export interface VolumeRecord {
  name: string;
  driver: string;
  /** `local`, or `global`: the same volume on every machine. */
  scope: string;
  createdAt: string;
  /** "" for a plugin's that nobody has mounted. */
  mountpoint: string;
  labels: Record<string, string>;
  options: Record<string, string>;
  isAnonymous: boolean;
}

/** A volume as its driver describes it now. */
export interface VolumeDetails extends VolumeRecord {
  status: Readonly<Record<string, unknown>>;
}

export interface Volumes {
  /** Idempotent by name; an empty name makes an anonymous one. */
  create(request: VolumeCreate): Promise<VolumeRecord>;
  get(name: string): VolumeRecord;
  /** As `get`, but a plugin is asked for what it has by itself. */
  inspect(name: string): Promise<VolumeDetails>;
  list(filters: Filters): Promise<{ volumes: VolumeRecord[]; warnings: string[] }>;
  remove(name: string, force: boolean): Promise<void>;
  prune(filters: Filters): Promise<{ deleted: string[]; spaceReclaimed: number }>;
  usage(name: string): Promise<{ sizeBytes: number; refCount: number }>;
}

// ---- the whole

export interface Engine {
  readonly config: Config;
  readonly runtime: Runtime;
  /** The engine's own ID (`/info`), stored with the data root. */
  readonly id: string;
  readonly containers: Containers;
  readonly exec: ExecSessions;
  readonly images: Images;
  readonly networks: Networks;
  readonly volumes: Volumes;
  readonly events: Events;
}
