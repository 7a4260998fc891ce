// Mount propagation between the host and containers, in a mount namespace of the test's own.
import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";

test("rprivate sees nothing later, rslave sees it, rshared also gives back", () => {
  const script = join(import.meta.dir, "../../support/propagation_child.ts");
  const output = execFileSync("unshare", ["--mount", "--propagation", "private", process.execPath, script], {
    encoding: "utf8",
  });
  expect(JSON.parse(output)).toEqual({
    rprivate: "- ",
    rslave: "mounted master ",
    rshared: "mounted shared came back",
  });
});
