// What container logs cost without a container around: `bun bench/logs.ts [MEGABYTES]`. Lines of 100 bytes are written as the
// stdio plane writes them (chunks of 256 KiB) and read back as `docker logs` reads them, for each file format.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createLogs, type LogOptions } from "../runtime/mod.ts";

const megabytes = Number(process.argv[2] ?? 200);
const directory = mkdtempSync(join(tmpdir(), "berth-bench-logs-"));
try {
  for (const driver of ["json-file", "local"] as const) await measure(driver);
} finally {
  rmSync(directory, { recursive: true });
}

async function measure(driver: LogOptions["driver"]): Promise<void> {
  const options: LogOptions = {
    driver,
    path: join(directory, driver),
    maxSizeBytes: null,
    maxFiles: 1,
    compresses: false,
    attributes: {},
  };
  const logs = createLogs({
    nowNano: () => BigInt(Date.now()) * 1_000_000n,
    onProblem: (_, error) => {
      throw error;
    },
  });
  const chunk = new TextEncoder().encode(`${"x".repeat(99)}\n`.repeat((256 << 10) / 100 + 1)).subarray(0, 256 << 10);
  const total = Math.ceil((megabytes * 1e6) / chunk.length) * chunk.length;
  const writer = logs.open(options);
  const write = timed(total, () => {
    for (let done = 0; done < total; done += chunk.length) writer.append(1, chunk);
  });
  console.log(`${driver} write ${await write} MB/s`);
  for (const asked of [{}, { timestamps: true }, { details: true }]) {
    const what = { timestamps: false, details: false, ...asked };
    const read = await timed(total, async () => {
      const all = { stdout: true, stderr: true, sinceNano: null, untilNano: null, tail: null, isFramed: true };
      const pieces = logs
        .reader(options, writer)
        .read({ ...all, ...what, followUntil: null }, new AbortController().signal);
      for await (const _ of pieces);
    });
    console.log(`${driver} read ${Object.keys(asked).join()} ${read} MB/s`);
  }
  writer.close();
}

async function timed(bytes: number, act: () => Promise<void> | void): Promise<string> {
  const start = performance.now();
  await act();
  return (bytes / 1000 / (performance.now() - start)).toFixed(0);
}
