// Runs the tests of a file in network, mount and process namespaces of their own, so that they may do to the network what the
// engine does, and nothing of it reaches the machine: the first run of the file only starts the second one in there.
import { expect, test } from "bun:test";
import { basename } from "node:path";
import process from "node:process";

const INSIDE = "BERTH_TEST_NETNS";
/** As in daemon.ts. */
const PATIENCE = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);

/** `define` declares the tests. `file` is the calling file's `import.meta.path`. */
export function inOwnNetns(file: string, define: () => void): void {
  if (process.env[INSIDE] === file) {
    define();
    return;
  }
  test(
    `${basename(file)} passes in a network namespace of its own`,
    async () => {
      // With a process namespace too: whatever a failed test leaves running ends with it.
      const own = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
      const child = Bun.spawn([...own, process.execPath, "test", "--timeout", String(20_000 * PATIENCE), file], {
        env: { ...process.env, [INSIDE]: file },
        stdout: "pipe",
        stderr: "pipe",
      });
      const [stdout, stderr, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ]);
      if (code !== 0) console.error(`${stdout}${stderr}`);
      expect(code).toBe(0);
      // A file that declares nothing passes too: it must have run something.
      expect(stderr).toMatch(/^ ?[1-9]\d* pass/m);
    },
    60_000 * PATIENCE,
  );
}
