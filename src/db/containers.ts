// Containers as rows. A record is read back through a schema: the file may have been written by another version, or
// edited by hand, and the engine must not build on what it cannot trust.
import { eq, sql } from "drizzle-orm";
import * as v from "valibot";
import type { ContainerID, ContainerRecord } from "../engine/containers/container.ts";
import { ContainerConfig } from "../schema/container.ts";
import { HostConfig } from "../schema/host_config.ts";
import { EndpointSettings } from "../schema/network.ts";
import { during } from "./failure.ts";
import type { Db } from "./open.ts";
import { containers } from "./schema.ts";

export interface ContainerStore {
  /** Every container, and the rows that cannot be read with the reason: those are kept, not served. */
  all(): Promise<{ records: ContainerRecord[]; damaged: { id: string; problem: string }[] }>;
  /** On disk when it returns, as is `update`. */
  insert(record: ContainerRecord): Promise<void>;
  update: (record: ContainerRecord) => Promise<void>;
  /**
   * Just what `Life` names. It survives whatever happens to the daemon, but not a power cut in the next moment: then the
   * containers themselves are gone too, and the next start finds that out.
   */
  updateLife(record: ContainerRecord): Promise<void>;
  /** As durable as updateLife: a row that comes back has no directory, and is dropped at the next start. */
  remove(id: ContainerID): Promise<void>;
}

/** The fields that change while a container lives; see the table. */
const LIFE = [
  "state",
  "endpoints",
  "publishedPorts",
  "restartCount",
  "hasBeenManuallyStopped",
  "hasBeenStartedBefore",
] as const satisfies (keyof ContainerRecord)[];

type Life = Pick<ContainerRecord, (typeof LIFE)[number]>;

/** Whether a change of these fields is one of `Life` alone. */
export function isLife(fields: readonly string[]): boolean {
  return fields.every((field) => (LIFE as readonly string[]).includes(field));
}

/** `relaxed` writes to the same rows without waiting for the disk; see open.ts. */
export function containerStore(db: Db, relaxed: Db): ContainerStore {
  // Prepared once: a state change is one statement, and building its text would cost more than running it.
  const insert = db
    .insert(containers)
    .values({
      id: sql.placeholder("id"),
      name: sql.placeholder("name"),
      imageID: sql.placeholder("imageID"),
      status: sql.placeholder("status"),
      createdAtMs: sql.placeholder("createdAtMs"),
      record: sql.placeholder("record"),
      life: sql.placeholder("life"),
    })
    .prepare();
  const updateLife = relaxed
    .update(containers)
    .set({ status: sql`${sql.placeholder("status")}`, life: sql`${sql.placeholder("life")}` })
    .where(eq(containers.id, sql.placeholder("id")))
    .prepare();
  const remove = relaxed
    .delete(containers)
    .where(eq(containers.id, sql.placeholder("id")))
    .prepare();
  return {
    async all() {
      const rows = await during(
        "read the containers",
        db.select({ id: containers.id, record: containers.record, life: containers.life }).from(containers),
      );
      const records: ContainerRecord[] = [];
      const damaged: { id: string; problem: string }[] = [];
      for (const row of rows) {
        const parsed = v.safeParse(Record, { ...asObject(row.record), ...asObject(row.life) });
        if (parsed.success && parsed.output.id === row.id) records.push(parsed.output);
        else
          damaged.push({ id: row.id, problem: parsed.success ? "its record has another ID" : describe(parsed.issues) });
      }
      return { records, damaged };
    },
    async insert(record) {
      await during(`store container ${record.id}`, insert.run({ ...toRow(record) }));
    },
    async update(record) {
      const { id, ...row } = toRow(record);
      await during(`store container ${id}`, db.update(containers).set(row).where(eq(containers.id, id)));
    },
    async updateLife(record) {
      const { id, state } = record;
      // The placeholder is one of raw SQL, which drizzle does not encode for the column.
      const values = { id, status: state.status, life: JSON.stringify(lifeOf(record)) };
      await during(`store the state of container ${id}`, updateLife.run(values));
    },
    async remove(id) {
      await during(`remove container ${id}`, remove.run({ id }));
    },
  };
}

function toRow(record: ContainerRecord) {
  return {
    id: record.id,
    name: record.name,
    imageID: record.imageID,
    status: record.state.status,
    createdAtMs: Date.parse(record.createdAt),
    record: withoutLife(record),
    life: lifeOf(record),
  };
}

function lifeOf(record: ContainerRecord): Life {
  const { state, endpoints, publishedPorts, restartCount, hasBeenManuallyStopped, hasBeenStartedBefore } = record;
  return { state, endpoints, publishedPorts, restartCount, hasBeenManuallyStopped, hasBeenStartedBefore };
}

function withoutLife(record: ContainerRecord): Omit<ContainerRecord, keyof Life> {
  return Object.fromEntries(Object.entries(record).filter(([field]) => !isLife([field]))) as Omit<
    ContainerRecord,
    keyof Life
  >;
}

function asObject(value: unknown): object {
  return typeof value === "object" && value !== null ? value : {};
}

function describe(issues: readonly v.BaseIssue<unknown>[]): string {
  return issues
    .slice(0, 3)
    .map((issue) => `${v.getDotPath(issue) ?? "record"}: ${issue.message}`)
    .join("; ");
}

const count = () => v.pipe(v.number(), v.integer());

const TaskRecord = v.object({
  id: v.string(),
  pid: count(),
  shimPid: count(),
  shimStartTime: v.string(),
  hasTerminal: v.boolean(),
  hasStdin: v.boolean(),
  exitFile: v.string(),
  cgroupPath: v.string(),
});

const Health = v.object({
  status: v.picklist(["starting", "healthy", "unhealthy"]),
  failingStreak: count(),
  log: v.array(v.object({ Start: v.string(), End: v.string(), ExitCode: count(), Output: v.string() })),
});

const Exit = v.object({
  exitCode: count(),
  finishedAt: v.string(),
  startedAt: v.string(),
  oomKilled: v.boolean(),
  error: v.string(),
  health: v.exactOptional(Health),
});

const Live = { task: TaskRecord, startedAt: v.string(), stopRequested: v.boolean() };

const State = v.variant("status", [
  v.object({ status: v.literal("created"), error: v.exactOptional(v.string()), exitCode: v.exactOptional(count()) }),
  v.object({ status: v.literal("running"), ...Live }),
  v.object({ status: v.literal("paused"), ...Live }),
  v.object({ status: v.literal("restarting"), exit: Exit, nextAttemptAt: v.string() }),
  v.object({ status: v.literal("exited"), exit: Exit }),
  v.object({ status: v.literal("removing"), exit: v.nullable(Exit) }),
  v.object({ status: v.literal("dead"), exit: v.nullable(Exit), error: v.string() }),
]);

const MountPoint = v.object({
  type: v.picklist(["bind", "volume", "tmpfs", "image"]),
  name: v.string(),
  source: v.string(),
  destination: v.string(),
  driver: v.string(),
  mode: v.string(),
  isWritable: v.boolean(),
  propagation: v.string(),
  isAnonymous: v.boolean(),
  options: v.array(v.string()),
  subpath: v.string(),
});

const Endpoint = v.object({
  networkID: v.string(),
  networkName: v.string(),
  endpointID: v.string(),
  settings: EndpointSettings,
  interfaceName: v.string(),
  macAddress: v.string(),
  ipAddress: v.string(),
  ipPrefixLength: count(),
  gateway: v.string(),
  ip6Address: v.string(),
  ip6PrefixLength: count(),
  gateway6: v.string(),
  dnsNames: v.array(v.string()),
});

const PublishedPort = v.object({
  port: count(),
  protocol: v.picklist(["tcp", "udp", "sctp"]),
  hostIP: v.string(),
  hostPort: count(),
});

const Record = v.object({
  id: v.custom<ContainerID>((value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value), "not an ID"),
  name: v.string(),
  createdAt: v.string(),
  image: v.string(),
  imageID: v.string(),
  platform: v.string(),
  path: v.string(),
  args: v.array(v.string()),
  config: ContainerConfig,
  hostConfig: HostConfig,
  state: State,
  mounts: v.array(MountPoint),
  endpoints: v.array(Endpoint),
  publishedPorts: v.array(PublishedPort),
  restartCount: count(),
  hasBeenManuallyStopped: v.boolean(),
  hasBeenStartedBefore: v.boolean(),
});
