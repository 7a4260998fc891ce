// docker run, exec, logs, attach and the rest of a container's life, with the real docker CLI against the compiled binary.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

describe("docker run", () => {
  test("prints what the container prints", async () => {
    expect(await berth.dockerOK("run", "--rm", "busybox", "echo", "hi")).toBe("hi");
  });

  test("hands stdin through to its end", async () => {
    const ran = await berth.docker(["run", "-i", "--rm", "busybox", "cat"], { stdin: "abc\n" });
    expect(ran).toEqual({ stdout: "abc\n", stderr: "", code: 0 });
  });

  test("keeps stdout and stderr apart", async () => {
    const ran = await berth.docker(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]);
    expect(ran).toEqual({ stdout: "out\n", stderr: "err\n", code: 0 });
  });

  test.each([
    [["sh", "-c", "exit 0"], 0],
    [["sh", "-c", "exit 1"], 1],
    [["sh", "-c", "exit 42"], 42],
    // Process 1 ignores signals it has no handler for, its own included, so the shell runs one level down.
    [["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137],
    [["sh", "-c", "sh -c 'kill -15 $$'; exit $?"], 143],
    [["/nonexistent"], 127],
    [["nonexistent"], 127],
    [["/etc/passwd"], 126],
    [["/etc"], 126],
  ] as [string[], number][])("%j exits with %d", async (command, code) => {
    expect((await berth.docker(["run", "--rm", "busybox", ...command])).code).toBe(code);
  });

  test("a flag nobody knows exits with 125", async () => {
    expect((await berth.docker(["run", "--rm", "--nope", "busybox"])).code).toBe(125);
  });

  test("a bad volume mode exits with 125 and the reason", async () => {
    const ran = await berth.docker(["run", "--rm", "-v", "/tmp:/x:zz", "busybox", "true"]);
    expect(ran.code).toBe(125);
    expect(ran.stderr).toContain("invalid mode: zz");
  });

  test("the command not found is named as Docker names it", async () => {
    const ran = await berth.docker(["run", "--rm", "busybox", "nope"]);
    expect(ran.stderr).toContain('exec: "nope": executable file not found in $PATH');
  });

  test("a failed start leaves a container that says why", async () => {
    await berth.docker(["run", "--name", "failed", "busybox", "nope"]);
    const state = JSON.parse(await berth.dockerOK("inspect", "failed", "--format", "{{json .State}}"));
    expect(state).toMatchObject({ Status: "created", ExitCode: 127 });
    expect(state.Error).toContain("executable file not found");
    await berth.dockerOK("rm", "failed");
  });
});

describe("the life of a container", () => {
  test("ps shows it running and then exited", async () => {
    await berth.dockerOK("run", "-d", "--name", "life", "busybox", "sleep", "100");
    expect(
      await berth.dockerOK(
        "ps",
        "--filter",
        "name=^life$",
        "--format",
        "{{.Names}} {{.Image}} {{.Command}} {{.State}}",
      ),
    ).toBe('life busybox "sleep 100" running');
    expect(await berth.dockerOK("stop", "-t", "0", "life")).toBe("life");
    const row = JSON.parse(await berth.dockerOK("ps", "-a", "--filter", "name=life", "--format", "json"));
    expect(row).toMatchObject({ Names: "life", State: "exited" });
    expect(row.Status).toStartWith("Exited (137)");
    await berth.dockerOK("rm", "life");
  });

  test("stop sends SIGTERM first and waits for the workload to end", async () => {
    await berth.dockerOK(
      "run",
      "-d",
      "--name",
      "polite",
      "busybox",
      "sh",
      "-c",
      "trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done",
    );
    await until("the trap is set", async () => (await berth.dockerOK("top", "polite")).includes("sleep"));
    await berth.dockerOK("stop", "polite");
    expect(await berth.dockerOK("logs", "polite")).toBe("bye");
    expect(await berth.dockerOK("inspect", "polite", "--format", "{{.State.ExitCode}}")).toBe("7");
    await berth.dockerOK("rm", "polite");
  });

  test("kill, restart, rename and rm -f", async () => {
    await berth.dockerOK("run", "-d", "--name", "one", "busybox", "sleep", "100");
    await berth.dockerOK("rename", "one", "two");
    await berth.dockerOK("restart", "-t", "0", "two");
    expect(await berth.dockerOK("inspect", "two", "--format", "{{.State.Running}}")).toBe("true");
    await berth.dockerOK("kill", "-s", "KILL", "two");
    await until(
      "it has ended",
      async () => (await berth.dockerOK("inspect", "two", "--format", "{{.State.Status}}")) === "exited",
    );
    expect(await berth.dockerOK("inspect", "two", "--format", "{{.State.ExitCode}}")).toBe("137");
    await berth.dockerOK("start", "two");
    const refused = await berth.docker(["rm", "two"]);
    expect(refused.stderr).toContain("container is running: stop the container before removing or force remove");
    await berth.dockerOK("rm", "-f", "two");
    expect((await berth.docker(["inspect", "two"])).stderr).toContain("No such object: two");
  });

  test("names conflict in Docker's words, and prefixes find containers", async () => {
    const id = await berth.dockerOK("create", "--name", "taken", "busybox", "true");
    const again = await berth.docker(["create", "--name", "taken", "busybox", "true"]);
    expect(again.stderr).toContain(`Conflict. The container name "/taken" is already in use by container "${id}".`);
    expect(await berth.dockerOK("inspect", id.slice(0, 9), "--format", "{{.Name}}")).toBe("/taken");
    await berth.dockerOK("rm", id.slice(0, 12));
  });

  test("wait answers with the exit code", async () => {
    await berth.dockerOK("run", "-d", "--name", "waiter", "busybox", "sh", "-c", "sleep 0.3; exit 5");
    expect(await berth.dockerOK("wait", "waiter")).toBe("5");
    await berth.dockerOK("rm", "waiter");
  });

  test("top lists the processes with the columns that were asked for", async () => {
    await berth.dockerOK("run", "-d", "--name", "tops", "busybox", "sleep", "77");
    expect(await berth.dockerOK("top", "tops")).toContain("sleep 77");
    expect((await berth.dockerOK("top", "tops", "-o", "pid,args")).split("\n")[0]).toMatch(/^PID\s+COMMAND$/);
    for (const args of [
      ["aux"],
      ["axo", "pid,ppid,user,comm"],
      ["-eo", "pid,netns,cgroup,pss", "--sort", "-pid"],
      ["-eLf"],
    ])
      expect((await berth.dockerOK("top", "tops", ...args)).split("\n")).toHaveLength(2);
    expect(await berth.dockerOK("top", "tops", "-o", "pid,wchan,stat,etime,label,exe,args")).toContain("/bin/busybox");
    expect((await berth.docker(["top", "tops", "--nonsense"])).stderr).toContain("ps: error: unknown gnu long option");
    await berth.dockerOK("rm", "-f", "tops");
  });

  test("a restart policy brings a failing container back as often as it says", async () => {
    await berth.dockerOK(
      "run",
      "-d",
      "--name",
      "again",
      "--restart",
      "on-failure:3",
      "busybox",
      "sh",
      "-c",
      "echo run; exit 1",
    );
    await until(
      "it has given up",
      async () =>
        (await berth.dockerOK("inspect", "again", "--format", "{{.State.Status}} {{.RestartCount}}")) === "exited 3",
    );
    expect((await berth.dockerOK("logs", "again")).split("\n")).toEqual(["run", "run", "run", "run"]);
    await berth.dockerOK("rm", "again");
  });
});

describe("docker exec", () => {
  test("runs beside the workload with its own streams and exit code", async () => {
    await berth.dockerOK("run", "-d", "--name", "host", "-e", "A=1", "-w", "/tmp", "busybox", "sleep", "100");
    expect(await berth.dockerOK("exec", "host", "sh", "-c", "echo $A; pwd")).toBe("1\n/tmp");
    const ran = await berth.docker(["exec", "-i", "host", "sh", "-c", "cat; echo no >&2; exit 9"], { stdin: "in\n" });
    expect(ran).toEqual({ stdout: "in\n", stderr: "no\n", code: 9 });
    expect((await berth.docker(["exec", "host", "nope"])).code).toBe(127);
    expect((await berth.docker(["exec", "host", "/etc/passwd"])).code).toBe(126);
    expect(
      await berth.dockerOK(
        "exec",
        "-u",
        "1000:1000",
        "-e",
        "B=2",
        "-w",
        "/",
        "host",
        "sh",
        "-c",
        "id -u; id -g; echo $B; pwd",
      ),
    ).toBe("1000\n1000\n2\n/");
    await berth.dockerOK("exec", "-d", "host", "sh", "-c", "echo done > /tmp/flag");
    await until(
      "the detached command has run",
      async () => (await berth.docker(["exec", "host", "cat", "/tmp/flag"])).stdout === "done\n",
    );
    await berth.dockerOK("rm", "-f", "host");
    expect((await berth.docker(["exec", "host", "true"])).stderr).toContain("No such container: host");
  });
});

describe("docker logs", () => {
  test("tail, since, timestamps and follow", async () => {
    await berth.dockerOK(
      "run",
      "-d",
      "--name",
      "logger",
      "busybox",
      "sh",
      "-c",
      "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; sleep 1; echo last",
    );
    await until("the lines are there", async () => (await berth.dockerOK("logs", "logger")).includes("line 8"));
    expect(await berth.dockerOK("logs", "--tail", "2", "logger")).toContain("line 8");
    expect(await berth.dockerOK("logs", "-f", "--tail", "1", "logger")).toEndWith("last");
    expect(await berth.dockerOK("logs", "-t", "--tail", "1", "logger")).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z last$/,
    );
    expect(
      await berth.dockerOK("logs", "--since", "2000-01-01T00:00:00Z", "--until", "2000-01-02T00:00:00Z", "logger"),
    ).toBe("");
    await berth.dockerOK("rm", "-f", "logger");
  });
});

describe("docker events", () => {
  test("come in Docker's order", async () => {
    const since = String(Date.now() / 1000);
    await berth.dockerOK("run", "--rm", "--name", "eventful", "busybox", "true");
    const lines = await berth.dockerOK(
      "events",
      "--since",
      since,
      "--until",
      String(Date.now() / 1000 + 0.2),
      "--format",
      "{{.Type}} {{.Action}}",
    );
    expect(lines.split("\n")).toEqual([
      "container create",
      "container attach",
      "network connect",
      "container start",
      "network disconnect",
      "container die",
      "container destroy",
    ]);
  });
});

test("docker rm -f removes everything at once", async () => {
  for (const name of ["a1", "a2", "a3"]) await berth.dockerOK("run", "-d", "--name", name, "busybox", "sleep", "100");
  const ids = (await berth.dockerOK("ps", "-aq")).split("\n");
  expect(ids.length).toBe(3);
  await berth.dockerOK("rm", "-f", ...ids);
  expect(await berth.dockerOK("ps", "-aq")).toBe("");
  await until("nothing is left", async () => (await berth.leftovers()).length === 0);
});
