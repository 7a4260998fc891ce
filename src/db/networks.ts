// Networks as rows. The columns are what is looked up by; the record is one JSON document, checked when read.
import { eq } from "drizzle-orm";
import * as v from "valibot";
import type { NetworkRecord } from "../engine/mod.ts";
import { during } from "./failure.ts";
import type { Db } from "./open.ts";
import { networks } from "./schema.ts";

const Texts = v.record(v.string(), v.string());
const Stored = v.object({
  id: v.string(),
  name: v.string(),
  createdAt: v.string(),
  driver: v.string(),
  scope: v.literal("local"),
  enableIPv4: v.boolean(),
  enableIPv6: v.boolean(),
  isInternal: v.boolean(),
  isAttachable: v.boolean(),
  isIngress: v.boolean(),
  isConfigOnly: v.exactOptional(v.boolean()),
  configFrom: v.exactOptional(v.string()),
  ipam: v.object({
    driver: v.string(),
    options: v.nullable(Texts),
    config: v.array(
      v.object({
        subnet: v.string(),
        ipRange: v.string(),
        gateway: v.string(),
        auxiliaryAddresses: Texts,
      }),
    ),
    isAutomatic: v.exactOptional(v.boolean()),
  }),
  options: Texts,
  labels: Texts,
});

export interface NetworkStore {
  /** Every network, and the IDs of rows that cannot be read. */
  all(): Promise<{ networks: NetworkRecord[]; damaged: string[] }>;
  insert(network: NetworkRecord): Promise<void>;
  update(network: NetworkRecord): Promise<void>;
  remove(id: string): Promise<void>;
}

export function networkStore(db: Db): NetworkStore {
  return {
    async all() {
      const rows = await db.select({ id: networks.id, record: networks.record }).from(networks);
      const read: NetworkRecord[] = [];
      const damaged: string[] = [];
      for (const row of rows) {
        const parsed = v.safeParse(Stored, row.record);
        if (parsed.success && parsed.output.id === row.id) read.push(parsed.output);
        else damaged.push(row.id);
      }
      return { networks: read, damaged };
    },
    async insert(network) {
      await during(`store network ${network.name}`, db.insert(networks).values(toRow(network)));
    },
    async update(network) {
      const { id, ...row } = toRow(network);
      await during(`store network ${network.name}`, db.update(networks).set(row).where(eq(networks.id, id)));
    },
    async remove(id) {
      await during(`remove network ${id}`, db.delete(networks).where(eq(networks.id, id)));
    },
  };
}

function toRow(network: NetworkRecord) {
  const { id, name, driver, createdAt } = network;
  return { id, name, driver, createdAtMs: Date.parse(createdAt), record: network };
}
