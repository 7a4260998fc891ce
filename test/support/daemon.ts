// A berth daemon for a test: the compiled binary in network and mount namespaces of its own, with its own data root, exec
// root, bridge and cgroup parent. Disposing stops it and checks that nothing is left: no process, mount, link, firewall
// rule, cgroup or directory. Needs root.
import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  rmdirSync,
  statSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const BINARY = join(import.meta.dir, "../../dist/berth");
/** Slow machines (test/vm) ask for more patience. */
const PATIENCE = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);
/** How long a condition may take before the test says what it waited for. */
const PATIENCE_MS = 20_000 * PATIENCE;

export interface Ran {
  stdout: string;
  stderr: string;
  code: number;
}

export interface DaemonOptions {
  /** More flags for the daemon. */
  args?: string[];
  env?: Record<string, string>;
  /** What is started in place of the compiled binary. Signals go to this process. */
  program?: string[];
  /** The data root is a file system of this size. */
  diskMiB?: number;
  /** The data root is a file system of its own: mount(8)'s arguments, without the place. */
  disk?: string[];
  /** It finds the place of its containers' cgroups itself, instead of being told one: nothing there is checked then. */
  choosesCgroup?: boolean;
}

export class TestDaemon implements AsyncDisposable {
  readonly id = randomBytes(4).toString("hex");
  /** Everything this daemon writes lies below here. */
  readonly directory = mkdtempSync(join(tmpdir(), "berth-test-"));
  readonly socket = join(this.directory, "berth.sock");
  readonly dataRoot = join(this.directory, "data");
  readonly execRoot = join(this.directory, "exec");
  readonly cgroupParent = `/berth-test-${this.id}`;
  readonly logFile = join(this.directory, "daemon.log");
  #holder: Bun.Subprocess;
  #daemon: Bun.Subprocess | null = null;

  private constructor(private readonly options: DaemonOptions) {
    mkdirSync(join(this.directory, "docker-config"));
    // The holder keeps both namespaces while the daemon is killed and started again.
    const mount = options.disk ?? (options.diskMiB ? ["-t", "tmpfs", "-o", `size=${options.diskMiB}m`, "tmpfs"] : null);
    const disk = mount ? `mkdir ${this.dataRoot}; mount ${mount.join(" ")} ${this.dataRoot} || exit 1;` : "";
    const script = `ip link set lo up; ${disk} echo up; exec sleep 86400`;
    this.#holder = Bun.spawn(["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
  }

  static async start(options: DaemonOptions = {}): Promise<TestDaemon> {
    if (!options.program && !existsSync(BINARY)) throw new Error("dist/berth is not built: run `bun compile.ts`");
    const daemon = new TestDaemon(options);
    try {
      await firstLine(daemon.#holder);
      await daemon.boot();
    } catch (error) {
      // Nobody has it to dispose of.
      await daemon.#dispose();
      throw error;
    }
    return daemon;
  }

  /** The daemon's process. Throws while it is down. */
  get pid(): number {
    if (!this.#daemon) throw new Error("the daemon is not running");
    return this.#daemon.pid;
  }

  /** Pid of a process that stays in the daemon's namespaces. */
  get holderPID(): number {
    return this.#holder.pid;
  }

  get log(): string {
    return existsSync(this.logFile) ? readFileSync(this.logFile, "utf8") : "";
  }

  /** Starts it (again) and waits until it answers. */
  async boot(): Promise<void> {
    const flags = [
      "-H",
      `unix://${this.socket}`,
      "--data-root",
      this.dataRoot,
      "--exec-root",
      this.execRoot,
      "--pidfile",
      join(this.directory, "berth.pid"),
      ...(this.options.choosesCgroup ? [] : ["--cgroup-parent", this.cgroupParent]),
      "--log-level",
      "debug",
      ...(this.options.args ?? []),
    ];
    const command = [
      "nsenter",
      "--target",
      String(this.holderPID),
      "--net",
      "--mount",
      `--wd=${this.directory}`,
      ...(this.options.program ?? [BINARY]),
      ...flags,
    ];
    const out = Bun.file(this.logFile);
    const previous = this.log;
    this.#daemon = Bun.spawn(command, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env.PATH ?? "", ...this.options.env },
    });
    void collect(this.#daemon.stderr as ReadableStream<Uint8Array>, out, previous);
    await until("the daemon answers", async () => {
      if (this.#daemon?.exitCode !== null && this.#daemon?.exitCode !== undefined)
        throw new Error(`the daemon ended:\n${this.log}`);
      return (await this.request("GET", "/_ping").catch(() => null))?.status === 200;
    });
  }

  /** SIGKILL, as a crash or the OOM killer would. */
  async kill(): Promise<void> {
    this.#daemon?.kill("SIGKILL");
    await this.#daemon?.exited;
    this.#daemon = null;
  }

  /** SIGTERM; answers with the exit code. */
  async stop(): Promise<number> {
    const daemon = this.#daemon;
    if (!daemon) return 0;
    daemon.kill("SIGTERM");
    const code = await Promise.race([daemon.exited, Bun.sleep(PATIENCE_MS).then(() => -1)]);
    if (code === -1) {
      daemon.kill("SIGKILL");
      throw new Error(`the daemon did not stop on SIGTERM:\n${this.log.slice(-4000)}`);
    }
    this.#daemon = null;
    return code;
  }

  /** One Engine API request over the socket. */
  request(
    method: string,
    path: string,
    init: { body?: unknown; headers?: Record<string, string> } = {},
  ): Promise<Response> {
    const headers: Record<string, string> = { ...init.headers };
    let body: BodyInit | undefined;
    if (
      init.body instanceof Uint8Array ||
      typeof init.body === "string" ||
      init.body instanceof Blob ||
      init.body instanceof ReadableStream
    ) {
      body = init.body as BodyInit;
    } else if (init.body !== undefined) {
      body = JSON.stringify(init.body);
      headers["content-type"] ??= "application/json";
    }
    return fetch(`http://berth${path}`, { method, headers, body, unix: this.socket } as RequestInit);
  }

  /** The environment a client of this daemon needs. */
  get clientEnv(): Record<string, string> {
    return {
      PATH: process.env.PATH ?? "",
      HOME: this.directory,
      DOCKER_HOST: `unix://${this.socket}`,
      DOCKER_CONFIG: join(this.directory, "docker-config"),
      BERTH_DIRECTORY: this.directory,
    };
  }

  /** Runs the docker CLI against this daemon. */
  docker(args: string[], options: { stdin?: string; timeoutMs?: number } = {}): Promise<Ran> {
    return run(["docker", ...args], { ...options, env: this.clientEnv });
  }

  /** The same, and the test fails with everything it printed when it does not exit with 0. */
  async dockerOK(...args: string[]): Promise<string> {
    const ran = await this.docker(args);
    if (ran.code !== 0)
      throw new Error(
        `docker ${args.join(" ")} exited with ${ran.code}\n${ran.stdout}${ran.stderr}\n${this.log.slice(-3000)}`,
      );
    return ran.stdout.trim();
  }

  /** Runs a command in the daemon's network and mount namespaces: for published ports, links and rules. */
  inside(command: string[], options: { stdin?: string; timeoutMs?: number } = {}): Promise<Ran> {
    return run(["nsenter", "--target", String(this.holderPID), "--net", "--mount", ...command], {
      ...options,
      env: this.clientEnv,
    });
  }

  /** What containers left behind, one line each; empty when nothing did. The daemon may run. */
  async leftovers(): Promise<string[]> {
    const left: string[] = [];
    const mounts = readFileSync(`/proc/${this.holderPID}/mountinfo`, "utf8").split("\n");
    left.push(
      ...mounts
        .filter((line) => line.includes(` ${this.directory}`) && !line.includes(` ${this.dataRoot} `))
        .map((line) => `mount: ${line}`),
    );
    const links = (await this.inside(["ip", "-o", "link"])).stdout.split("\n").filter((line) => /veth|@if/.test(line));
    left.push(...links.map((line) => `link: ${line}`));
    for (const directory of this.cgroups()) {
      for (const child of readdirSync(directory, { withFileTypes: true })) {
        if (child.isDirectory()) left.push(`cgroup: ${join(directory, child.name)}`);
      }
    }
    for (const directory of [
      join(this.dataRoot, "containers"),
      join(this.execRoot, "containers"),
      join(this.dataRoot, "trash"),
      join(this.dataRoot, "tmp"),
    ]) {
      if (existsSync(directory))
        left.push(...readdirSync(directory).map((name) => `directory: ${join(directory, name)}`));
    }
    left.push(...shimsOf(this.directory).map((line) => `process: ${line}`));
    return left;
  }

  /** This daemon's cgroup parent in each mounted hierarchy. */
  cgroups(): string[] {
    const root = "/sys/fs/cgroup";
    const hierarchies = existsSync(join(root, "cgroup.controllers"))
      ? [root]
      : readdirSync(root).map((name) => join(root, name));
    return hierarchies
      .map((hierarchy) => join(hierarchy, this.cgroupParent))
      .filter((path) => existsSync(path) && statSync(path).isDirectory());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.#daemon) {
        const ids = (await this.docker(["ps", "-aq", "--no-trunc"])).stdout.split("\n").filter(Boolean);
        if (ids.length) await this.docker(["rm", "-f", "-v", ...ids]);
        let left: string[] = [];
        await until("nothing is left", async () => (left = await this.leftovers()).length === 0).catch(() => {
          throw new Error(`left behind:\n${left.join("\n")}\n${this.log.slice(-4000)}`);
        });
        await this.stop();
      }
    } finally {
      await this.#dispose();
    }
  }

  async #dispose(): Promise<void> {
    this.#daemon?.kill("SIGKILL");
    for (const line of shimsOf(this.directory)) process.kill(Number(line.split(" ")[0]), "SIGKILL");
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
    for (const directory of this.cgroups()) removeCgroup(directory);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** `pid command` of each process whose root, working directory or open files lie below a directory: shims and workloads. */
function shimsOf(directory: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const files = readdirSync(`/proc/${pid}/fd`);
      const comm = readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      if (!comm.startsWith("berth-shim")) continue;
      const links = files.map((fd) => tryReadLink(`/proc/${pid}/fd/${fd}`));
      if (links.some((link) => link.startsWith(directory))) found.push(`${pid} ${comm}`);
    } catch {
      // The process ended meanwhile.
    }
  }
  return found;
}

function tryReadLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function removeCgroup(directory: string): void {
  for (const child of readdirSync(directory, { withFileTypes: true })) {
    if (child.isDirectory()) removeCgroup(join(directory, child.name));
  }
  try {
    rmdirSync(directory);
  } catch {
    // Still a process in it: the leak check has said so already.
  }
}

/** Waits until a condition holds, asking again every few milliseconds, and says what it waited for when it never does. */
export async function until(
  what: string,
  condition: () => Promise<boolean> | boolean,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited ${patienceMs} ms in vain until ${what}`);
    await Bun.sleep(10);
  }
}

/** Runs a command to its end with bounded patience. */
export async function run(
  command: string[],
  options: { stdin?: string; env?: Record<string, string>; cwd?: string; timeoutMs?: number } = {},
): Promise<Ran> {
  const child = Bun.spawn(command, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
    env: options.env ?? (process.env as Record<string, string>),
    timeout: (options.timeoutMs ?? 60_000) * PATIENCE,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { stdout, stderr, code };
}

async function firstLine(child: Bun.Subprocess): Promise<void> {
  for await (const chunk of child.stdout as ReadableStream<Uint8Array>) if (chunk.length) return;
  throw new Error("cannot make namespaces: these tests need root");
}

/** Copies a stream to a file as it comes. */
async function collect(stream: ReadableStream<Uint8Array>, file: Bun.BunFile, previous: string): Promise<void> {
  const writer = file.writer();
  await writer.write(previous);
  for await (const chunk of stream) {
    await writer.write(chunk);
    await writer.flush();
  }
  await writer.end();
}
