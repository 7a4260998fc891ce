// Attach over fakes of both sides: a Stdio that the test writes to, and a client that the test reads from.
import { expect, test } from "bun:test";
import type { LogPiece, LogReader, LogWriter } from "../../../../runtime/log/mod.ts";
import type { Stdio, StdioClient } from "../../../../runtime/stdio/plane.ts";
import { type AttachTarget, createAttachSlot, prepareAttach } from "../../../../src/engine/containers/attach.ts";
import type { AttachOptions, ByteStream } from "../../../../src/engine/mod.ts";
import { encodeFrame } from "../../../../src/http/multiplex.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

class FakeStdio implements Stdio {
  readonly isTTY = false;
  readonly clients = new Set<StdioClient>();
  input = "";
  isStdinClosed = false;
  #onLogged: () => void = () => {};
  readonly logged = new Promise<void>((resolve) => (this.#onLogged = resolve));
  readonly drained = this.logged;
  attach(client: StdioClient): () => void {
    this.clients.add(client);
    return () => this.clients.delete(client);
  }
  writeStdin(bytes: Uint8Array): Promise<void> {
    this.input += Buffer.from(bytes).toString();
    return Promise.resolve();
  }
  closeStdin(): void {
    this.isStdinClosed = true;
  }
  close(): void {}
  /** What each client answered: a promise asks to wait. */
  give(stream: 1 | 2, text: string): (Promise<void> | void)[] {
    return [...this.clients]
      .filter((client) => (stream === 1 ? client.stdout : client.stderr))
      .map((client) => client.write(stream, encode(text), encodeFrame(stream, encode(text))));
  }
  put(stream: 1 | 2, text: string): void {
    void this.give(stream, text);
  }
  end(): void {
    for (const client of this.clients) void client.end();
    this.#onLogged();
  }
}

class FakeClient implements ByteStream {
  output = Buffer.alloc(0);
  hasClosedWrite = false;
  isStuck = false;
  #input: (Uint8Array | null)[] = [];
  #wake: () => void = () => {};
  #onGone: () => void = () => {};
  type(bytes: Uint8Array | null): void {
    this.#input.push(bytes);
    this.#wake();
  }
  async read(): Promise<Uint8Array | null> {
    while (this.#input.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    const next = this.#input[0] ?? null;
    if (next !== null) this.#input.shift();
    return next;
  }
  write(bytes: Uint8Array): Promise<void> | void {
    this.output = Buffer.concat([this.output, bytes]);
    if (this.isStuck) return new Promise<void>(() => {});
  }
  closeWrite(): void {
    this.hasClosedWrite = true;
  }
  destroy(): void {}
  onGone(callback: () => void): void {
    this.#onGone = callback;
  }
  vanish(): void {
    this.type(null);
    this.#onGone();
  }
}

const OPTIONS: AttachOptions = {
  stream: true,
  logs: false,
  stdin: false,
  stdout: true,
  stderr: true,
  detachKeys: null,
  framed: false,
};

function makeTarget(config: Partial<AttachTarget["config"]> = {}): AttachTarget & { detached: number } {
  const target = {
    slot: createAttachSlot(),
    config: { isTTY: false, isStdinOpen: true, isStdinOnce: true, ...config },
    reader: (): LogReader | null => null,
    writer: (): LogWriter | null => null,
    detachKeys: "",
    detached: 0,
    onDetach: () => void target.detached++,
  };
  return target;
}

test("a client that attaches before the start receives the first byte and ends after the last", async () => {
  const target = makeTarget();
  const client = new FakeClient();
  const run = prepareAttach(target, { ...OPTIONS, framed: true })(client);
  const stdio = new FakeStdio();
  target.slot.bind(stdio);
  stdio.put(1, "first");
  stdio.put(2, "second");
  stdio.end();
  await run;
  expect(client.output).toEqual(Buffer.concat([encodeFrame(1, encode("first")), encodeFrame(2, encode("second"))]));
  expect(client.hasClosedWrite).toBeTrue();
  await stdio.logged;
  expect(target.slot.stdio).toBeNull();
});

test("a client waits through an end for the next run; a failed start ends it", async () => {
  const target = makeTarget();
  const first = new FakeStdio();
  target.slot.bind(first);
  first.end();
  await first.logged;
  await settle();
  const client = new FakeClient();
  const run = prepareAttach(target, OPTIONS)(client);
  target.slot.release();
  await run;
  expect(client.hasClosedWrite).toBeTrue();
  const again = new FakeClient();
  const next = prepareAttach(target, OPTIONS)(again);
  const second = new FakeStdio();
  target.slot.bind(second);
  second.put(1, "x");
  second.end();
  await next;
  expect(again.output.toString()).toBe("x");
});

test("a stuck client asks the workload to wait past its queue, and lets go when it vanishes", async () => {
  const target = makeTarget();
  const stdio = new FakeStdio();
  target.slot.bind(stdio);
  const client = new FakeClient();
  client.isStuck = true;
  const run = prepareAttach(target, OPTIONS)(client);
  const block = "x".repeat(400_000);
  const [first] = stdio.give(1, block);
  const [second] = stdio.give(1, block);
  const [third] = stdio.give(1, block);
  expect([first, second]).toEqual([undefined, undefined]);
  expect(third).toBeInstanceOf(Promise);
  client.vanish();
  await third;
  await run;
  expect(stdio.clients.size).toBe(0);
});

test("the log is replayed first, then the unfinished lines, then what came meanwhile", async () => {
  const target = makeTarget();
  const stdio = new FakeStdio();
  target.slot.bind(stdio);
  let goOn: () => void = () => {};
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  target.reader = () => ({
    read: async function* (): AsyncGenerator<LogPiece> {
      yield { stream: 1, bytes: encode("stored\n") };
      await gate;
      yield { stream: 2, bytes: encode("more\n") };
    },
  });
  const writer: Pick<LogWriter, "tail"> = { tail: (stream) => encode(stream === 1 ? "half " : "") };
  target.writer = () => writer as LogWriter;
  const client = new FakeClient();
  const run = prepareAttach(target, { ...OPTIONS, logs: true })(client);
  stdio.put(1, "line\n");
  await settle();
  expect(client.output.toString()).toBe("stored\n");
  goOn();
  stdio.end();
  await run;
  expect(client.output.toString()).toBe("stored\nmore\nhalf line\n");
});

test("logs without stream is a dump that ends, also without a run", async () => {
  const target = makeTarget();
  target.reader = () => ({
    read: async function* (): AsyncGenerator<LogPiece> {
      await settle();
      yield { stream: 1, bytes: encode("stored\n") };
    },
  });
  const client = new FakeClient();
  await prepareAttach(target, { ...OPTIONS, stream: false, logs: true })(client);
  expect(client.output.toString()).toBe("stored\n");
  expect(client.hasClosedWrite).toBeTrue();
  const silent = new FakeClient();
  await prepareAttach(target, { ...OPTIONS, stream: false })(silent);
  expect(silent.output.length).toBe(0);
});

test("bad keys and a log that cannot be read are refused before the connection is taken", () => {
  expect(() => prepareAttach(makeTarget(), { ...OPTIONS, detachKeys: "nope" })).toThrow(
    "Invalid detach keys (nope) provided",
  );
  expect(() => prepareAttach(makeTarget(), { ...OPTIONS, logs: true })).toThrow(
    "configured logging driver does not support reading",
  );
});

test("with StdinOnce the end of input closes the workload's stdin and output goes on", async () => {
  const target = makeTarget();
  const client = new FakeClient();
  const run = prepareAttach(target, { ...OPTIONS, stdin: true })(client);
  client.type(encode("abc"));
  client.type(null);
  const stdio = new FakeStdio();
  target.slot.bind(stdio);
  await settle();
  expect([stdio.input, stdio.isStdinClosed]).toEqual(["abc", true]);
  stdio.put(1, "answer");
  stdio.end();
  await run;
  expect(client.output.toString()).toBe("answer");
});

test("without StdinOnce the end of input ends the attachment and leaves stdin open", async () => {
  const target = makeTarget({ isStdinOnce: false });
  const stdio = new FakeStdio();
  target.slot.bind(stdio);
  const client = new FakeClient();
  const run = prepareAttach(target, { ...OPTIONS, stdin: true })(client);
  client.type(encode("abc"));
  client.type(null);
  await run;
  expect([stdio.input, stdio.isStdinClosed, stdio.clients.size]).toEqual(["abc", false, 0]);
});

test("a half-close without stdin, and input for a container without stdin, mean nothing", async () => {
  for (const options of [OPTIONS, { ...OPTIONS, stdin: true }]) {
    const target = makeTarget({ isStdinOpen: false });
    const stdio = new FakeStdio();
    target.slot.bind(stdio);
    const client = new FakeClient();
    const run = prepareAttach(target, options)(client);
    client.type(encode("ignored"));
    client.type(null);
    await settle();
    stdio.put(1, "out");
    stdio.end();
    await run;
    expect([stdio.input, client.output.toString()]).toEqual(["", "out"]);
  }
});

test("detach keys end the attachment of a terminal, not the run; without a terminal only when asked for", async () => {
  for (const [isTTY, detachKeys, typed, input] of [
    [true, null, "ab\x10\x11cd", "ab"],
    [false, "a,b", "xaab!", "xa"],
  ] as const) {
    const target = makeTarget({ isTTY });
    const stdio = new FakeStdio();
    target.slot.bind(stdio);
    const client = new FakeClient();
    const run = prepareAttach(target, { ...OPTIONS, stdin: true, detachKeys })(client);
    for (const byte of encode(typed)) client.type(Uint8Array.of(byte));
    await run;
    expect([stdio.input, stdio.isStdinClosed, target.detached]).toEqual([input, false, 1]);
    expect(client.hasClosedWrite).toBeTrue();
  }
  const plain = makeTarget();
  const stdio = new FakeStdio();
  plain.slot.bind(stdio);
  const client = new FakeClient();
  const run = prepareAttach(plain, { ...OPTIONS, stdin: true })(client);
  client.type(encode("\x10\x11"));
  await settle();
  stdio.end();
  await run;
  expect([stdio.input, plain.detached]).toEqual(["\x10\x11", 0]);
});
