// Remote log drivers: where a container's records go beside its local log. A sink sends batches; forwarder.ts reads the local
// log, calls it, and tries again when it fails. One file for each protocol.
import type { LogStream } from "../record.ts";
import { createFluentdSink } from "./fluentd.ts";
import { createGelfSink } from "./gelf.ts";
import { createJournaldSink } from "./journald.ts";
import { createSyslogSink } from "./syslog.ts";

/** One record of the local log. */
export interface SinkRecord {
  stream: LogStream;
  timeNano: bigint;
  /** Without its newline. */
  bytes: Uint8Array;
  /** For pieces of a line that is longer than a record. */
  partial: { id: string; ordinal: number; isLast: boolean } | null;
}

export interface Sink {
  /** Resolves when the receiver's side has them (its kernel, or itself where it acknowledges). Rejects: try all again. */
  send(records: readonly SinkRecord[]): Promise<void>;
  close(): void;
}

/** A record that its protocol cannot carry, with all the container's labels beside it: no later try would do better. */
export class TooLargeError extends Error {}

export interface Transport {
  /** `udp`, `tcp`, `tcp+tls`, `tls`, `unix`, `unixgram`. */
  protocol: string;
  host: string;
  port: number;
  /** Of a unix socket. */
  path: string;
}

export interface TlsFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
  skipsVerify: boolean;
}

export type SinkTarget =
  | { kind: "journald"; path: string }
  | {
      kind: "syslog";
      /** null: the machine's own. */
      transport: Transport | null;
      format: "" | "rfc3164" | "rfc5424" | "rfc5424micro";
      facility: number;
      tls: TlsFiles;
    }
  | { kind: "gelf"; transport: Transport; compression: "gzip" | "zlib" | "none"; level: number }
  | {
      kind: "fluentd";
      transport: Transport;
      isSubSecond: boolean;
      wantsAck: boolean;
      /** To connect, to take a write, or to acknowledge; null: the usual. */
      timeoutMs: number | null;
      /** A connection this old is made anew before the next batch; null: it stays while it works. */
      reconnectMs: number | null;
    };

/** What a sink tells of the container beside each record. */
export interface SinkContainer {
  id: string;
  /** Without the slash. */
  name: string;
  imageID: string;
  imageName: string;
  command: string;
  createdAt: string;
  hostName: string;
  tag: string;
  extra: Readonly<Record<string, string>>;
  /** Of the daemon: syslog shows one. */
  pid: number;
}

export function createSink(target: SinkTarget, container: SinkContainer): Sink {
  switch (target.kind) {
    case "journald":
      return createJournaldSink(target.path, container);
    case "syslog":
      return createSyslogSink(target, container);
    case "gelf":
      return createGelfSink(target, container);
    case "fluentd":
      return createFluentdSink(target, container);
  }
}
