// `berth serve` as a process, around a daemon that does nothing: locks, signals, the service manager, the crash guard.
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Fd } from "../../../runtime/sys/fd.ts";
import { alloc, check } from "../../../runtime/sys/ffi.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-serve-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** serve() with a daemon whose stop() the environment can make hang. */
const PROGRAM = `
import { readFileSync } from "node:fs";
import { parseCommandLine } from "${import.meta.resolve("../../../src/config.ts")}";
import { serve } from "${import.meta.resolve("../../../src/commands/serve.ts")}";
const readFile = (path) => {
  try { return readFileSync(path, "utf8"); } catch { return null; }
};
const parse = () => parseCommandLine({ argv0: "berth", args: process.argv.slice(1), env: process.env, readFile });
const startDaemon = async (config) => {
  const timer = setInterval(() => {}, 1000);
  return {
    addresses: config.hosts,
    reload: (next) => console.log("reloaded", JSON.stringify(next.labels)),
    stop: (reason) => {
      if (!process.env.HANGS) clearInterval(timer);
      console.log("stop", reason);
      return process.env.HANGS ? new Promise(() => {}) : Promise.resolve();
    },
  };
};
try {
  const onReady = () => {
    console.log("ready");
    if (!process.env.REJECTS) return;
    Promise.reject(new Error("a stray rejection"));
    setTimeout(() => { throw new Error("a stray throw"); }, 1);
    setTimeout(() => console.log("alive"), 20);
  };
  process.exit(await serve(parse(), { startDaemon, env: process.env, now: () => new Date(), parseAgain: parse, onReady }));
} catch (error) {
  console.log(error.message);
  process.exit(1);
}
`;

function start(name: string, env: Record<string, string> = {}, args: string[] = []) {
  const root = join(directory, name);
  const flags = [
    "--data-root",
    `${root}/data`,
    "--exec-root",
    `${root}/run`,
    "--pidfile",
    `${root}/berth.pid`,
    ...args,
  ];
  const child = Bun.spawn([process.execPath, "-e", PROGRAM, "--", ...flags], {
    stdout: "pipe",
    stderr: "pipe",
    env: { PATH: "/bin", ...env },
  });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let seen = "";
  let logged = "";
  const errors = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) logged += text;
    return logged;
  })();
  return {
    child,
    root,
    errors,
    async untilLogged(text: string): Promise<void> {
      while (!logged.includes(text)) await Bun.sleep(2);
    },
    async until(text: string): Promise<void> {
      while (!seen.includes(text)) {
        const { value, done } = await reader.read();
        if (done) throw new Error(`ended without ${JSON.stringify(text)}: ${seen}${await this.errors}`);
        seen += value;
      }
    },
  };
}

describe("serve()", () => {
  test("writes its pidfile, stops at SIGTERM with status 0, and takes the pidfile away", async () => {
    const one = start("plain");
    await one.until("ready");
    expect(readFileSync(`${one.root}/berth.pid`, "utf8")).toBe(`${one.child.pid}\n`);
    one.child.kill("SIGTERM");
    await one.until("stop signal");
    expect(await one.child.exited).toBe(0);
    expect(existsSync(`${one.root}/berth.pid`)).toBe(false);
    expect(await one.errors).toMatch(/msg="serving".*\n.*msg="stopping".*signal=SIGTERM/);
  });

  test("refuses a data root that another one has, by its process ID, and a pidfile in use", async () => {
    const one = start("twice");
    await one.until("ready");
    const two = start("twice");
    await two.until(`data root ${one.root}/data is in use by another berth (pid ${one.child.pid})`);
    expect(await two.child.exited).toBe(1);
    const three = start("third", {}, ["--pidfile", `${one.root}/berth.pid`]);
    await three.until(`process with PID ${one.child.pid} is still running`);
    expect(await three.child.exited).toBe(1);
    expect(readFileSync(`${one.root}/berth.pid`, "utf8")).toBe(`${one.child.pid}\n`);
    one.child.kill("SIGINT");
    expect(await one.child.exited).toBe(0);
  });

  test("starts on what a killed one has left", async () => {
    const one = start("killed");
    await one.until("ready");
    one.child.kill("SIGKILL");
    await one.child.exited;
    const two = start("killed");
    await two.until("ready");
    two.child.kill("SIGTERM");
    expect(await two.child.exited).toBe(0);
  });

  test("reloads at SIGHUP, and keeps what it has when the file has a mistake", async () => {
    const file = join(directory, "daemon.json");
    writeFileSync(file, "{}");
    const one = start("reload", {}, ["--config-file", file]);
    await one.until("ready");
    writeFileSync(file, '{"labels":["a=1"],"mtu":1300}');
    one.child.kill("SIGHUP");
    await one.until('reloaded ["a=1"]');
    writeFileSync(file, '{"labels":["a=1","b=2"],"nope":1}');
    one.child.kill("SIGHUP");
    await one.untilLogged("the configuration is not reloaded");
    writeFileSync(file, '{"labels":["c=3"]}');
    one.child.kill("SIGHUP");
    await one.until('reloaded ["c=3"]');
    one.child.kill("SIGTERM");
    expect(await one.child.exited).toBe(0);
    const errors = await one.errors;
    expect(errors).toContain("these changes need a restart of berth");
    expect(errors).toContain("fields=mtu");
  });

  test("goes on after an error that nobody caught, and logs its stack", async () => {
    const one = start("stray", { REJECTS: "1" });
    await one.until("alive");
    one.child.kill("SIGTERM");
    expect(await one.child.exited).toBe(0);
    expect(await one.errors).toMatch(/a stray rejection[^]*a stray throw|a stray throw[^]*a stray rejection/);
  });

  test("ends by force at the third signal", async () => {
    const one = start("hangs", { HANGS: "1" });
    await one.until("ready");
    one.child.kill("SIGTERM");
    await one.until("stop signal");
    while (one.child.exitCode === null) {
      one.child.kill("SIGTERM");
      await Bun.sleep(5);
    }
    expect(one.child.exitCode).toBe(143);
  });

  test("tells the service manager that it is ready, reloads and stops", async () => {
    const name = `berth-notify-${process.pid}`;
    using socket = new Fd(check("socket", [1, 2, 0]));
    const address = alloc(name.length + 3);
    address[0] = 1;
    address.set(new TextEncoder().encode(name), 3);
    check("bind", [socket.number, address, name.length + 3]);
    const receive = (): string => {
      const buffer = alloc(512);
      return new TextDecoder().decode(
        buffer.subarray(0, check("recvfrom", [socket.number, buffer, 512, 0, null, null])),
      );
    };
    const one = start("notify", { NOTIFY_SOCKET: `@${name}` });
    await one.until("ready");
    expect(receive()).toBe("READY=1\nSTATUS=serving");
    one.child.kill("SIGHUP");
    await one.until("reloaded");
    expect(receive()).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    expect(receive()).toBe("READY=1\nSTATUS=serving");
    one.child.kill("SIGTERM");
    await one.child.exited;
    expect(receive()).toBe("STOPPING=1");
  });
});
