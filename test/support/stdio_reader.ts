// A process that does for one container what the daemon's stdio plane does, until it is killed. Started by
// test/root/stdio.test.ts with the descriptors 3 stdout (or the pty), 4 stderr, 5 and 6 staging.
import { existsSync } from "node:fs";
import process from "node:process";
import { createLogs } from "../../runtime/log/mod.ts";
import { createStdioPlane } from "../../runtime/stdio/plane.ts";
import { createWallClock } from "../../runtime/sys/clock.ts";
import { Fd } from "../../runtime/sys/fd.ts";

const [, , path = "", kind = "", writerPid = ""] = process.argv;
const isTTY = kind === "tty";
const fail = (error: unknown): void => {
  console.error(error);
  process.exit(1);
};
const plane = createStdioPlane(fail);
const logs = createLogs({ nowNano: createWallClock(), onProblem: (_, error) => fail(error) });
const log = logs.open({
  driver: "json-file",
  path,
  maxSizeBytes: null,
  maxFiles: 1,
  compresses: false,
  attributes: {},
});
const out = new Fd(3);
const streams = {
  stdin: null,
  stdout: isTTY ? null : out,
  stderr: isTTY ? null : new Fd(4),
  terminal: isTTY ? out : null,
  staging: { read: new Fd(5), write: new Fd(6) },
};
const exited = writerEnd().then(() => ({ exitCode: 0, signal: null, exitedAt: new Date(0), oomKilled: false }));
const stdio = plane.open({ streams, exited }, { log, journalPath: `${path}.journal`, isTTY });
process.stdout.write("reading\n");
await stdio.logged;
plane.close();
log.close();

/** The writer is our parent's child, and gone once that has reaped it. */
async function writerEnd(): Promise<void> {
  while (existsSync(`/proc/${writerPid}`)) await new Promise((resolve) => setTimeout(resolve, 10));
}
