// The fluentd driver: the forward protocol v1 (fluent/fluentd, wiki "Forward Protocol Specification v1"), one message for each
// batch: [tag, [[time, record], …], {chunk}] ; with fluentd-request-ack the receiver answers {ack: chunk} once it has it.
import { randomBytes } from "node:crypto";
import { partialFields } from "./journald.ts";
import type { Sink, SinkContainer, SinkRecord, SinkTarget } from "./mod.ts";
import { EventTime, pack, type Packed, readAck } from "./msgpack.ts";
import { StreamConnection } from "./stream_connection.ts";

type FluentdTarget = Extract<SinkTarget, { kind: "fluentd" }>;

const SOURCE = { 1: "stdout", 2: "stderr" } as const;

export function createFluentdSink(target: FluentdTarget, container: SinkContainer): Sink {
  const connection = new StreamConnection(target.transport, null, target.timeoutMs ?? undefined);
  let connectedAt: number | null = null;
  const entry = (record: SinkRecord): Packed => [
    target.isSubSecond ? new EventTime(record.timeNano) : Number(record.timeNano / 1_000_000_000n),
    {
      container_id: container.id,
      container_name: `/${container.name}`,
      source: SOURCE[record.stream],
      log: record.bytes,
      ...container.extra,
      ...partialFields(record),
    },
  ];
  return {
    async send(records) {
      const now = performance.now();
      if (target.reconnectMs !== null && connectedAt !== null && now - connectedAt >= target.reconnectMs) {
        connection.close();
        connectedAt = null;
      }
      connectedAt ??= now;
      const chunk = randomBytes(16).toString("base64");
      const option = target.wantsAck ? [{ size: records.length, chunk }] : [];
      const message = pack([container.tag, records.map(entry), ...option]);
      await connection.write(message);
      if (target.wantsAck && (await connection.read(readAck)) !== chunk) {
        throw new Error("fluentd acknowledged another chunk");
      }
    },
    close() {
      connectedAt = null;
      connection.close();
    },
  };
}
