// Hooks of a container (config.md of the runtime-spec, "POSIX-platform Hooks"): programs of the host that a device's vendor
// runs on a container that is being made. Each gets the container's state on its stdin; one that fails, or does not end in
// its time, fails the start.
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { type HookKind, type OciHook, HOOK_KINDS, type OciSpec } from "../bundle.ts";
import { LaunchError } from "../errors.ts";
import { HOOK_OUTPUT_BYTES, HOOK_TIMEOUT_MS } from "../limits.ts";
import type { LaunchRequest } from "../mod.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import { hookProgram } from "../program/hook.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { pipe2, writeAll } from "../sys/file.ts";
import { openPidfd } from "../sys/process.ts";
import { readerOf } from "../sys/readable.ts";
import { during } from "./failure.ts";
import type { LaunchHost } from "./host.ts";
import { spawnShim, watchReport } from "./spawn.ts";

interface Hooks {
  host: LaunchHost;
  spec: OciSpec;
  id: string;
  /** Holds config.json: what the state calls the bundle. */
  directory: string;
  /** Of the container's first process, once it is known. */
  pid: number;
}

/** null: the container has none. Writes the bundle that hooks read. */
export function openHooks(host: LaunchHost, { bundle, stateDir }: LaunchRequest): Hooks | null {
  const { spec, id } = bundle;
  const { hooks = {} } = spec;
  if (HOOK_KINDS.every((kind) => (hooks[kind] ?? []).length === 0)) return null;
  const directory = `${stateDir}/bundle`;
  during("write the bundle for hooks", () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(`${directory}/config.json`, JSON.stringify(spec), { mode: 0o600 });
  });
  return { host, spec, id, directory, pid: 0 };
}

/** One after the other, in their order. An aborted signal kills the one that runs. */
export async function runHooks(hooks: Hooks, kinds: readonly HookKind[], signal: AbortSignal): Promise<void> {
  for (const kind of kinds) {
    for (const [index, hook] of (hooks.spec.hooks?.[kind] ?? []).entries()) {
      const problem = await runHook(hooks, kind, hook, signal);
      // COMPAT: runc's words.
      if (problem !== null) throw new LaunchError(`error running ${kind} hook #${index}: ${problem}`, 0);
    }
  }
}

/** null: it has done its work. */
async function runHook(hooks: Hooks, kind: HookKind, hook: OciHook, signal: AbortSignal): Promise<string | null> {
  using open = new DisposableStack();
  const pipe = (): { read: Fd; write: Fd } => {
    const { read, write } = pipe2();
    return { read: open.use(read), write: open.use(write) };
  };
  const [stdin, output, report] = [pipe(), pipe(), pipe()];
  const target = openPidfd(hooks.pid);
  if (target === null) throw new LaunchError(`run the ${kind} hooks`, E.ESRCH);
  open.use(target);
  // It is far below what a pipe holds, so nothing waits here.
  writeAll(stdin.write, new TextEncoder().encode(JSON.stringify(stateOf(hooks, kind))));
  const container = kind === "createContainer" ? { pid: hooks.pid, rootPath: hooks.spec.root.path } : null;
  const image = hookProgram(hooks.host.facts.arch, { hook, container });
  const table = new Map([
    [DESCRIPTOR.stdin, stdin.read],
    [DESCRIPTOR.stdout, output.write],
    [DESCRIPTOR.stderr, output.write],
    [DESCRIPTOR.report, report.write],
    [DESCRIPTOR.target, target],
  ]);
  const child = spawnShim(image, table, "berth-hook", hooks.id, hooks.host.imageDir);
  for (const fd of [stdin.read, stdin.write, output.write, report.write]) fd.close();
  const watch = watchReport(report.read, image, () => undefined);
  const tail = readTail(output.read);
  try {
    const timeoutMs = hook.timeout === undefined ? HOOK_TIMEOUT_MS : hook.timeout * 1000;
    const status = await endOf(child, timeoutMs, signal);
    const { failure } = await watch.report;
    if (failure) return new LaunchError(failure.title, failure.errno).message;
    if (status === 0) return null;
    const said = tail.text().trim();
    const how = status === "late" ? `it has not ended after ${timeoutMs / 1000} s` : `exit status ${String(status)}`;
    return said === "" ? how : `${how}, output: ${said}`;
  } finally {
    watch.stop();
    await tail.stop();
  }
}

/** Its exit status; "late" when it had to be killed. */
async function endOf(child: ReturnType<typeof spawnShim>, timeoutMs: number, signal: AbortSignal): Promise<unknown> {
  const bound = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const { promise: late, resolve } = Promise.withResolvers<"late">();
  const onAbort = (): void => resolve("late");
  bound.addEventListener("abort", onAbort, { once: true });
  if (bound.aborted) onAbort();
  const first = await Promise.race([child.exited, late]);
  bound.removeEventListener("abort", onAbort);
  if (first !== "late") return first;
  killSession(child);
  await child.exited;
  return "late";
}

/** It leads a session of its own, so what it has started goes with it. Not yet reaped: its number is still its own. */
function killSession(child: ReturnType<typeof spawnShim>): void {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has not come that far.
    child.kill();
  }
}

/** The state as the runtime-spec has it (runtime.md). */
function stateOf({ spec, id, directory, pid }: Hooks, kind: HookKind): object {
  const status = kind === "poststart" ? "running" : "creating";
  return { ociVersion: spec.ociVersion, id, status, pid, bundle: directory, annotations: spec.annotations };
}

/** Reads all that comes, so that nobody waits for room, and keeps the end of it. */
function readTail(fd: Fd): { text(): string; stop(): Promise<void> } {
  const reader = readerOf(fd);
  let kept: Uint8Array = new Uint8Array(0);
  const reading = (async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      kept = Buffer.concat([kept, value]).subarray(-HOOK_OUTPUT_BYTES);
    }
  })().catch(() => undefined);
  return {
    text: () => new TextDecoder().decode(kept),
    async stop() {
      await reader.cancel().catch(() => undefined);
      await reading;
    },
  };
}
