// The records of a starting container, as they come by its report pipe: from the shim and from init, in either order.
import { expect, test } from "bun:test";
import { watchReport } from "../../../runtime/launch/spawn.ts";
import { REPORT_BYTES } from "../../../runtime/program/descriptors.ts";
import { pipe2, writeAll } from "../../../runtime/sys/file.ts";

const PID = 4711,
  HELD = -1,
  READY = 0;

/** What happens when these records come, each by itself or cut in the middle. */
async function told(records: readonly number[], pieceBytes: number): Promise<string[]> {
  const { read, write } = pipe2();
  using reader = read;
  const seen: string[] = [];
  const image = { bytes: new Uint8Array(0), titleAt: () => null };
  const watch = watchReport(
    reader,
    image,
    (pid) => seen.push(`pid ${pid}`),
    async () => void seen.push("held"),
  );
  const bytes = new Uint8Array(records.length * REPORT_BYTES);
  for (const [index, value] of records.entries()) {
    new DataView(bytes.buffer).setBigInt64(index * REPORT_BYTES, BigInt(value), true);
  }
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    writeAll(write, bytes.slice(at, at + pieceBytes));
    await Bun.sleep(1);
  }
  write.close();
  const { isReady, pid } = await watch.report;
  return [...seen, `${isReady} ${pid}`];
}

test.each([
  ["the shim first", [PID, HELD, READY]],
  ["init first", [HELD, PID, READY]],
])("the hooks run when the pid is known: %s", async (_, records) => {
  for (const pieceBytes of [REPORT_BYTES, 7, REPORT_BYTES * records.length]) {
    expect(await told(records, pieceBytes)).toEqual([`pid ${PID}`, "held", `true ${PID}`]);
  }
});

test("without hooks nobody waits", async () => {
  expect(await told([PID, READY], REPORT_BYTES)).toEqual([`pid ${PID}`, `true ${PID}`]);
});
