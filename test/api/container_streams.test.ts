// wait, attach (raw and WebSocket) and logs on a real socket over a fake engine.
import { describe, expect, test } from "bun:test";
import { createApp } from "../../src/api/app.ts";
import type { AttachOptions, ByteStream, Containers, LogQuery } from "../../src/engine/mod.ts";
import { conflict } from "../../src/errors.ts";
import { fakeEngine, fakeRecord } from "../support/fake_engine.ts";
import { eventually, exchange, quietLog, RawClient, serve, type TestServer } from "../support/raw_http.ts";

function serveContainers(containers: Partial<Containers>, hasTerminal = false): Promise<TestServer> {
  const engine = fakeEngine({ records: [fakeRecord({}, { Tty: hasTerminal })], containers });
  return serve(createApp(engine, { log: quietLog, now: () => new Date(), subApps: [] }).fetch);
}

const request = (method: string, path: string, headers = "") =>
  `${method} ${path} HTTP/1.1\r\nHost: d\r\n${headers}\r\n`;
const body = (reply: string) => reply.slice(reply.indexOf("\r\n\r\n") + 4);
const CLOSE = "Connection: close\r\n";
const UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n";

describe("wait", () => {
  function waiting() {
    const { promise: result, resolve, reject } = Promise.withResolvers<{ statusCode: number; error: string | null }>();
    const seen: { condition?: string; signal?: AbortSignal } = {};
    const wait: Containers["wait"] = async (_, condition, signal) => {
      seen.condition = condition;
      seen.signal = signal;
      return { result };
    };
    return { wait, resolve, reject, seen };
  }

  test("the head leaves before the exit, the code after it", async () => {
    const { resolve, seen, wait } = waiting();
    await using server = await serveContainers({ wait });
    using client = await RawClient.open(server.socket);
    client.send(request("POST", "/v1.50/containers/web/wait?condition=removed"));
    const head = await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(head).toStartWith("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n");
    expect(seen.condition).toBe("removed");
    resolve({ statusCode: 137, error: null });
    expect(await client.until((all) => all.endsWith("0\r\n\r\n"))).toContain('{"StatusCode":137}\n');
  });

  test("an error stands beside the code", async () => {
    const { resolve, wait } = waiting();
    resolve({ statusCode: 125, error: "cannot start" });
    await using server = await serveContainers({ wait });
    expect(await exchange(server, request("POST", "/containers/web/wait", CLOSE))).toContain(
      '{"StatusCode":125,"Error":{"Message":"cannot start"}}\n',
    );
  });

  test("waiting that fails is told in the body", async () => {
    const { reject, wait } = waiting();
    await using server = await serveContainers({ wait });
    using client = await RawClient.open(server.socket);
    client.send(request("POST", "/containers/web/wait", CLOSE));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    reject(new Error("lost"));
    expect(await client.untilEnd()).toContain('{"StatusCode":-1,"Error":{"Message":"lost"}}\n');
  });

  test("below 1.30 the head comes with the code, and the condition means nothing", async () => {
    const { resolve, seen, wait } = waiting();
    await using server = await serveContainers({ wait });
    using client = await RawClient.open(server.socket);
    client.send(request("POST", "/v1.29/containers/web/wait?condition=removed", CLOSE));
    await eventually(() => seen.condition === "not-running", "the engine waits");
    expect(client.received).toBe("");
    resolve({ statusCode: 0, error: null });
    expect(await client.untilEnd()).toEndWith('Content-Length: 17\r\n\r\n{"StatusCode":0}\n');
  });

  test("an unknown condition is refused, and a client that leaves is noticed", async () => {
    const { seen, wait } = waiting();
    await using server = await serveContainers({ wait });
    expect(body(await exchange(server, request("POST", "/containers/web/wait?condition=x", CLOSE)))).toBe(
      '{"message":"invalid condition: \\"x\\""}\n',
    );
    const client = await RawClient.open(server.socket);
    client.send(request("POST", "/containers/web/wait"));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    client[Symbol.dispose]();
    await eventually(() => seen.signal?.aborted === true, "the wait is given up");
  });
});

describe("attach", () => {
  function attaching(run: (stream: ByteStream) => Promise<void>, hasTerminal = false) {
    const seen: { options?: AttachOptions } = {};
    const attach: Containers["attach"] = async (_, options) => {
      seen.options = options;
      return { hasTerminal, run };
    };
    return { attach, seen };
  }
  const say = (text: string) => async (stream: ByteStream) => {
    await stream.write(new TextEncoder().encode(text));
  };

  for (const [version, hasTerminal, type] of [
    ["1.50", false, "multiplexed-stream"],
    ["1.50", true, "raw-stream"],
    ["1.41", false, "raw-stream"],
  ] as const) {
    test(`${version} ${hasTerminal ? "with" : "without"} a terminal is upgraded to ${type}`, async () => {
      const { attach, seen } = attaching(say("out"), hasTerminal);
      await using server = await serveContainers({ attach }, hasTerminal);
      const reply = await exchange(
        server,
        request("POST", `/v${version}/containers/web/attach?stream=1&stdout=1&stderr=1`, UPGRADE),
      );
      expect(reply).toStartWith(
        `HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n`,
      );
      expect(body(reply)).toBe("out");
      expect(seen.options).toEqual({
        stream: true,
        logs: false,
        stdin: false,
        stdout: true,
        stderr: true,
        detachKeys: null,
        framed: !hasTerminal,
      });
    });
  }

  test("without an upgrade it is a 200 raw stream", async () => {
    const { attach } = attaching(say("out"));
    await using server = await serveContainers({ attach });
    const reply = await exchange(
      server,
      request("POST", "/v1.50/containers/web/attach?stream=1&stdout=1", "Content-Length: 0\r\n"),
    );
    expect(reply).toStartWith("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n");
    expect(body(reply)).toBe("out");
  });

  test("stdin arrives until the half-close, and output after it", async () => {
    let input = "";
    const { attach } = attaching(async (stream) => {
      for (let bytes; (bytes = await stream.read()) !== null;) input += new TextDecoder().decode(bytes);
      await say(`read ${input}`)(stream);
    });
    await using server = await serveContainers({ attach });
    using client = await RawClient.open(server.socket);
    client.send(`${request("POST", "/containers/web/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a", UPGRADE)}ab`);
    await client.until((all) => all.endsWith("\r\n\r\n"));
    client.send("cd");
    client.halfClose();
    expect(body(await client.untilEnd())).toBe("read abcd");
  });

  test("what does not allow it is an ordinary error reply", async () => {
    await using server = await serveContainers({
      attach: () => Promise.reject(conflict("container web is paused, unpause the container before attach")),
    });
    const reply = await exchange(
      server,
      request("POST", "/containers/web/attach?stream=1", `${UPGRADE}`).replace(
        "Connection: Upgrade",
        "Connection: Upgrade, close",
      ),
    );
    expect(reply).toStartWith("HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n");
    const missing = await exchange(server, request("POST", "/containers/nope/attach?stream=1", CLOSE));
    expect(body(missing)).toBe('{"message":"No such container: nope"}\n');
  });

  const HANDSHAKE =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

  test("a WebSocket carries raw bytes in binary messages, both ways", async () => {
    const { attach, seen } = attaching(async (stream) => {
      const bytes = await stream.read();
      await stream.write(bytes ?? new Uint8Array());
    });
    await using server = await serveContainers({ attach });
    using client = await RawClient.open(server.socket);
    client.send(request("GET", "/containers/web/attach/ws?stream=1&stdin=1&stdout=1", HANDSHAKE));
    const head = await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(head).toStartWith("HTTP/1.1 101 ");
    expect(head).toContain("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    client.send("\x82\x82\x00\x00\x00\x00hi");
    expect(body(await client.untilEnd())).toBe("\x82\x02hi\x88\x02\x03\xe8");
    expect(seen.options).toMatchObject({ stdin: true, stdout: true, stderr: false, framed: false });
  });

  test("below 1.42 a WebSocket has all streams, below 1.28 text messages", async () => {
    const { attach, seen } = attaching(say("x"));
    await using server = await serveContainers({ attach });
    const reply = await exchange(server, request("GET", "/v1.27/containers/web/attach/ws?stream=1", HANDSHAKE));
    expect(body(reply)).toBe("\x81\x01x\x88\x02\x03\xe8");
    expect(seen.options).toMatchObject({ stdin: true, stdout: true, stderr: true });
  });

  for (const [what, handshake] of [
    ["no upgrade", CLOSE],
    ["no key", HANDSHAKE.replace(/Sec-WebSocket-Key.*\r\n/, "")],
    ["a bad key", HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "x")],
    ["another version", HANDSHAKE.replace("13", "8")],
  ] as const) {
    test(`a WebSocket handshake with ${what} is 400`, async () => {
      await using server = await serveContainers(attaching(say("x")));
      const reply = await exchange(
        server,
        request(
          "GET",
          "/containers/web/attach/ws",
          handshake.replace("Connection: Upgrade", "Connection: Upgrade, close"),
        ),
      );
      expect(reply).toStartWith("HTTP/1.1 400 Bad Request\r\n");
    });
  }
});

describe("logs", () => {
  const text = (words: string) => new TextEncoder().encode(words);

  function logging(chunks: () => AsyncIterable<Uint8Array>, hasTerminal = false) {
    const seen: { query?: LogQuery; signal?: AbortSignal } = {};
    const logs: Containers["logs"] = async (_, query, signal) => {
      seen.query = query;
      seen.signal = signal;
      return { hasTerminal, chunks: chunks() };
    };
    return { logs, seen };
  }
  async function* two(): AsyncIterable<Uint8Array> {
    yield text("out\n");
    yield text("err\n");
  }
  const unchunked = (reply: string) =>
    body(reply)
      .replace(/(^|\r\n)[0-9a-f]+\r\n/g, "")
      .replace(/\r\n$/, "");

  test("the bytes are the engine's, and the content type says whether they are framed", async () => {
    await using framed = await serveContainers(logging(two));
    const reply = await exchange(framed, request("GET", "/containers/web/logs?stdout=1&stderr=1", CLOSE));
    expect(reply).toContain("Content-Type: application/vnd.docker.multiplexed-stream\r\n");
    expect(unchunked(reply)).toBe("out\nerr\n");
    await using raw = await serveContainers(logging(two, true));
    const other = await exchange(raw, request("GET", "/containers/web/logs?stdout=1", CLOSE));
    expect(other).toContain("Content-Type: application/vnd.docker.raw-stream\r\n");
    expect(unchunked(other)).toBe("out\nerr\n");
  });

  test("the query is read as Docker reads it", async () => {
    const { logs, seen } = logging(two);
    await using server = await serveContainers({ logs });
    await exchange(
      server,
      request(
        "GET",
        "/containers/web/logs?stdout=1&follow=1&since=1704067200.000000001&until=0&tail=7&timestamps=1&details=1",
        CLOSE,
      ),
    );
    expect(seen.query).toEqual({
      follow: true,
      stdout: true,
      stderr: false,
      sinceNano: 1704067200_000000001n,
      untilNano: null,
      tail: 7,
      timestamps: true,
      details: true,
    });
    for (const tail of ["all", "-1", "x", ""]) {
      await exchange(server, request("GET", `/containers/web/logs?stderr=1&tail=${tail}`, CLOSE));
      expect(seen.query?.tail).toBe(null);
    }
  });

  test("no stream, and a bad time, are refused", async () => {
    await using server = await serveContainers(logging(two));
    expect(body(await exchange(server, request("GET", "/containers/web/logs", CLOSE)))).toBe(
      `{"message":"must specify at least one of 'stdout' or 'stderr'"}\n`,
    );
    expect(await exchange(server, request("GET", "/containers/web/logs?stdout=1&since=x", CLOSE))).toContain(
      'invalid value for \\"since\\": ',
    );
  });

  test("the head leaves before the first line, and a follower that leaves is noticed", async () => {
    const { logs, seen } = logging(async function* () {
      await new Promise(() => {});
      yield text("never");
    });
    await using server = await serveContainers({ logs });
    const client = await RawClient.open(server.socket);
    client.send(request("GET", "/containers/web/logs?stdout=1&follow=1"));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    client[Symbol.dispose]();
    await eventually(() => seen.signal?.aborted === true, "the follow is ended");
  });

  test("a client that half-closes still gets stored lines", async () => {
    const { logs, seen } = logging(async function* () {
      await new Promise((resolve) => setTimeout(resolve, 20));
      yield text("late\n");
    });
    await using server = await serveContainers({ logs });
    using client = await RawClient.open(server.socket);
    client.send(request("GET", "/containers/web/logs?stdout=1"));
    client.halfClose();
    expect(await client.untilEnd()).toContain("late\n");
    expect(seen.signal?.aborted).toBe(false);
  });

  test("a failure on the way is told on stderr", async () => {
    await using server = await serveContainers(
      logging(async function* () {
        yield text("a\n");
        throw new Error("bad file");
      }),
    );
    const reply = await exchange(server, request("GET", "/containers/web/logs?stdout=1", CLOSE));
    expect(unchunked(reply)).toBe("a\n\x02\0\0\0\0\0\0\x1eError grabbing logs: bad file\n");
  });
});
