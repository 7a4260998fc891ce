// The journald driver: systemd's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), one datagram for each record. A record
// is at most 16 KiB; only labels or environment can make an entry too large for one.
//
//   KEY=value\n                        or, where the value has a newline:  KEY\n │ u64 length, little-endian │ value │ \n
import { SyscallError } from "../../errors.ts";
import { sendDescriptor, sendUnixDatagram } from "../../host.ts";
import { E } from "../../sys/errno.ts";
import { dataMemfd, sealMemfd, writeAll } from "../../sys/file.ts";
import { toTimeText } from "../time_text.ts";
import type { Sink, SinkContainer, SinkRecord } from "./mod.ts";
import { withRoom } from "./syslog.ts";

const PRIORITY = { 1: "6", 2: "3" } as const;

export function createJournaldSink(path: string, container: SinkContainer): Sink {
  const common = Object.entries({
    ...Object.fromEntries(Object.entries(container.extra).map(([key, value]) => [fieldName(key), value])),
    CONTAINER_ID: container.id.slice(0, 12),
    CONTAINER_ID_FULL: container.id,
    CONTAINER_NAME: container.name,
    CONTAINER_TAG: container.tag,
    IMAGE_NAME: container.imageName,
    SYSLOG_IDENTIFIER: container.tag,
  })
    .filter(([key]) => key !== "")
    .map(([key, value]) => field(key, Buffer.from(value)));
  return {
    async send(records) {
      for (const record of records) {
        const extra = Object.entries(partialFields(record)).map(([key, value]) =>
          field(`CONTAINER_${key.toUpperCase()}`, Buffer.from(value)),
        );
        const entry = Buffer.concat([
          field("MESSAGE", record.bytes),
          field("PRIORITY", Buffer.from(PRIORITY[record.stream])),
          field("SYSLOG_TIMESTAMP", Buffer.from(toTimeText(record.timeNano))),
          ...common,
          ...extra,
        ]);
        await withRoom(() => sendEntry(path, entry));
      }
    },
    close: () => {},
  };
}

/** An entry that no datagram holds goes in a sealed memory file, as the protocol has it. */
function sendEntry(path: string, entry: Uint8Array): void {
  try {
    sendUnixDatagram(path, entry);
  } catch (error) {
    if (!(error instanceof SyscallError && error.errno === E.EMSGSIZE)) throw error;
    using file = dataMemfd("journal-entry");
    writeAll(file, entry);
    sealMemfd(file);
    sendDescriptor(path, file);
  }
}

/** COMPAT: Docker's rule for labels and environment: capitals, digits and underscores, none of these first. */
function fieldName(key: string): string {
  return key
    .toUpperCase()
    .replace(/[^A-Z0-9_]/g, "_")
    .replace(/^_+/, "")
    .slice(0, 64);
}

function field(key: string, value: Uint8Array): Buffer {
  if (!value.includes(0x0a)) return Buffer.concat([Buffer.from(`${key}=`), value, Buffer.from("\n")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([Buffer.from(`${key}\n`), length, value, Buffer.from("\n")]);
}

/** COMPAT: Docker's words for the pieces of a long line. */
export function partialFields({ partial }: SinkRecord): Record<string, string> {
  if (!partial) return {};
  const { id, isLast, ordinal } = partial;
  return {
    partial_message: "true",
    partial_id: id,
    partial_ordinal: String(ordinal),
    partial_last: String(isLast),
  };
}
