// The syslog driver: RFC 3164, RFC 5424 and the plain form of local sockets, over datagrams or streams (RFC 6587: a newline
// ends a message; RFC 5425 with TLS and RFC 5424: its length comes first).
import { existsSync } from "node:fs";
import { SyscallError } from "../../errors.ts";
import { sendUnixDatagram } from "../../host.ts";
import { E } from "../../sys/errno.ts";
import { Datagrams } from "./datagrams.ts";
import { type Sink, type SinkContainer, type SinkRecord, type SinkTarget, TooLargeError } from "./mod.ts";
import { StreamConnection } from "./stream_connection.ts";

type SyslogTarget = Extract<SinkTarget, { kind: "syslog" }>;

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const SEVERITY = { 1: 6, 2: 3 } as const;
const LOCAL_SOCKETS = ["/dev/log", "/var/run/syslog", "/var/run/log"];

export function createSyslogSink(target: SyslogTarget, container: SinkContainer): Sink {
  const format = (record: SinkRecord): Buffer => formatMessage(target, container, record);
  const { transport } = target;
  if (transport === null || transport.protocol === "unixgram") return localSink(transport?.path ?? null, format);
  if (transport.protocol === "udp") {
    const datagrams = new Datagrams(transport);
    return {
      async send(records) {
        for (const record of records) await datagrams.send(format(record));
      },
      close: () => datagrams.close(),
    };
  }
  const connection = new StreamConnection(transport, target.tls);
  const isCounted = transport.protocol === "tcp+tls" && target.format.startsWith("rfc5424");
  return {
    async send(records) {
      const messages = records.map(format);
      await connection.write(
        Buffer.concat(isCounted ? messages.flatMap((each) => [Buffer.from(`${each.length} `), each]) : messages),
      );
    },
    close: () => connection.close(),
  };
}

function localSink(path: string | null, format: (record: SinkRecord) => Buffer): Sink {
  return {
    async send(records) {
      const address = path ?? LOCAL_SOCKETS.find((each) => existsSync(each));
      if (address === undefined) throw new Error("Unix syslog delivery error: there is no socket of a syslog daemon");
      for (const record of records) await withRoom(() => sendUnixDatagram(address, format(record)));
    },
    close: () => {},
  };
}

/** A full queue of the receiver is waited for, without holding up the event loop. */
export async function withRoom(send: () => void): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return send();
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.EMSGSIZE) {
        throw new TooLargeError("a record that a datagram cannot hold", { cause: error });
      }
      const isFull = error instanceof SyscallError && (error.errno === E.EAGAIN || error.errno === E.ENOBUFS);
      if (!isFull || tries === FULL_TRIES) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, FULL_WAIT_MS));
  }
}
const FULL_TRIES = 200;
const FULL_WAIT_MS = 5;

function formatMessage(target: SyslogTarget, container: SinkContainer, record: SinkRecord): Buffer {
  const priority = target.facility * 8 + SEVERITY[record.stream];
  const { hostName, pid, tag } = container;
  const time = new Date(Number(record.timeNano / 1_000_000n));
  const head = {
    "": () => `<${priority}>${stamp(time)} ${tag}[${pid}]: `,
    rfc3164: () => `<${priority}>${stamp(time)} ${hostName} ${tag}[${pid}]: `,
    rfc5424: () => `<${priority}>1 ${time.toISOString().slice(0, 19)}Z ${hostName} ${tag} ${pid} ${tag} - `,
    rfc5424micro: () => `<${priority}>1 ${micro(record.timeNano, time)} ${hostName} ${tag} ${pid} ${tag} - `,
  }[target.format]();
  return Buffer.concat([Buffer.from(head), record.bytes, NEWLINE]);
}
const NEWLINE = Buffer.from("\n");

/** `Jan _2 15:04:05` in local time, as RFC 3164 wants it. */
function stamp(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = String(time.getDate()).padStart(2, " ");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
  return `${MONTHS[time.getMonth()] ?? ""} ${day} ${clock}`;
}

function micro(timeNano: bigint, time: Date): string {
  return `${time.toISOString().slice(0, 19)}.${String((timeNano / 1000n) % 1_000_000n).padStart(6, "0")}Z`;
}
