// Work that repeats, and what a daemon holds: for bench/soak.ts, which does it a hundred thousand times, and for
// test/e2e/soak.test.ts, which does it some hundred times.
import { Database } from "bun:sqlite";
import { readdirSync, readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestDaemon, until } from "./daemon.ts";

export interface Held {
  pssKiB: number;
  descriptors: number;
  threads: number;
  /** Processes in the daemon's mount namespace: shims, and commands that have not been reaped. */
  processes: number;
  rows: number;
}

export async function held(berth: TestDaemon): Promise<Held> {
  const proc = `/proc/${berth.pid}`;
  const database = new Database(join(berth.dataRoot, "berth.db"), { readonly: true });
  try {
    const tables = database.query("select name from sqlite_master where type = 'table'").all() as { name: string }[];
    const rows = tables.reduce(
      (sum, { name }) => sum + (database.query(`select count(*) as n from "${name}"`).get() as { n: number }).n,
      0,
    );
    return {
      pssKiB: Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`${proc}/smaps_rollup`, "utf8"))?.[1]),
      descriptors: readdirSync(`${proc}/fd`).length,
      threads: readdirSync(`${proc}/task`).length,
      processes: childrenOf(berth.pid).length,
      rows,
    };
  } finally {
    database.close();
  }
}

function childrenOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").split(" ").filter(Boolean),
  );
}

function runIn(berth: TestDaemon, name: string, flags: string[], ...command: string[]): Promise<string> {
  return berth.dockerOK("run", "-d", "--name", name, "--network", "none", ...flags, "busybox", ...command);
}

/** So many probes, by containers whose checks run one after the other. Their events are counted. */
export async function probes(berth: TestDaemon, wanted: number): Promise<string> {
  const CONTAINERS = 8;
  const names = Array.from({ length: CONTAINERS }, (_, at) => `probed${at}`);
  using counter = await countEvents(berth, "exec_die");
  await Promise.all(
    names.map((name) =>
      runIn(berth, name, ["--health-cmd", "echo fine", "--health-interval", "1ms"], "sleep", "100000"),
    ),
  );
  await until("all have been probed", () => counter.count >= wanted, 1_200_000);
  const seen = counter.count;
  await berth.dockerOK("rm", "-f", ...names);
  return `${seen} probes in ${CONTAINERS} containers`;
}

/** So many exec sessions with their output read to its end, a few at a time. */
export async function execs(berth: TestDaemon, wanted: number): Promise<string> {
  await runIn(berth, "execs", [], "sleep", "100000");
  let left = wanted;
  let wrong = 0;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const token = `line ${left}`;
      const created = await berth.request("POST", "/containers/execs/exec", {
        body: { AttachStdout: true, AttachStderr: true, Cmd: ["echo", token] },
      });
      const { Id } = (await created.json()) as { Id: string };
      const started = await berth.request("POST", `/exec/${Id}/start`, { body: {} });
      const bytes = Buffer.from(await started.arrayBuffer());
      if (bytes.subarray(8).toString() !== `${token}\n`) wrong++;
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  await berth.dockerOK("rm", "-f", "execs");
  if (wrong > 0) throw new Error(`${wrong} of ${wanted} execs gave other output than their own`);
  return `${wanted} execs, each with its own output`;
}

/** So many followers of a log that grows, fifty at a time; each leaves after some lines, without a word. */
export async function followers(berth: TestDaemon, wanted: number): Promise<string> {
  const write = "i=0; while :; do echo line $i; i=$((i+1)); usleep 20000; done";
  await runIn(berth, "followed", [], "sh", "-c", write);
  let left = wanted;
  let lines = 0;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const seen = await followOnce(berth, 5);
      lines += seen;
    }
  };
  await Promise.all(Array.from({ length: 50 }, worker));
  await berth.dockerOK("rm", "-f", "followed");
  return `${wanted} followers, ${lines} lines`;
}

/** Reads from the log's last lines on until it has seen some, checks that they follow each other, and hangs up. */
async function followOnce(berth: TestDaemon, wanted: number): Promise<number> {
  using stream = await open(berth, "GET", "/containers/followed/logs?follow=1&stdout=1&tail=2");
  let previous = -1;
  let seen = 0;
  for (let text = ""; seen < wanted;) {
    const chunk = await stream.read();
    if (chunk === null) throw new Error("a follower's stream has ended");
    text += chunk.toString("latin1");
    for (const [, number] of text.matchAll(/line (\d+)\n/g)) {
      if (previous >= 0 && Number(number) !== previous + 1) throw new Error(`line ${number} follows line ${previous}`);
      previous = Number(number);
      seen++;
    }
    text = text.slice(text.lastIndexOf("\n") + 1);
  }
  return seen;
}

/** So many lines to a client that reads at its leisure: the workload waits for it, and nothing is lost or doubled. */
export async function attachSlowly(berth: TestDaemon, wanted: number): Promise<string> {
  const write = `read go; i=0; while [ $i -lt ${wanted} ]; do echo "line $i"; i=$((i+1)); done`;
  const small = ["-i", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"];
  await runIn(berth, "slow", small, "sh", "-c", write);
  using stream = await open(berth, "POST", "/containers/slow/attach?stream=1&stdin=1&stdout=1", "go\n");
  let next = 0;
  let rest = Buffer.alloc(0);
  let text = "";
  for (let reads = 0; next < wanted; reads++) {
    const chunk = await stream.read();
    if (chunk === null) throw new Error(`the stream has ended at line ${next} of ${wanted}`);
    rest = Buffer.concat([rest, chunk]);
    for (let length = frameLength(rest); length !== null; length = frameLength(rest)) {
      text += rest.toString("latin1", 8, 8 + length);
      rest = rest.subarray(8 + length);
    }
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (line !== `line ${next}`) throw new Error(`"${line}" came in the place of line ${next}`);
      next++;
    }
    if (reads % 50 === 0) await Bun.sleep(5);
  }
  await berth.dockerOK("rm", "-f", "slow");
  return `${next} lines in order through a slow reader`;
}

function frameLength(bytes: Buffer): number | null {
  if (bytes.length < 8) return null;
  const length = bytes.readUInt32BE(4);
  return bytes.length < 8 + length ? null : length;
}

interface RawStream extends Disposable {
  read(): Promise<Buffer | null>;
}

/** A request by hand, whose answer is read only when asked: fetch would read ahead. The head of the answer is taken off. */
async function open(berth: TestDaemon, method: string, path: string, input = ""): Promise<RawStream> {
  const socket: Socket = connect({ path: berth.socket });
  const upgrade = method === "POST" ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : "";
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: berth\r\n${upgrade}\r\n`);
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const read = async (): Promise<Buffer | null> => {
    const { value, done } = await chunks.next();
    return done === true ? null : value;
  };
  let head = Buffer.alloc(0);
  let end = -1;
  while (end < 0) {
    const chunk = await read();
    if (chunk === null) throw new Error(`no answer to ${path}`);
    head = Buffer.concat([head, chunk]);
    end = head.indexOf("\r\n\r\n");
  }
  if (!/^HTTP\/1\.1 (200|101) /.test(head.toString("latin1", 0, 20))) throw new Error(head.toString("latin1"));
  if (input !== "") socket.write(input);
  let first: Buffer | null = head.subarray(end + 4);
  return {
    async read() {
      const bytes = first;
      first = null;
      return bytes && bytes.length > 0 ? bytes : await read();
    },
    [Symbol.dispose]: () => socket.destroy(),
  };
}

/** Counts one kind of event from now on. */
async function countEvents(berth: TestDaemon, action: string): Promise<Disposable & { readonly count: number }> {
  const filters = encodeURIComponent(JSON.stringify({ event: [action] }));
  const stream = await open(berth, "GET", `/events?filters=${filters}`);
  const counted = { count: 0, [Symbol.dispose]: () => stream[Symbol.dispose]() };
  const needle = `"Action":"${action}"`;
  void (async () => {
    let rest = "";
    for (
      let chunk = await stream.read().catch(() => null);
      chunk !== null;
      chunk = await stream.read().catch(() => null)
    ) {
      rest += chunk.toString("latin1");
      const parts = rest.split(needle);
      counted.count += parts.length - 1;
      rest = (parts.at(-1) ?? "").slice(-needle.length);
    }
  })();
  return counted;
}
