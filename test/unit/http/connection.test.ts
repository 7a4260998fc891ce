// src/http/connection.ts on a real socket, byte for byte: framing, keep-alive, streams, clients that leave.
import { describe, expect, test } from "bun:test";
import type { Fetch } from "../../../src/http/connection.ts";
import { ConstantResponse } from "../../../src/http/constant.ts";
import { serveStream } from "../../../src/http/hijack.ts";
import { StreamingResponse, streamOf } from "../../../src/http/streaming.ts";
import { eventually, exchange, RawClient, serve } from "../../support/raw_http.ts";

const CLOSE = "Connection: close\r\n\r\n";
const get = (path: string, rest = CLOSE) => `GET ${path} HTTP/1.1\r\nHost: d\r\n${rest}`;
const post = (path: string, headers: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: d\r\n${headers}\r\n\r\n${body}`;
const body = (reply: string) => reply.slice(reply.indexOf("\r\n\r\n") + 4);
const status = (reply: string) => Number(reply.split(" ")[1]);
const count = (text: string, part: string) => text.split(part).length - 1;

/** Answers with what it was asked: method, path and body. */
const echo: Fetch = async (request) => {
  const { pathname, search } = new URL(request.url);
  return new Response(`${request.method} ${pathname}${search} ${await request.text()}`, {
    headers: { "X-Seen": "yes" },
  });
};

describe("requests", () => {
  test("a reply has the common headers, a date, its length and its own headers", async () => {
    await using server = await serve(echo);
    const reply = await exchange(server, get("/a?b=c"));
    expect(reply).toStartWith("HTTP/1.1 200 OK\r\n");
    for (const line of [
      "Api-Version: 1.55",
      "Docker-Experimental: false",
      "Ostype: linux",
      "Server: Docker/0.1.0 (linux)",
      "X-Seen: yes",
      "Content-Length: 11",
      "Connection: close",
    ]) {
      expect(reply).toContain(`\r\n${line}\r\n`);
    }
    expect(reply).toMatch(/\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/);
    expect(body(reply)).toBe("GET /a?b=c ");
  });

  test("a connection serves one request after the other", async () => {
    await using server = await serve(echo);
    using client = await RawClient.open(server.socket);
    for (const path of ["/1", "/2", "/3"]) {
      client.send(get(path, "\r\n"));
      await client.until((all) => all.endsWith(`GET ${path} `));
    }
    expect(count(client.received, "HTTP/1.1 200")).toBe(3);
    expect(client.received).not.toContain("Connection:");
  });

  test("a constant reply is given again to the same head, and only to it", async () => {
    let asked = 0;
    await using server = await serve((request, transport) => {
      asked++;
      return request.url.endsWith("/ping")
        ? new ConstantResponse("OK", { headers: { "X-A": "b" } })
        : echo(request, transport);
    });
    using client = await RawClient.open(server.socket);
    const ask = async (text: string, total: number): Promise<void> => {
      client.send(text);
      await client.until((all) => count(all, "HTTP/1.1 200") === total && (all.endsWith("OK") || all.endsWith(" ")));
    };
    for (let n = 1; n <= 4; n++) await ask(get("/ping", "\r\n"), n);
    expect(asked).toBe(1);
    const replies = client.received.split("HTTP/1.1").slice(1);
    expect(new Set(replies.map((reply) => reply.replace(/Date: [^\r]+/, ""))).size).toBe(1);
    expect(replies[3]).toContain("X-A: b\r\n");
    await ask(get("/other", "\r\n"), 5);
    await ask(get("/ping", "X-Else: 1\r\n\r\n"), 6);
    expect(asked).toBe(3);
    // In pieces, and two at once: read as any other.
    client.send(get("/ping", "X-Else: 1\r\n\r\n").slice(0, 10));
    await ask(get("/ping", "X-Else: 1\r\n\r\n").slice(10), 7);
    await ask(get("/ping", "X-Else: 1\r\n\r\n").repeat(2), 9);
    // The pieces may have come as one.
    expect(asked).toBeGreaterThanOrEqual(5);
    client.send(get("/ping", CLOSE));
    await client.until((all) => count(all, "HTTP/1.1 200") === 10);
    expect(client.received).toContain("Connection: close");
  });

  test("HEAD gets its constant reply without a body", async () => {
    await using server = await serve(() => new ConstantResponse("OK", { headers: { "content-length": "0" } }));
    using client = await RawClient.open(server.socket);
    for (let n = 1; n <= 3; n++) {
      client.send("HEAD /ping HTTP/1.1\r\nHost: d\r\n\r\n");
      await client.until((all) => count(all, "\r\n\r\n") === n);
    }
    expect(client.received).toEndWith("Content-Length: 0\r\n\r\n");
    expect(client.received).not.toContain("OK\r\n\r\nOK");
  });

  test("pipelined requests are answered in order", async () => {
    await using server = await serve(echo);
    const reply = await exchange(server, get("/1", "\r\n") + post("/2", "Content-Length: 3", "abc") + get("/3"));
    expect(reply.match(/(GET|POST) \/\d (abc)?/g)).toEqual(["GET /1 ", "POST /2 abc", "GET /3 "]);
  });

  test("garbage after a request is 400, after the request's own answer", async () => {
    await using server = await serve(echo);
    const reply = await exchange(server, `${get("/1", "\r\n")}garbage\r\n\r\n`);
    expect(reply.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 400"]);
    expect(reply).toEndWith('{"message":"malformed request line"}\n');
  });

  test("an empty line before a request is skipped", async () => {
    await using server = await serve(echo);
    expect(status(await exchange(server, `\r\n${get("/")}`))).toBe(200);
  });

  test("a head that comes byte by byte is read", async () => {
    await using server = await serve(echo);
    using client = await RawClient.open(server.socket);
    for (const character of get("/slow")) {
      client.send(character);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(body(await client.untilEnd())).toBe("GET /slow ");
  });

  test("HTTP/1.0 closes, and keeps the connection only when asked", async () => {
    await using server = await serve(echo);
    expect(await exchange(server, "GET /a HTTP/1.0\r\n\r\n")).toStartWith("HTTP/1.0 200 OK\r\n");
    using client = await RawClient.open(server.socket);
    client.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(await client.until((all) => all.endsWith("GET /a "))).toContain("Connection: keep-alive\r\n");
    client.send("GET /b HTTP/1.0\r\n\r\n");
    expect(await client.untilEnd()).toEndWith("GET /b ");
  });

  test("HEAD has the head alone, 204 and 304 no body and no length", async () => {
    await using server = await serve((request) => {
      const path = new URL(request.url).pathname;
      if (path === "/head") return new Response("OK", { headers: { "Content-Length": "0" } });
      return new Response(null, { status: Number(path.slice(1)) });
    });
    expect(await exchange(server, `HEAD /head HTTP/1.1\r\nHost: d\r\n${CLOSE}`)).toMatch(/Content-Length: 0\r\n\r\n$/);
    for (const code of ["204", "304"]) {
      const reply = await exchange(server, get(`/${code}`));
      expect(status(reply)).toBe(Number(code));
      expect(reply).not.toContain("Content-Length");
      expect(body(reply)).toBe("");
    }
  });

  test("an empty body has a length of 0", async () => {
    await using server = await serve(() => new Response(null));
    expect(await exchange(server, get("/"))).toContain("Content-Length: 0\r\n");
  });

  test("a handler that throws is a 500 in JSON, and the connection goes on", async () => {
    await using server = await serve((request) => {
      if (request.url.endsWith("/bad")) throw new Error("broken");
      return new Response("fine");
    });
    const reply = await exchange(server, get("/bad", "\r\n") + get("/good"));
    expect(reply).toContain("HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\n");
    expect(reply).toContain('{"message":"broken"}\n');
    expect(reply).toEndWith("fine");
  });
});

describe("bodies", () => {
  test("chunks are put together, with extensions and trailers skipped", async () => {
    await using server = await serve(echo);
    const chunks = "3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    const reply = await exchange(server, post("/c", "Transfer-Encoding: chunked", chunks) + get("/next"));
    expect(reply).toContain("POST /c abc0123456789");
    expect(reply).toEndWith("GET /next ");
  });

  for (const [what, chunks] of [
    ["no size", "\r\nabc\r\n"],
    ["a bad size", "xyz\r\nabc\r\n"],
    ["an enormous size", "fffffffffffffffff\r\n"],
    ["no end", "3\r\nabcdef\r\n0\r\n\r\n"],
    ["an endless size line", `3;${"x".repeat(10_000)}`],
    ["endless trailers", `0\r\n${"T: x\r\n".repeat(40)}`],
  ] as const) {
    test(`a chunk with ${what} fails the read, and the connection ends`, async () => {
      let failure: unknown;
      await using server = await serve(async (request) => {
        await request.text().catch((error: unknown) => (failure = error));
        return new Response("read");
      });
      expect(status(await exchange(server, post("/c", "Transfer-Encoding: chunked", chunks)))).toBe(200);
      expect(String(failure)).toContain("HttpError");
    });
  }

  test("a body that breaks off fails the read", async () => {
    let failure: unknown;
    await using server = await serve(async (request) => {
      await request.text().catch((error: unknown) => (failure = error));
      return new Response("read");
    });
    using client = await RawClient.open(server.socket);
    client.send(post("/c", "Content-Length: 10", "abc"));
    client.halfClose();
    await client.untilEnd();
    expect(String(failure)).toContain("ended inside the request body");
  });

  test("100 Continue goes out when the body is first read, and not before", async () => {
    const { promise: mayRead, resolve: allow } = Promise.withResolvers<void>();
    await using server = await serve(async (request) => {
      await mayRead;
      return new Response(await request.text());
    });
    using client = await RawClient.open(server.socket);
    client.send(post("/c", "Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close", ""));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(client.received).toBe("");
    allow();
    await client.until((all) => all === "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("abc");
    expect(await client.untilEnd()).toEndWith("\r\n\r\nabc");
  });

  test("a refused expectation ends the connection, so that no body is taken for a request", async () => {
    await using server = await serve(() => new Response("no", { status: 404 }));
    const reply = await exchange(server, post("/c", "Expect: 100-continue\r\nContent-Length: 3", ""));
    expect(reply).toContain("HTTP/1.1 404 Not Found\r\n");
    expect(reply).toContain("Connection: close\r\n");
    expect(reply).not.toContain("100 Continue");
  });

  test("a short unread body is read away, a long one costs the connection after its answer", async () => {
    await using server = await serve(() => new Response("no", { status: 400 }));
    const short = await exchange(server, post("/c", "Content-Length: 5", "abcde") + get("/next"));
    expect(count(short, "HTTP/1.1 400")).toBe(2);
    using client = await RawClient.open(server.socket);
    client.send(post("/c", "Content-Length: 1000000000", "x".repeat(100_000)));
    expect(await client.untilEnd()).toEndWith("no");
  });

  test("a client is not read faster than its handler reads", async () => {
    const { promise: mayRead, resolve: allow } = Promise.withResolvers<void>();
    let total = 0;
    await using server = await serve(async (request) => {
      await mayRead;
      for await (const bytes of request.body ?? []) total += bytes.length;
      return new Response("read");
    });
    using client = await RawClient.open(server.socket);
    const size = 16 << 20;
    client.send(post("/c", `Content-Length: ${size}\r\nConnection: close`, ""));
    client.socket.write(Buffer.alloc(size));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(client.socket.writableLength).toBeGreaterThan(size / 2);
    allow();
    await client.untilEnd();
    expect(total).toBe(size);
  });
});

describe("what never becomes a request", () => {
  for (const [what, bytes, expected] of [
    ["bytes of TLS", "\x16\x03\x01\x02\x00", 400],
    ["binary garbage", "\x00\xff\x00", 400],
    ["a bare LF", "GET / HTTP/1.1\nHost: d\n\n", 400],
    ["an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
    ["a giant head", `GET / HTTP/1.1\r\nX: ${"x".repeat(1_100_000)}`, 431],
    ["a giant head with an end", `GET / HTTP/1.1\r\nHost: d\r\nX: ${"x".repeat(1_100_000)}\r\n\r\n`, 431],
    ["a missing Host", "GET / HTTP/1.1\r\n\r\n", 400],
    ["two framings", "POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
  ] as const) {
    test(`${what} is ${expected} in JSON with the common headers, and the connection ends`, async () => {
      await using server = await serve(echo);
      const reply = await exchange(server, bytes);
      expect(status(reply)).toBe(expected);
      expect(reply).toContain("\r\nContent-Type: application/json\r\n");
      expect(reply).toContain("\r\nApi-Version: 1.55\r\n");
      expect(JSON.parse(body(reply))).toEqual({ message: expect.any(String) });
    });
  }

  test("a head just under the limit is served", async () => {
    await using server = await serve(echo);
    expect(status(await exchange(server, get("/", `X: ${"x".repeat(900_000)}\r\n${CLOSE}`)))).toBe(200);
  });

  test("half a head is cut off when its time is up, with 408", async () => {
    await using server = await serve(echo, { timeouts: { headMs: 40 } });
    expect(status(await exchange(server, "GET / HT"))).toBe(408);
  });

  test("a silent connection is closed when its time is up", async () => {
    await using server = await serve(echo, { timeouts: { headMs: 40 } });
    expect(await exchange(server, "")).toBe("");
  });

  test("a request that takes longer than a head may is not cut off", async () => {
    await using server = await serve(
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 120));
        return new Response("late");
      },
      { timeouts: { headMs: 30, keepAliveMs: 30 } },
    );
    expect(await exchange(server, get("/"))).toEndWith("late");
  });

  test("connections over the limit are closed, and room is made again", async () => {
    await using server = await serve(echo, { maxConnections: 1 });
    const first = await RawClient.open(server.socket);
    await eventually(() => server.http.connections === 1, "the first connection counts");
    expect(await exchange(server, get("/"))).toBe("");
    first[Symbol.dispose]();
    await eventually(() => server.http.connections === 0, "the first connection is gone");
    expect(status(await exchange(server, get("/")))).toBe(200);
  });
});

describe("streams", () => {
  /** A stream that the test feeds. */
  function feed() {
    let controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
    const state = { isCancelled: false };
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (given) => {
        controller = given;
      },
      cancel: () => {
        state.isCancelled = true;
      },
    });
    const put = (text: string) => controller?.enqueue(new TextEncoder().encode(text));
    return { stream, put, state, close: () => controller?.close(), fail: () => controller?.error(new Error("broken")) };
  }

  test("the head leaves before the first chunk, and each chunk at once", async () => {
    const { close, put, stream } = feed();
    await using server = await serve(() => new StreamingResponse(stream));
    using client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    const head = await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(head).toContain("Transfer-Encoding: chunked\r\n");
    expect(head).not.toContain("Content-Length");
    put("one");
    await client.until((all) => all.endsWith("3\r\none\r\n"));
    put("two!");
    await client.until((all) => all.endsWith("4\r\ntwo!\r\n"));
    close();
    await client.until((all) => all.endsWith("0\r\n\r\n"));
    client.send(get("/"));
  });

  test("to HTTP/1.0 it goes without chunks, and the end of the connection is its end", async () => {
    const { close, put, stream } = feed();
    await using server = await serve(() => new StreamingResponse(stream));
    put("one");
    close();
    const reply = await exchange(server, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(reply).toContain("Connection: close\r\n");
    expect(body(reply)).toBe("one");
  });

  test("with a known length it has no chunks", async () => {
    const { close, put, stream } = feed();
    await using server = await serve(() => new StreamingResponse(stream, { headers: { "Content-Length": "3" } }));
    put("one");
    close();
    const reply = await exchange(server, get("/"));
    expect(reply).not.toContain("chunked");
    expect(body(reply)).toBe("one");
  });

  test("one that breaks ends the connection without the end marker", async () => {
    const { fail, put, stream } = feed();
    await using server = await serve(() => new StreamingResponse(stream));
    using client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    put("one");
    await client.until((all) => all.endsWith("one\r\n"));
    fail();
    expect(await client.untilEnd()).toEndWith("3\r\none\r\n");
  });

  test("a client that leaves aborts the signal", async () => {
    let signal: AbortSignal | undefined;
    const { stream } = feed();
    await using server = await serve((request) => {
      signal = request.signal;
      return new StreamingResponse(stream);
    });
    const client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(signal?.aborted).toBe(false);
    client[Symbol.dispose]();
    await eventually(() => signal?.aborted === true, "the signal is aborted");
  });

  test("a download that is broken off cancels its stream", async () => {
    let isReturned = false;
    const block = new Uint8Array(65536);
    async function* endless() {
      try {
        for (;;) yield block;
      } finally {
        isReturned = true;
      }
    }
    await using server = await serve(() => streamOf(endless(), {}));
    const client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    await client.until((all) => all.length > 100_000);
    client[Symbol.dispose]();
    await eventually(() => isReturned, "the stream is cancelled");
    await eventually(() => server.http.connections === 0, "the connection is gone");
  });

  test("a client that does not read stops its stream", async () => {
    let given = 0;
    const block = new Uint8Array(65536);
    async function* endless() {
      for (;;) {
        given += block.length;
        yield block;
      }
    }
    await using server = await serve(() => streamOf(endless(), {}));
    using client = await RawClient.open(server.socket);
    client.socket.pause();
    client.send(get("/", "\r\n"));
    let before = -1;
    await eventually(() => {
      const isStill = given > 0 && given === before;
      before = given;
      return isStill;
    }, "the stream waits");
    expect(given).toBeLessThan(8 << 20);
  });

  test("a client that half-closes after its request still gets the answer", async () => {
    await using server = await serve(async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return new Response("answer");
    });
    using client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    client.halfClose();
    expect(await client.untilEnd()).toEndWith("answer");
  });

  test("large chunks arrive whole", async () => {
    const block = new Uint8Array(300_000).fill(0x61);
    await using server = await serve(() =>
      streamOf(
        (async function* () {
          yield block;
          yield block;
        })(),
        {},
      ),
    );
    const reply = await exchange(server, get("/"));
    expect(count(reply, "493e0\r\n")).toBe(2);
    expect(count(reply, "a".repeat(300_000))).toBe(2);
  });
});

describe("hijack", () => {
  const TCP = "Connection: Upgrade\r\nUpgrade: tcp";
  /** Sends everything back, then a last word when the client has ended. */
  const echoStream: Fetch = async (request, transport) => {
    const json = request.headers.has("content-type") ? await request.text() : "";
    const isUpgrade = request.headers.has("upgrade");
    const stream = await transport.hijack(
      isUpgrade ? 101 : 200,
      isUpgrade ? { "Content-Type": "x/raw", Connection: "Upgrade", Upgrade: "tcp" } : { "Content-Type": "x/raw" },
    );
    void serveStream(
      stream,
      async (each) => {
        if (json !== "") await each.write(new TextEncoder().encode(`[${json}]`));
        for (let bytes; (bytes = await each.read()) !== null;) await each.write(bytes);
        await each.write(new TextEncoder().encode("bye"));
      },
      200,
    ).catch(() => {});
    return new Response("ignored");
  };

  test("101 has exactly Docker's status line and headers", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(post("/", TCP, ""));
    const head = await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(head).toStartWith(
      "HTTP/1.1 101 UPGRADED\r\nContent-Type: x/raw\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.55\r\n",
    );
    client.send("abc");
    await client.until((all) => all.endsWith("abc"));
    client.halfClose();
    expect(body(await client.untilEnd())).toBe("abcbye");
  });

  test("without an upgrade it is a 200 without length and chunks", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(post("/", "Content-Length: 0", ""));
    const head = await client.until((all) => all.endsWith("\r\n\r\n"));
    expect(head).toStartWith("HTTP/1.1 200 OK\r\nContent-Type: x/raw\r\n");
    expect(head).not.toMatch(/Content-Length|Transfer-Encoding/);
    client.halfClose();
    expect(body(await client.untilEnd())).toBe("bye");
  });

  test("bytes that came with the head are the stream's first", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(`${post("/", TCP, "")}early`);
    await client.until((all) => all.endsWith("early"));
    client.halfClose();
    expect(body(await client.untilEnd())).toBe("earlybye");
  });

  test("a JSON body comes before the stream and not into it", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(post("/", `${TCP}\r\nContent-Type: application/json\r\nContent-Length: 7`, '{"a":1}stdin'));
    await client.until((all) => all.endsWith('[{"a":1}]stdin'));
  });

  test("a body with a length that the handler left is not the stream", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(post("/", `${TCP}\r\nContent-Length: 4`, "bodystdin"));
    await client.until((all) => body(all) === "stdin");
  });

  test("chunks that nobody has read are the stream itself", async () => {
    await using server = await serve(echoStream);
    using client = await RawClient.open(server.socket);
    client.send(post("/", `${TCP}\r\nTransfer-Encoding: chunked`, "3\r\nabc\r\n"));
    await client.until((all) => body(all) === "3\r\nabc\r\n");
  });

  test("a client that half-closes at once still gets all output", async () => {
    await using server = await serve(async (_, transport) => {
      const stream = await transport.hijack(101, {});
      void serveStream(
        stream,
        async (each) => {
          expect(await each.read()).toBe(null);
          await new Promise((resolve) => setTimeout(resolve, 30));
          for (let i = 0; i < 64; i++) await each.write(new Uint8Array(65536).fill(0x62));
        },
        200,
      );
      return new Response(null);
    });
    using client = await RawClient.open(server.socket);
    client.send(post("/", TCP, ""));
    client.halfClose();
    expect(body(await client.untilEnd()).length).toBe(64 * 65536);
  });

  test("what the client still sends after our end does not cost it our output", async () => {
    await using server = await serve(async (_, transport) => {
      const stream = await transport.hijack(101, {});
      void serveStream(stream, async (each) => await each.write(new Uint8Array(1 << 20).fill(0x63)), 300);
      return new Response(null);
    });
    using client = await RawClient.open(server.socket);
    client.send(`${post("/", TCP, "")}${"x".repeat(500_000)}`);
    expect(body(await client.untilEnd()).length).toBe(1 << 20);
    await eventually(() => server.http.connections === 0, "the connection is closed after its linger");
  });

  test("output to a client that has gone rejects, and onGone tells", async () => {
    let failure: unknown;
    let isGone = false;
    await using server = await serve(async (_, transport) => {
      const stream = await transport.hijack(101, {});
      stream.onGone(() => {
        isGone = true;
      });
      void serveStream(
        stream,
        async (each) => {
          await each.read();
          for (;;) await each.write(new Uint8Array(65536));
        },
        200,
      ).catch((error: unknown) => (failure = error));
      return new Response(null);
    });
    const client = await RawClient.open(server.socket);
    client.send(post("/", TCP, ""));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    client[Symbol.dispose]();
    await eventually(() => failure !== undefined && isGone, "the write rejects");
  });

  test("a slow reader holds the writer back", async () => {
    let written = 0;
    await using server = await serve(async (_, transport) => {
      const stream = await transport.hijack(101, {});
      void serveStream(
        stream,
        async (each) => {
          for (let i = 0; i < 512; i++) {
            await each.write(new Uint8Array(65536));
            written += 65536;
          }
        },
        200,
      ).catch(() => {});
      return new Response(null);
    });
    using client = await RawClient.open(server.socket);
    client.socket.pause();
    client.send(post("/", TCP, ""));
    let before = -1;
    await eventually(() => {
      const isStill = written > 0 && written === before;
      before = written;
      return isStill;
    }, "the writer waits");
    expect(written).toBeLessThan(512 * 65536);
    client.socket.resume();
    expect(body(await client.untilEnd()).length).toBe(512 * 65536);
  });
});

describe("closing the server", () => {
  test("idle connections end at once, a running request gets its answer", async () => {
    const { promise: mayAnswer, resolve: allow } = Promise.withResolvers<void>();
    let isAsked = false;
    const server = await serve(async (request) => {
      if (request.url.endsWith("/slow")) {
        isAsked = true;
        await mayAnswer;
      }
      return new Response("answer");
    });
    using idle = await RawClient.open(server.socket);
    idle.send(get("/", "\r\n"));
    await idle.until((all) => all.endsWith("answer"));
    using busy = await RawClient.open(server.socket);
    busy.send(get("/slow", "\r\n"));
    await eventually(() => isAsked, "the slow request runs");
    const closed = server.http.close(5_000);
    await idle.untilEnd();
    expect(busy.hasEnded).toBe(false);
    allow();
    const reply = await busy.untilEnd();
    expect(reply).toContain("Connection: close\r\n");
    expect(reply).toEndWith("answer");
    await closed;
    await server[Symbol.asyncDispose]();
  });

  test("what does not end in time is cut off", async () => {
    const server = await serve(() => new StreamingResponse(new ReadableStream({ pull: () => new Promise(() => {}) })));
    using client = await RawClient.open(server.socket);
    client.send(get("/", "\r\n"));
    await client.until((all) => all.endsWith("\r\n\r\n"));
    await server.http.close(30);
    await client.untilEnd();
    expect(server.http.connections).toBe(0);
    await server[Symbol.asyncDispose]();
  });
});
