// From a program to a running shim: the file in memory, the descriptors it is born with, and the records it sends back on
// its way to the workload's execve.
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import process from "node:process";
import { LaunchError } from "../errors.ts";
import { DESCRIPTOR_LIMIT, REPORT_BYTES } from "../program/descriptors.ts";
import type { Image } from "../program/program.ts";
import { errnoOf } from "./failure.ts";
import { E } from "../sys/errno.ts";
import { Fd } from "../sys/fd.ts";
import { check } from "../sys/ffi.ts";
import { executableMemfd, sealMemfd, writeAll } from "../sys/file.ts";
import { readerOf } from "../sys/readable.ts";

/** The child-side descriptors, by the number they get in the shim. */
export type DescriptorTable = Map<number, Fd>;

export interface ShimProcess {
  pid: number;
  /** The daemon's child has ended and been reaped. */
  exited: Promise<unknown>;
  /** SIGKILL, unless it has been reaped. For where there is no pidfd. */
  kill(): void;
}

/**
 * Starts the image. `name` is what ps shows. The descriptors stay the caller's to close.
 *
 * INVARIANT: every number in the table is below DESCRIPTOR_LIMIT and every descriptor given is at or above it, or one
 * dup2 on the way would overwrite the source of another.
 */
export function spawnShim(
  image: Image,
  table: DescriptorTable,
  name: string,
  argument: string,
  imageDir: string,
): ShimProcess {
  // WHY: it is born with more descriptors than three, and Deno hands on only those that it has opened itself.
  if (typeof Bun === "undefined") throw new LaunchError("spawn the shim, which needs Bun", E.ENOSYS);
  const stdio: (number | null)[] = Array.from({ length: Math.max(2, ...table.keys()) + 1 }, () => null);
  using raised = new DisposableStack();
  for (const [number, fd] of table) {
    stdio[number] = fd.number >= DESCRIPTOR_LIMIT ? fd.number : raised.use(duplicateAbove(fd)).number;
  }
  using file = openImage(image, imageDir);
  try {
    const child = Bun.spawn([file.path, argument], {
      argv0: name,
      env: {},
      cwd: "/",
      // Bun takes more than the three descriptors that its types know.
      stdio: stdio as [null, null, null],
    });
    // The shim outlives this process; waiting for it must not keep the daemon running.
    child.unref();
    return { pid: child.pid, exited: child.exited, kill: () => child.kill("SIGKILL") };
  } catch (error) {
    throw new LaunchError("spawn the shim", errnoOf(error), undefined, { cause: error });
  }
}

function duplicateAbove(fd: Fd): Fd {
  const F_DUPFD_CLOEXEC = 1030;
  return new Fd(check("fcntl", [fd.number, F_DUPFD_CLOEXEC, DESCRIPTOR_LIMIT], { command: "F_DUPFD_CLOEXEC" }));
}

/** The program as an executable file: in memory, or on disk where the kernel forbids that (vm.memfd_noexec=2). */
function openImage(image: Image, imageDir: string): { path: string } & Disposable {
  const memory = executableMemfd("berth-shim");
  if (memory) {
    writeAll(memory, image.bytes);
    sealMemfd(memory);
    return { path: `/proc/${process.pid}/fd/${memory.number}`, [Symbol.dispose]: () => memory.close() };
  }
  const path = `${imageDir}/shim-${crypto.randomUUID()}`;
  const file = openSync(path, "wx", 0o700);
  try {
    writeSync(file, image.bytes);
  } finally {
    // Closed before it is run: a file open for writing is ETXTBSY.
    closeSync(file);
  }
  return { path, [Symbol.dispose]: () => unlinkSync(path) };
}

/** How far the program came, from the records on its report pipe. */
export interface Report {
  /** Process 1 of the container, or the exec session's command; null when clone was not reached. */
  pid: number | null;
  /** Everything was set up; what is left is the workload's own execve. */
  isReady: boolean;
  failure: { errno: number; title: string } | null;
}

export interface ReportWatch {
  /** Settles at the pipe's end, or after `stop`. */
  report: Promise<Report>;
  /** Stops reading: before the pipe is closed. */
  stop: () => void;
}

/**
 * Reads the report pipe to its end. `onPid` is called as soon as the pid is known, `onHeld` is awaited after it where init
 * waits for the hooks; what they throw fails the report.
 */
export function watchReport(
  pipe: Fd,
  image: Image,
  onPid: (pid: number) => void,
  onHeld: () => Promise<void> = () => Promise.resolve(),
): ReportWatch {
  const reader = readerOf(pipe);
  const read = async (): Promise<Report> => {
    const report: Report = { pid: null, isReady: false, failure: null };
    let rest: Uint8Array = new Uint8Array(0);
    let isHeld = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return report;
      const bytes = rest.length === 0 ? value : Buffer.concat([rest, value]);
      const whole = bytes.length - (bytes.length % REPORT_BYTES);
      for (let offset = 0; offset < whole; offset += REPORT_BYTES) {
        if (take(report, bytes.subarray(offset), image, onPid) === "held") isHeld = true;
        // The shim tells the pid and init that it waits: either may come first.
        if (!isHeld || report.pid === null) continue;
        isHeld = false;
        await onHeld();
      }
      rest = bytes.subarray(whole);
    }
  };
  return { report: read(), stop: () => void reader.cancel().catch(() => undefined) };
}

const HELD = -1;

/** One record, as program/descriptors.ts draws them. */
function take(report: Report, bytes: Uint8Array, image: Image, onPid: (pid: number) => void): "held" | "taken" {
  const view = new DataView(bytes.buffer, bytes.byteOffset, REPORT_BYTES);
  const value = Number(view.getBigInt64(0, true)),
    where = Number(view.getBigUint64(8, true));
  if (where !== 0) report.failure = { errno: -value, title: image.titleAt(where) ?? `step at ${where}` };
  else if (value === 0) report.isReady = true;
  else if (value === HELD) return "held";
  else {
    report.pid = value;
    onPid(value);
  }
  return "taken";
}
