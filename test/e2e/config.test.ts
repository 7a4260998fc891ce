// Fields of a container's configuration, and what an image's tree does to mounts and back: seen from inside, or by what the
// workload gets.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { busyboxWith, loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
const host = mkdtempSync(join(tmpdir(), "berth-config-"));
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
  rmSync(host, { recursive: true, force: true });
});

const inspect = async (name: string): Promise<Record<string, unknown>> =>
  JSON.parse(await berth.dockerOK("inspect", "-f", "{{json .Config}}", name)) as Record<string, unknown>;
async function create(name: string, config: object): Promise<void> {
  const body = { Image: "busybox", HostConfig: { NetworkMode: "none" }, ...config };
  const reply = await berth.request("POST", `/v1.51/containers/create?name=${name}`, { body });
  expect({ status: reply.status, body: await reply.json() }).toMatchObject({ status: 201 });
}
const bytesOf = async (command: string[], stdin: string): Promise<string> =>
  (await run(command, { stdin, env: berth.clientEnv })).stdout;

describe("stdin", () => {
  const READS = ["sh", "-c", "while read line; do echo got $line; done; echo ended; sleep 1000"];
  const logs = (name: string): Promise<string> => berth.dockerOK("logs", name);

  test("StdinOnce: the end of the first attachment's input is the workload's", async () => {
    await create("once", { OpenStdin: true, StdinOnce: true, Cmd: READS });
    await berth.dockerOK("start", "once");
    const attached = bytesOf(["docker", "attach", "--sig-proxy=false", "once"], "one\n");
    await until("the workload sees the end", async () => (await logs("once")).includes("ended"));
    expect(await logs("once")).toBe("got one\nended");
    await berth.dockerOK("rm", "-f", "once");
    expect(await attached).toBe("got one\nended\n");
  });

  test("without it input goes on with the next attachment", async () => {
    await create("often", { OpenStdin: true, Cmd: READS });
    await berth.dockerOK("start", "often");
    // The client stays until the container ends.
    const attach = ["docker", "attach", "--sig-proxy=false", "often"];
    const first = bytesOf(attach, "one\n");
    await until("the first has come", async () => (await logs("often")).includes("one"));
    const second = bytesOf(attach, "two\n");
    await until("the second has come", async () => (await logs("often")).includes("two"));
    expect(await logs("often")).toBe("got one\ngot two");
    await berth.dockerOK("rm", "-f", "often");
    await Promise.all([first, second]);
  });
});

test("Shell is what CMD-SHELL of a health check runs by", async () => {
  await create("shelled", {
    Cmd: ["sleep", "1000"],
    Shell: ["/bin/busybox", "ash", "-xc"],
    Healthcheck: { Test: ["CMD-SHELL", "echo by $0"], Interval: 5e7 },
  });
  await berth.dockerOK("start", "shelled");
  const output = (): Promise<string> =>
    berth.dockerOK("inspect", "-f", "{{range .State.Health.Log}}{{.Output}}{{end}}", "shelled");
  await until("a probe has run", async () => (await output()) !== "");
  expect(await output()).toContain("+ echo by");
  await berth.dockerOK("rm", "-f", "shelled");
});

test("an image's triggers are not its containers'; what clients say of attaching is kept", async () => {
  const image = await busyboxWith("triggers:latest", { OnBuild: ["RUN true"], ArgsEscaped: true });
  await berth.dockerOK("load", "-i", image);
  await create("built", {
    Image: "triggers",
    OnBuild: ["RUN false"],
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: false,
  });
  expect(await inspect("built")).toMatchObject({
    OnBuild: null,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: false,
  });
  await berth.dockerOK("rm", "built");
});

test("a mount's destination through a link of the image lies where the link leads, inside", async () => {
  const body = "mkdir -p /real/deep && ln -s /real /absolute && ln -s ../../../../../../real/deep /relative";
  await berth.dockerOK("run", "--name", "linked", "--network", "none", "busybox", "sh", "-c", body);
  await berth.dockerOK("commit", "linked", "linked:1");
  await berth.dockerOK("rm", "linked");
  writeFileSync(join(host, "marker"), "bound\n");
  const look = "cat /real/bind/marker /real/deep/marker; grep -c ' /real/' /proc/self/mountinfo; readlink /absolute";
  const flags = ["-v", `${host}:/absolute/bind`, "-v", `${host}/marker:/relative/marker`];
  const shown = await berth.dockerOK("run", "--rm", "--network", "none", ...flags, "linked:1", "sh", "-c", look);
  expect(shown).toBe("bound\nbound\n2\n/real");
});

test("docker export | docker import gives the same tree, and it runs", async () => {
  const make = [
    "mkdir -m 1750 /t && cd /t && echo text > file && chmod 4711 file && ln file hard && ln -s file soft",
    "mkfifo pipe && mknod node c 1 3 && chown 12:34 pipe && touch -d '2001-02-03 04:05:06' file && echo > \"$(printf 'n\\303\\251')\"",
  ].join(" && ");
  const list = "cd /t && stat -c '%n %F %a %u:%g %h %s %t:%T %Y' . * | grep -v '^\\. '; readlink soft; cat file";
  await berth.dockerOK("run", "--name", "original", "--network", "none", "busybox", "sh", "-c", make);
  const piped = await run(["sh", "-c", "docker export original | docker import -c 'CMD [\"sh\"]' - again:1"], {
    env: berth.clientEnv,
  });
  expect(piped).toMatchObject({ code: 0, stderr: "" });
  await berth.dockerOK("commit", "original", "committed:1");
  const tree = (image: string): Promise<string> =>
    berth.dockerOK("run", "--rm", "--network", "none", image, "sh", "-c", list);
  const expected = await tree("committed:1");
  expect(expected.split("\n").length).toBe(8);
  expect(await tree("again:1")).toBe(expected);
  const files = (image: string): Promise<string> =>
    berth.dockerOK("run", "--rm", "--network", "none", image, "sh", "-c", "find / -xdev | sort");
  expect(await files("again:1")).toBe(await files("committed:1"));
  await berth.dockerOK("rm", "original");
});

test("memory alone is updated as far as the swap that is set allows", async () => {
  const flags = ["--memory", "64m", "--network", "none"];
  await berth.dockerOK("run", "-d", "--name", "limited", ...flags, "busybox", "sleep", "1000");
  const limits = (): Promise<string> =>
    berth.dockerOK("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "limited");
  const MiB = 1 << 20;
  const refused = await berth.request("POST", "/containers/limited/update", { body: { Memory: 256 * MiB } });
  expect(refused.status).toBe(409);
  const id = await berth.dockerOK("inspect", "-f", "{{.Id}}", "limited");
  const message =
    `Cannot update container ${id}: Memory limit should be smaller than already set memoryswap limit, ` +
    "update the memoryswap at the same time";
  expect(await refused.json()).toEqual({ message });
  expect(await limits()).toBe(`${64 * MiB} ${128 * MiB}`);
  await berth.dockerOK("update", "--memory", "96m", "limited");
  expect(await limits()).toBe(`${96 * MiB} ${128 * MiB}`);
  const fits = await berth.request("POST", `/containers/${id}/update`, { body: { Memory: 128 * MiB } });
  expect(fits.status).toBe(200);
  await berth.dockerOK("update", "--memory", "256m", "--memory-swap", "-1", "limited");
  expect(await limits()).toBe(`${256 * MiB} -1`);
  expect((await berth.docker(["update", "--memory", "512m", "limited"])).stderr).toContain(message);
  expect(await limits()).toBe(`${256 * MiB} -1`);
  await berth.dockerOK("rm", "-f", "limited");
  await berth.dockerOK("create", "--name", "unlimited", "--network", "none", "busybox");
  expect((await berth.docker(["update", "--memory", "64m", "unlimited"])).code).toBe(1);
  await berth.dockerOK("update", "--memory", "64m", "--memory-swap", "128m", "unlimited");
  await berth.dockerOK("rm", "unlimited");
});

test("a restart policy is refused in Docker's words, at create and at an update", async () => {
  const ONLY = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
  const cases: [object, string][] = [
    [{ Name: "always", MaximumRetryCount: 2 }, ONLY],
    [{ Name: "no", MaximumRetryCount: -1 }, `${ONLY} and cannot be negative`],
    [{ Name: "on-failure", MaximumRetryCount: -1 }, "invalid restart policy: maximum retry count cannot be negative"],
    [
      { Name: "sometimes" },
      "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ],
  ];
  await create("policied", {});
  for (const [RestartPolicy, message] of cases) {
    const made = await berth.request("POST", "/containers/create", {
      body: { Image: "busybox", HostConfig: { RestartPolicy } },
    });
    expect([made.status, await made.json()]).toEqual([400, { message }]);
    const changed = await berth.request("POST", "/containers/policied/update", { body: { RestartPolicy } });
    expect([changed.status, await changed.json()]).toEqual([400, { message }]);
  }
  await berth.dockerOK("rm", "policied");
});
