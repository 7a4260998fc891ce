// Exec sessions: commands run in a container beside its workload. Kept in memory only: a session ends with its container,
// and what has ended stays readable for some minutes, since clients ask for the exit code after the stream is over.
import type { ExecTask, Runtime, Stdio, StdioPlane } from "../../runtime/mod.ts";
import { conflict, internal, invalid, notFound } from "../errors.ts";
import { EXEC_KEPT_MS, EXEC_RESIZE_WAIT_MS, EXECS_KEPT, EXIT_DRAIN_MS } from "../limits.ts";
import type { ExecCreate, ExecStart } from "../schema/exec.ts";
import { frameHead } from "../http/multiplex.ts";
import { createAttachSlot, prepareAttach } from "./containers/attach.ts";
import { envKey } from "./containers/defaults.ts";
import type { Clock, ProbeBounds, ProbeOutcome } from "./containers/deps.ts";
import { durationText } from "./containers/health.ts";
import type { Machine } from "./containers/machine.ts";
import type { Live, Registry, Run } from "./containers/registry.ts";
import { toExecFailure } from "./containers/start_failure.ts";
import { isRestarting, notRunning } from "./containers/state.ts";
import { parseDetachKeys } from "./detach_keys.ts";
import { newID, type RandomBytes } from "./ids.ts";
import type { ByteStream, ExecRecord, ExecSessions } from "./mod.ts";

export interface ExecDeps {
  registry: Registry;
  machine: Pick<Machine, "announce">;
  runtime: Pick<Runtime, "exec">;
  stdio: Pick<StdioPlane, "open">;
  clock: Clock;
  random: RandomBytes;
}

export interface ExecService extends ExecSessions {
  /** IDs of those that run in this container now. */
  runningIn: (containerID: string) => string[];
  probe: (containerID: string, command: string[], bounds: ProbeBounds) => Promise<ProbeOutcome>;
}

interface Session {
  readonly id: string;
  readonly containerID: string;
  readonly config: ExecCreate;
  readonly createdAtMs: number;
  phase: "created" | "starting" | "running" | "ended";
  exitCode: number | null;
  pid: number;
  task: ExecTask | null;
  endedAtMs: number;
  /** Resolves when it runs or has failed to. */
  readonly started: PromiseWithResolvers<void>;
}

export function createExecSessions(deps: ExecDeps): ExecService {
  const sessions = new Map<string, Session>();
  return {
    async create(containerNameOrID, config) {
      if (config.Cmd === null || config.Cmd.length === 0) throw invalid("No exec command specified");
      const live = deps.registry.get(containerNameOrID);
      checkRuns(live);
      parseDetachKeys(config.DetachKeys);
      const session = open(deps, sessions, live, config);
      return { id: session.id };
    },
    get: (id) => toRecord(find(deps, sessions, id)),
    async startDetached(id, options) {
      const session = find(deps, sessions, id);
      const live = claim(deps, session);
      try {
        const stdio = await launch(deps, session, live, options, false);
        void finish(session, stdio);
      } catch (cause) {
        const { text, exitCode } = failed(deps, session, cause);
        throw (exitCode === 126 || exitCode === 127 ? invalid : internal)(text, { cause });
      }
    },
    async startAttached(id, options) {
      const session = find(deps, sessions, id);
      const live = claim(deps, session);
      return {
        hasTerminal: session.config.Tty,
        run: (stream) => runAttached(deps, session, live, options, stream),
        abandon: () => void failed(deps, session, new Error("the client has gone")),
      };
    },
    async resize(id, rows, columns) {
      const session = find(deps, sessions, id);
      if (session.phase === "starting") await startedWithin(deps, session);
      if (session.phase !== "running" || !session.task) throw conflict(`exec ${id} is not running`);
      // COMPAT: without a terminal there is nothing to resize, and nothing wrong with asking.
      if (session.config.Tty) session.task.resize(rows, columns);
    },
    runningIn: (containerID) =>
      [...sessions.values()]
        .filter((session) => session.containerID === containerID && session.phase === "running")
        .map((session) => session.id),
    probe: (containerID, command, bounds) => probe(deps, sessions, containerID, command, bounds),
  };
}

function checkRuns(live: Live): Run {
  const { status } = live.record.state;
  if (status === "restarting") throw isRestarting(live.record);
  if (status === "paused") throw conflict(`Container ${live.id} is paused, unpause the container before exec`);
  if (status !== "running" || !live.run) throw notRunning(live.record);
  return live.run;
}

function open(deps: ExecDeps, sessions: Map<string, Session>, live: Live, config: ExecCreate): Session {
  sweep(deps, sessions);
  const session: Session = {
    id: newID(deps.random),
    containerID: live.id,
    config,
    createdAtMs: deps.clock.now().getTime(),
    phase: "created",
    exitCode: null,
    pid: 0,
    task: null,
    endedAtMs: 0,
    started: Promise.withResolvers<void>(),
  };
  sessions.set(session.id, session);
  announce(deps, live, session, "exec_create");
  return session;
}

/** Drops what has ended long ago, what was never started for as long, and what belongs to a container that is gone. */
function sweep(deps: ExecDeps, sessions: Map<string, Session>): void {
  const oldestMs = deps.clock.now().getTime() - EXEC_KEPT_MS;
  for (const session of sessions.values()) {
    const isOver = session.phase === "ended" && session.endedAtMs < oldestMs;
    if (isOver || !deps.registry.byID(session.containerID)) sessions.delete(session.id);
  }
  if (sessions.size < EXECS_KEPT) return;
  // The oldest that do not run make room.
  for (const session of sessions.values()) {
    if (session.phase === "created" || session.phase === "ended") sessions.delete(session.id);
    if (sessions.size < EXECS_KEPT) return;
  }
  throw conflict(`cannot create another exec session: ${sessions.size} are running, at most ${EXECS_KEPT} may`);
}

function find(deps: ExecDeps, sessions: Map<string, Session>, id: string): Session {
  const session = sessions.get(id);
  if (!session || !deps.registry.byID(session.containerID)) throw notFound(`No such exec instance: ${id}`);
  return session;
}

/** From created to starting: a session runs once. */
function claim(deps: ExecDeps, session: Session): Live {
  if (session.phase === "ended") throw conflict(`exec command ${session.id} has already run`);
  if (session.phase !== "created") throw conflict(`exec command ${session.id} is already running`);
  const live = deps.registry.get(session.containerID);
  checkRuns(live);
  session.phase = "starting";
  return live;
}

async function launch(
  deps: ExecDeps,
  session: Session,
  live: Live,
  options: ExecStart,
  hasClient: boolean,
): Promise<Stdio> {
  const { config } = session;
  const run = checkRuns(live);
  const workload = run.bundle.spec.process;
  const [rows = 0, columns = 0] = options.ConsoleSize.length === 2 ? options.ConsoleSize : config.ConsoleSize;
  announce(deps, live, session, "exec_start");
  const task = await deps.runtime.exec(run.task, {
    args: config.Cmd ?? [],
    env: execEnv(workload.env, config),
    cwd: config.WorkingDir || workload.cwd,
    user: config.User || live.record.config.User,
    groupAdd: config.User === "" ? live.record.hostConfig.GroupAdd : [],
    terminal: config.Tty ? { rows, columns } : null,
    hasStdin: hasClient && config.AttachStdin,
    privileged: config.Privileged,
    bundle: run.bundle,
  });
  session.task = task;
  session.pid = task.pid;
  session.phase = "running";
  session.started.resolve();
  // Registered before the streams are opened: the exit code is known when a client sees the end of its stream.
  void task.exited.then((report) => {
    ended(deps, session, report.exitCode);
    announce(deps, live, session, "exec_die", { exitCode: String(report.exitCode) });
  });
  return deps.stdio.open(
    { streams: task.streams, exited: task.exited },
    {
      log: null,
      journalPath: null,
      isTTY: config.Tty,
      dropStdin: () => task.dropStdin(),
    },
  );
}

function ended(deps: ExecDeps, session: Session, exitCode: number): void {
  session.phase = "ended";
  session.exitCode = exitCode;
  session.endedAtMs = deps.clock.now().getTime();
}

function failed(deps: ExecDeps, session: Session, cause: unknown): { text: string; exitCode: number } {
  const failure = toExecFailure(cause);
  ended(deps, session, failure.exitCode);
  session.started.resolve();
  return failure;
}

/** After the last byte is delivered, its descriptors are let go. */
async function finish(session: Session, stdio: Stdio): Promise<void> {
  await stdio.drained;
  stdio.close();
  session.task?.[Symbol.dispose]();
  session.task = null;
}

async function runAttached(
  deps: ExecDeps,
  session: Session,
  live: Live,
  options: ExecStart,
  stream: ByteStream,
): Promise<void> {
  const { config } = session;
  let stdio: Stdio;
  try {
    stdio = await launch(deps, session, live, options, true);
  } catch (cause) {
    const bytes = new TextEncoder().encode(`${failed(deps, session, cause).text}\r\n`);
    if (!config.Tty) await stream.write(frameHead(1, bytes.length));
    await stream.write(bytes);
    stream.closeWrite();
    return;
  }
  void finish(session, stdio);
  const slot = createAttachSlot();
  slot.bind(stdio);
  await prepareAttach(
    {
      slot,
      // The client's end of input is the command's, as with a container that is attached to once.
      config: { isTTY: config.Tty, isStdinOpen: config.AttachStdin, isStdinOnce: true },
      reader: () => null,
      writer: () => null,
      detachKeys: "",
      onDetach: () => announce(deps, live, session, "exec_detach"),
    },
    {
      stream: true,
      logs: false,
      stdin: config.AttachStdin,
      stdout: config.AttachStdout,
      stderr: config.AttachStderr,
      detachKeys: config.DetachKeys,
      framed: !config.Tty,
    },
  )(stream);
}

/** The container's environment, TERM with a terminal, and the session's own on top. */
function execEnv(base: readonly string[], config: ExecCreate): string[] {
  const env = new Map(base.map((entry) => [envKey(entry), entry]));
  if (config.Tty && !env.has("TERM")) env.set("TERM", "TERM=xterm");
  for (const entry of config.Env) {
    if (entry.includes("=")) env.set(envKey(entry), entry);
    else env.delete(entry);
  }
  return [...env.values()];
}

async function startedWithin(deps: ExecDeps, session: Session): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const cancel = deps.clock.after(EXEC_RESIZE_WAIT_MS, resolve);
  await Promise.race([session.started.promise, late]);
  cancel();
}

/** Runs a command to its end, or kills it at its time-out, and keeps the first bytes of what it says. */
async function probe(
  deps: ExecDeps,
  sessions: Map<string, Session>,
  containerID: string,
  command: string[],
  bounds: ProbeBounds,
): Promise<ProbeOutcome> {
  const live = deps.registry.get(containerID);
  checkRuns(live);
  const session = open(deps, sessions, live, probeConfig(command));
  session.phase = "starting";
  try {
    const stdio = await launch(deps, session, live, { Detach: true, Tty: false, ConsoleSize: [] }, false);
    const output = new FirstBytes(bounds.outputBytes);
    stdio.attach({ stdout: true, stderr: true, write: (_stream, bytes) => output.add(bytes), end: () => {} });
    const isLate = await endOfProbe(deps, session, stdio, bounds);
    const said = output.text();
    if (!isLate) return { exitCode: session.exitCode ?? -1, output: said };
    const late = `Health check exceeded timeout (${durationText(bounds.timeoutMs)})`;
    return { exitCode: -1, output: said === "" ? late : `${late}: ${said}` };
  } catch (cause) {
    // COMPAT: one that could not be started has no exit code of its own.
    return { exitCode: -1, output: failed(deps, session, cause).text };
  } finally {
    // Nobody but us knows its ID.
    sessions.delete(session.id);
  }
}

/**
 * True: its time was up. Whatever it leaves running with its streams open does not keep the next probe waiting: they are
 * read for a moment after its end, as under Docker, and closed.
 */
async function endOfProbe(deps: ExecDeps, session: Session, stdio: Stdio, bounds: ProbeBounds): Promise<boolean> {
  const { task } = session;
  let isLate = false;
  const kill = (): void => task?.killAll();
  const cancel = deps.clock.after(bounds.timeoutMs, () => {
    isLate = true;
    kill();
  });
  bounds.signal.addEventListener("abort", kill, { once: true });
  if (bounds.signal.aborted) kill();
  await task?.exited;
  cancel();
  bounds.signal.removeEventListener("abort", kill);
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const isOver = deps.clock.after(EXIT_DRAIN_MS, resolve);
  await Promise.race([stdio.drained, late]);
  isOver();
  stdio.close();
  task?.[Symbol.dispose]();
  session.task = null;
  return isLate;
}

function probeConfig(command: string[]): ExecCreate {
  return {
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    ConsoleSize: [],
    DetachKeys: "",
    Tty: false,
    Env: [],
    Cmd: command,
    Privileged: false,
    User: "",
    WorkingDir: "",
  };
}

class FirstBytes {
  readonly #chunks: Uint8Array[] = [];
  #size = 0;
  constructor(readonly limit: number) {}

  /** COMPAT: three dots say that there was more. */
  text(): string {
    const text = new TextDecoder().decode(Buffer.concat(this.#chunks).subarray(0, this.limit));
    return this.#size > this.limit ? `${text}...` : text;
  }

  add(bytes: Uint8Array): void {
    if (this.#size < this.limit) this.#chunks.push(bytes.slice(0, this.limit - this.#size));
    this.#size += bytes.length;
  }
}

function announce(
  deps: ExecDeps,
  live: Live,
  session: Session,
  action: string,
  attributes: Record<string, string> = {},
): void {
  // COMPAT: clients match `exec_create: ` and `exec_start: ` by prefix; the others stand alone.
  const isWithCommand = action === "exec_create" || action === "exec_start";
  const shown = isWithCommand ? `${action}: ${(session.config.Cmd ?? []).join(" ")}` : action;
  deps.machine.announce(live, { action: shown, attributes: { execID: session.id, ...attributes } });
}

function toRecord(session: Session): ExecRecord {
  return {
    id: session.id,
    containerID: session.containerID,
    config: session.config,
    isRunning: session.phase === "running",
    exitCode: session.exitCode,
    pid: session.pid,
  };
}
