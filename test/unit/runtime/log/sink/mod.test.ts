// Remote log drivers against receivers of our own: what goes over the wire, byte for byte, and what comes after a break.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTLSServer } from "node:tls";
import { gunzipSync, inflateSync } from "node:zlib";
import { chunks } from "../../../../../runtime/log/sink/gelf.ts";
import {
  createSink,
  type SinkContainer,
  type SinkRecord,
  type SinkTarget,
  type Transport,
} from "../../../../../runtime/log/sink/mod.ts";
import { EventTime, pack, readAck } from "../../../../../runtime/log/sink/msgpack.ts";

const AT = 1_704_067_200_123_456_789n;
const container: SinkContainer = {
  id: "c".repeat(64),
  name: "web",
  imageID: "sha256:abc",
  imageName: "busybox",
  command: "/bin/echo hi",
  createdAt: "2024-01-01T00:00:00Z",
  hostName: "host",
  tag: "cccccccccccc",
  extra: { label: "x" },
  pid: 7,
};
const record = (text: string, stream: 1 | 2 = 1): SinkRecord => ({
  stream,
  timeNano: AT,
  bytes: new TextEncoder().encode(text),
  partial: null,
});
const NO_TLS = { caFile: "", certFile: "", keyFile: "", skipsVerify: false };

let directory = "";
const closing: (() => void)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-sink-"));
});
afterEach(() => {
  for (const close of closing.splice(0)) close();
  rmSync(directory, { recursive: true });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

/** A stream receiver that keeps what it gets. */
async function receiver(
  server: Server,
  where: object,
  onData: (socket: Socket, bytes: Buffer) => void = () => {},
): Promise<{ text(): string; bytes(): Buffer; port: number; sockets: Set<Socket>; close(): void }> {
  const parts: Buffer[] = [];
  const sockets = new Set<Socket>();
  const take = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (bytes: Buffer) => {
      parts.push(bytes);
      onData(socket, bytes);
    });
  };
  server.on("connection", () => {});
  server.on(server instanceof Object && "setSecureContext" in server ? "secureConnection" : "connection", take);
  await new Promise<void>((resolve) => server.listen(where, resolve));
  const close = (): void => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  closing.push(close);
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { text: () => Buffer.concat(parts).toString(), bytes: () => Buffer.concat(parts), port, sockets, close };
}

async function datagrams(): Promise<{ all: Buffer[]; port: number }> {
  const socket = createSocket("udp4");
  const all: Buffer[] = [];
  socket.on("message", (bytes) => void all.push(bytes));
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  closing.push(() => socket.close());
  return { all, port: socket.address().port };
}

function open(target: SinkTarget) {
  const sink = createSink(target, container);
  closing.push(() => sink.close());
  return sink;
}
const at = (protocol: string, port: number): Transport => ({ protocol, host: "127.0.0.1", port, path: "" });
const syslog = (
  transport: Transport,
  format: "" | "rfc3164" | "rfc5424" | "rfc5424micro",
  tls = NO_TLS,
): SinkTarget => ({
  kind: "syslog",
  transport,
  format,
  facility: 3,
  tls,
});

test("syslog: each format over UDP, stderr as an error", async () => {
  const { all, port } = await datagrams();
  for (const format of ["", "rfc3164", "rfc5424", "rfc5424micro"] as const) {
    await open(syslog(at("udp", port), format)).send([record("hello"), record("bad", 2)]);
  }
  await until(() => all.length === 8);
  const text = all.map(String);
  expect(text[0]).toMatch(/^<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d cccccccccccc\[7\]: hello\n$/);
  expect(text[1]).toStartWith("<27>");
  expect(text[2]).toMatch(/^<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d host cccccccccccc\[7\]: hello\n$/);
  expect(text[4]).toBe("<30>1 2024-01-01T00:00:00Z host cccccccccccc 7 cccccccccccc - hello\n");
  expect(text[6]).toBe("<30>1 2024-01-01T00:00:00.123456Z host cccccccccccc 7 cccccccccccc - hello\n");
});

test("syslog: a receiver that breaks off and comes back gets what is sent again", async () => {
  const path = join(directory, "log.sock");
  const first = await receiver(createServer(), { path });
  const sink = open(syslog({ protocol: "unix", host: "", port: 0, path }, "rfc5424"));
  await sink.send([record("one")]);
  await until(() => first.text().endsWith("one\n"));
  first.close();
  await expect(
    (async () => {
      for (;;) await sink.send([record("two")]);
    })(),
  ).rejects.toThrow();
  const second = await receiver(createServer(), { path });
  await sink.send([record("two"), record("three")]);
  await until(() => second.text().includes("three\n"));
  expect(second.text().match(/ - (\w+)\n/g)).toEqual([" - two\n", " - three\n"]);
});

test("syslog: TLS with a CA of its own counts RFC 5424 messages; a stranger's certificate is refused", async () => {
  const [keyFile, certFile] = [join(directory, "key.pem"), join(directory, "cert.pem")];
  const made = spawnSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      keyFile,
      "-out",
      certFile,
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ],
    { encoding: "utf8" },
  );
  expect(made.status).toBe(0);
  const server = await receiver(createTLSServer({ key: readFileSync(keyFile), cert: readFileSync(certFile) }), {
    port: 0,
    host: "127.0.0.1",
  });
  const transport = at("tcp+tls", server.port);
  await expect(open(syslog(transport, "rfc5424")).send([record("hello")])).rejects.toThrow();
  await open(syslog(transport, "rfc5424", { ...NO_TLS, caFile: certFile })).send([record("hello")]);
  const message = "<30>1 2024-01-01T00:00:00Z host cccccccccccc 7 cccccccccccc - hello\n";
  await until(() => server.text() === `${message.length} ${message}`);
  await open(syslog(transport, "", { ...NO_TLS, skipsVerify: true })).send([record("again")]);
  await until(() => server.text().endsWith("]: again\n"));
});

test("gelf: compressed datagrams, in chunks where they are large, and zero-ended messages over TCP", async () => {
  const { all, port } = await datagrams();
  const undo = { gzip: gunzipSync, zlib: inflateSync, none: (bytes: Buffer) => bytes };
  for (const compression of ["gzip", "zlib", "none"] as const) {
    await open({ kind: "gelf", transport: at("udp", port), compression, level: 1 }).send([record("hello", 2)]);
    await until(() => all.length === 1);
    expect(JSON.parse(String(undo[compression](all.splice(0)[0] ?? Buffer.alloc(0))))).toEqual({
      version: "1.1",
      host: "host",
      short_message: "hello",
      timestamp: 1_704_067_200.123,
      level: 3,
      _container_id: container.id,
      _container_name: "web",
      _image_id: "sha256:abc",
      _image_name: "busybox",
      _command: "/bin/echo hi",
      _tag: "cccccccccccc",
      _created: "2024-01-01T00:00:00Z",
      _label: "x",
    });
  }
  const large = Buffer.from("0123456789".repeat(500));
  const parts = chunks(large).map((part) => Buffer.from(part));
  expect(parts.map((part) => [part[0], part[1], part[10], part[11]])).toEqual([
    [0x1e, 0x0f, 0, 4],
    [0x1e, 0x0f, 1, 4],
    [0x1e, 0x0f, 2, 4],
    [0x1e, 0x0f, 3, 4],
  ]);
  expect(Buffer.concat(parts.map((part) => part.subarray(12)))).toEqual(large);
  expect(() => chunks(Buffer.alloc(200_000))).toThrow("128 chunks at most");
  const server = await receiver(createServer(), { port: 0, host: "127.0.0.1" });
  await open({ kind: "gelf", transport: at("tcp", server.port), compression: "none", level: 0 }).send([
    record("a"),
    record("b"),
  ]);
  await until(() => server.text().split("\0").length === 3);
  expect(
    server
      .text()
      .split("\0")
      .slice(0, 2)
      .map((each) => String(JSON.parse(each).short_message)),
  ).toEqual(["a", "b"]);
});

/** As much MessagePack as the forward protocol sends. */
function unpack(bytes: Buffer, from = 0): [unknown, number] {
  const type = bytes[from] ?? 0;
  const many = (count: number, start: number): [unknown[], number] => {
    const items: unknown[] = [];
    let at = start;
    for (let index = 0; index < count; index++) {
      const [item, end] = unpack(bytes, at);
      items.push(item);
      at = end;
    }
    return [items, at];
  };
  const map = (count: number, start: number): [unknown, number] => {
    const [items, end] = many(count * 2, start);
    return [Object.fromEntries(Array.from({ length: count }, (_, i) => [String(items[2 * i]), items[2 * i + 1]])), end];
  };
  const text = (length: number, start: number): [unknown, number] => [
    bytes.subarray(start, start + length).toString(),
    start + length,
  ];
  if (type < 0x80) return [type, from + 1];
  if (type < 0x90) return map(type & 15, from + 1);
  if (type < 0xa0) return many(type & 15, from + 1);
  if (type < 0xc0) return text(type & 31, from + 1);
  if (type === 0xcf) return [Number(bytes.readBigUInt64BE(from + 1)), from + 9];
  if (type === 0xd7) return [[bytes.readUInt32BE(from + 2), bytes.readUInt32BE(from + 6)], from + 10];
  if (type === 0xdb) return text(bytes.readUInt32BE(from + 1), from + 5);
  if (type === 0xdd) return many(bytes.readUInt32BE(from + 1), from + 5);
  throw new Error(`type ${type}`);
}

test("fluentd: forward messages, with sub-seconds and acknowledged where asked for", async () => {
  const path = join(directory, "fluentd.sock");
  const transport = { protocol: "unix", host: "", port: 0, path };
  let answers = true;
  const server = await receiver(createServer(), { path }, (socket, bytes) => {
    const [message] = unpack(bytes);
    const option = Array.isArray(message) ? message[2] : null;
    if (answers && option) socket.write(pack({ ack: String(option.chunk) }));
  });
  const expected = (log: string) => ({
    container_id: container.id,
    container_name: "/web",
    source: "stdout",
    log,
    label: "x",
  });
  await open({
    kind: "fluentd",
    transport,
    isSubSecond: false,
    wantsAck: false,
    timeoutMs: null,
    reconnectMs: null,
  }).send([record("hello"), record("x".repeat(100))]);
  await until(() => server.bytes().length > 200);
  expect(unpack(server.bytes())[0]).toEqual([
    "cccccccccccc",
    [
      [1_704_067_200, expected("hello")],
      [1_704_067_200, expected("x".repeat(100))],
    ],
  ]);
  const before = server.bytes().length;
  const partial = { id: "1", ordinal: 2, isLast: false };
  await open({
    kind: "fluentd",
    transport,
    isSubSecond: true,
    wantsAck: true,
    timeoutMs: null,
    reconnectMs: null,
  }).send([{ ...record("part"), partial }]);
  const [acknowledged] = unpack(server.bytes().subarray(before));
  expect(acknowledged).toMatchObject([
    "cccccccccccc",
    [
      [
        [1_704_067_200, 123_456_789],
        { ...expected("part"), partial_message: "true", partial_id: "1", partial_ordinal: "2", partial_last: "false" },
      ],
    ],
    { size: 1 },
  ]);
  // A connection that is old enough is made anew, and one that does not answer in time is given up.
  const renewing = open({
    kind: "fluentd",
    transport,
    isSubSecond: true,
    wantsAck: true,
    timeoutMs: 50,
    reconnectMs: 1,
  });
  const first = new Set(server.sockets);
  await renewing.send([record("one")]);
  const second = [...server.sockets].find((socket) => !first.has(socket));
  await new Promise((resolve) => setTimeout(resolve, 3));
  await renewing.send([record("anew")]);
  await until(() => second !== undefined && !server.sockets.has(second));
  answers = false;
  expect(await renewing.send([record("unanswered")]).then(() => "delivered", String)).toContain("nothing in 50 ms");
  // No acknowledgement: not delivered.
  const unheard = open({
    kind: "fluentd",
    transport,
    isSubSecond: true,
    wantsAck: true,
    timeoutMs: null,
    reconnectMs: null,
  })
    .send([record("lost")])
    .then(() => "delivered", String);
  await until(() => server.text().includes("lost"));
  for (const socket of server.sockets) socket.destroy();
  expect(await unheard).toContain("was closed");
});

test("acknowledgements are read as they come, and other answers are errors", () => {
  const ack = pack({ ack: "abc" });
  for (let length = 0; length < ack.length; length++) expect(readAck(ack.subarray(0, length))).toBeNull();
  expect(readAck(ack)).toBe("abc");
  expect(readAck(Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b, 0xd9, 1, 0x78]))).toBe("x");
  expect(() => readAck(pack({ nak: "abc" }))).toThrow("another form");
  expect([...pack(new EventTime(2_000_000_003n))]).toEqual([0xd7, 0, 0, 0, 0, 2, 0, 0, 0, 3]);
});
