// The fake keeps the contract that the real runtime keeps (test/root/runtime_contract.test.ts).
import { LaunchError, type LaunchRequest } from "../../../runtime/mod.ts";
import { runtimeContract } from "../../contract/runtime.ts";
import { FakeRuntime } from "../../support/fake_runtime.ts";
import { fakeBundle } from "../../support/fake_runtime.ts";
import { expect, test } from "bun:test";

const runtime = new FakeRuntime();
let count = 0;
const request = (bundle: LaunchRequest["bundle"]): LaunchRequest => ({
  bundle,
  stateDir: "/none",
  hasStdin: false,
  netns: null,
  user: "",
  groupAdd: [],
});

runtimeContract("the fake", () => ({
  runtime,
  bundle: (args) => fakeBundle(`c${++count}`, args),
  launch: (bundle) => runtime.launch(request(bundle)),
  finish: async (task) => {
    await task.exited;
    await task.cgroup.remove();
  },
  exits: (code) => ["exit", String(code)],
}));

test("a failure that was ordered comes once", async () => {
  runtime.failure = new LaunchError("mount", 13);
  const bundle = fakeBundle("f", ["true"]);
  expect(runtime.launch(request(bundle))).rejects.toThrow("mount");
  const task = await runtime.launch(request(bundle));
  expect((await task.exited).exitCode).toBe(0);
});
