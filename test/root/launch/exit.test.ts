// The exit record from the shim's pipe. Here and not among the unit tests, since reading a pipe as a stream takes Bun.
import { expect, test } from "bun:test";
import { watchExitPipe } from "../../../runtime/launch/exit.ts";
import { pipe2, writeAll } from "../../../runtime/sys/file.ts";
import { exitRecord } from "../../support/exit_record.ts";

test("a record that comes in pieces is put together; an end without one is null; so is a stop", async () => {
  const pieces = pipe2();
  const watch = watchExitPipe(pieces.read);
  writeAll(pieces.write, exitRecord(3 << 8).subarray(0, 20));
  await Bun.sleep(1);
  writeAll(pieces.write, exitRecord(3 << 8).subarray(20, 32));
  expect(await watch.record).toMatchObject({ exitCode: 3 });
  const ended = pipe2();
  const second = watchExitPipe(ended.read);
  ended.write.close();
  expect(await second.record).toBeNull();
  const stopped = pipe2();
  const third = watchExitPipe(stopped.read);
  third.stop();
  expect(await third.record).toBeNull();
  for (const fd of [pieces.read, pieces.write, ended.read, stopped.read, stopped.write]) fd.close();
});
