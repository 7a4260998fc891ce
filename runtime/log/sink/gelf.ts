// The gelf driver: Graylog's extended log format 1.1, over UDP (compressed, in chunks beyond 8 KiB as Docker's) or TCP (each
// message ended by a zero byte).
import { randomBytes } from "node:crypto";
import { deflateSync, gzipSync } from "node:zlib";
import { Datagrams } from "./datagrams.ts";
import { type Sink, type SinkContainer, type SinkRecord, type SinkTarget, TooLargeError } from "./mod.ts";
import { StreamConnection } from "./stream_connection.ts";

type GelfTarget = Extract<SinkTarget, { kind: "gelf" }>;

const LEVEL = { 1: 6, 2: 3 } as const;
/** What the specification calls safe on a wide network. */
const CHUNK_BYTES = 1420;
const CHUNK_HEAD_BYTES = 12;
/** The specification's limit; 16 KiB of text is twelve at most. */
const MAX_CHUNKS = 128;

export function createGelfSink(target: GelfTarget, container: SinkContainer): Sink {
  const decoder = new TextDecoder();
  const common = {
    _container_id: container.id,
    _container_name: container.name,
    _image_id: container.imageID,
    _image_name: container.imageName,
    _command: container.command,
    _tag: container.tag,
    _created: container.createdAt,
    ...Object.fromEntries(Object.entries(container.extra).map(([key, value]) => [`_${key}`, value])),
  };
  const message = (record: SinkRecord): Buffer =>
    Buffer.from(
      JSON.stringify({
        version: "1.1",
        host: container.hostName,
        short_message: decoder.decode(record.bytes),
        timestamp: Number(record.timeNano / 1_000_000n) / 1000,
        level: LEVEL[record.stream],
        ...common,
      }),
    );
  if (target.transport.protocol === "tcp") {
    const connection = new StreamConnection(target.transport);
    return {
      send: (records) => connection.write(Buffer.concat(records.flatMap((each) => [message(each), Buffer.alloc(1)]))),
      close: () => connection.close(),
    };
  }
  const datagrams = new Datagrams(target.transport);
  return {
    async send(records) {
      for (const record of records) {
        // COMPAT: Graylog refuses an empty short_message; Docker sends none either.
        if (record.bytes.length === 0) continue;
        for (const chunk of chunks(compress(message(record), target))) await datagrams.send(chunk);
      }
    },
    close: () => datagrams.close(),
  };
}

function compress(bytes: Buffer, { compression, level }: GelfTarget): Uint8Array {
  if (compression === "none") return bytes;
  return compression === "gzip" ? gzipSync(bytes, { level }) : deflateSync(bytes, { level });
}

/** 1e 0f │ 8 bytes message ID │ number │ count │ part. Whole where one datagram is enough. */
export function chunks(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length <= CHUNK_BYTES) return [bytes];
  const room = CHUNK_BYTES - CHUNK_HEAD_BYTES;
  const count = Math.ceil(bytes.length / room);
  if (count > MAX_CHUNKS)
    throw new TooLargeError(`a GELF message of ${bytes.length} bytes: ${MAX_CHUNKS} chunks at most`);
  const id = randomBytes(8);
  return Array.from({ length: count }, (_, index) =>
    Buffer.concat([
      Uint8Array.of(0x1e, 0x0f),
      id,
      Uint8Array.of(index, count),
      bytes.subarray(index * room, (index + 1) * room),
    ]),
  );
}
