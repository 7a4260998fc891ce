// docker container prune with the real CLI: what its filters spare, and what it says.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  const create = (name: string, ...labels: string[]): Promise<string> =>
    berth.dockerOK("create", "--name", name, ...labels.flatMap((label) => ["--label", label]), "busybox", "true");
  await create("plain");
  await create("of-a", "of=a");
  await create("both", "of=a", "keep");
  await create("of-b", "of=b");
  await berth.dockerOK("run", "-d", "--name", "up", "--network", "none", "--label", "of=a", "busybox", "sleep", "1000");
  await berth.dockerOK("run", "--name", "wrote", "--network", "none", "busybox", "sh", "-c", "seq 1000 >/f");
});
afterAll(async () => {
  await berth.dockerOK("rm", "-f", "up");
  await berth[Symbol.asyncDispose]();
});

const names = async (): Promise<string> =>
  (await berth.dockerOK("ps", "-a", "--format", "{{.Names}}")).split("\n").toSorted().join(" ");
const prune = (...filters: string[]) =>
  berth.docker(["container", "prune", "-f", ...filters.flatMap((filter) => ["--filter", filter])]);

test("what was made after a moment is spared", async () => {
  for (const until of ["10m", "2020-01-02", "2020-01-02T03:04:05Z", "1577934245"]) {
    expect(await prune(`until=${until}`)).toMatchObject({ code: 0, stdout: "Total reclaimed space: 0B\n" });
  }
  expect(await names()).toBe("both of-a of-b plain up wrote");
});

test("a filter that means nothing is refused", async () => {
  expect((await prune("until=soon")).stderr).toContain('failed to parse value as time or duration: "soon"');
  expect((await prune("until=1m", "until=2m")).stderr).toContain("more than one until filter specified");
  expect((await prune("name=a")).stderr).toContain("invalid filter 'name'");
  expect(await names()).toBe("both of-a of-b plain up wrote");
});

test("labels that must be there, and that must not; then the rest, but for what runs", async () => {
  const { stdout } = await prune("label=of=a", "label!=keep");
  expect(stdout).toMatch(/^Deleted Containers:\n[0-9a-f]{64}\n\nTotal reclaimed space: 0B\n$/);
  expect(await names()).toBe("both of-b plain up wrote");
  await prune("label=of");
  expect(await names()).toBe("plain up wrote");
  expect((await prune("until=0s")).stdout).toContain("Total reclaimed space: 3.893kB");
  expect(await names()).toBe("up");
  const reply = await berth.request("POST", "/containers/prune");
  expect(await reply.json()).toEqual({ ContainersDeleted: null, SpaceReclaimed: 0 });
});
