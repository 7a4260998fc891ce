// AppArmor: the profile that containers run under, on a kernel that has it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon } from "../support/daemon.ts";

const KERNEL = "/sys/kernel/security/apparmor";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start({ args: ["--bridge", "none"] });
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const CURRENT = "cat /proc/self/attr/current";
const inside = (script: string, ...flags: string[]): Promise<string> =>
  berth.dockerOK("run", "--rm", ...flags, "busybox", "sh", "-c", script);
const option = (value: string): string[] => ["--security-opt", `apparmor=${value}`];

test("containers run under docker-default, which the engine loads when it is not there", async () => {
  expect(await berth.dockerOK("info", "-f", "{{.SecurityOptions}}")).toContain("name=apparmor");
  expect(await inside(CURRENT)).toBe("docker-default (enforce)");
  expect(readFileSync(`${KERNEL}/profiles`, "utf8")).toContain("docker-default (enforce)\n");
  writeFileSync(`${KERNEL}/.remove`, "docker-default");
  expect(readFileSync(`${KERNEL}/profiles`, "utf8")).not.toContain("docker-default");
  expect(await inside(CURRENT, "--init", "--security-opt", "no-new-privileges")).toBe("docker-default (enforce)");
});

test("so do their exec sessions; privileged ones and those that ask for it run without", async () => {
  await berth.dockerOK("run", "-d", "--name", "held", "busybox", "sleep", "1000");
  const exec = (...flags: string[]): Promise<string> => berth.dockerOK("exec", ...flags, "held", "sh", "-c", CURRENT);
  expect(await exec()).toBe("docker-default (enforce)");
  expect(await exec("--privileged")).toBe("unconfined");
  const shown = await berth.dockerOK("inspect", "-f", "{{.AppArmorProfile}}", "held");
  expect(shown).toBe("docker-default");
  expect(await berth.dockerOK("exec", "held", "sh", "-c", "sleep 100 & kill $! && echo ended")).toBe("ended");
  await berth.dockerOK("stop", "-t", "0", "held");
  await berth.dockerOK("rm", "held");
  expect(await inside(CURRENT, "--privileged")).toBe("unconfined");
  expect(await inside(CURRENT, ...option("unconfined"))).toBe("unconfined");
});

test("the profile keeps from a container what it may else: mounts, and the machine's files", async () => {
  const may = [
    "--cap-add",
    "SYS_ADMIN",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "systempaths=unconfined",
  ];
  const script =
    "mount -t tmpfs none /mnt 2>&1 && echo mounted; (echo 1 > /proc/sys/vm/drop_caches) 2>&1 && echo written";
  expect(await inside(script, ...may, ...option("unconfined"))).toBe("mounted\nwritten");
  const denied = await berth.docker(["run", "--rm", ...may, "busybox", "sh", "-c", script]);
  expect(denied.stdout).toBe(
    "mount: mounting none on /mnt failed: Permission denied\n" +
      "sh: can't create /proc/sys/vm/drop_caches: Permission denied\n",
  );
});

test("a profile by name is put on, and one that is not loaded fails the start", async () => {
  const text = "profile berth-test flags=(attach_disconnected) {\n  file,\n  capability,\n  deny /etc/passwd r,\n}\n";
  const load = Bun.spawnSync(["apparmor_parser", "-Kr"], { stdin: new Blob([text]) });
  expect({ code: load.exitCode, said: load.stderr.toString() }).toMatchObject({ code: 0 });
  const output = await inside(
    `${CURRENT}; cat /etc/group | head -1; cat /etc/passwd 2>&1 || true`,
    ...option("berth-test"),
  );
  expect(output).toBe("berth-test (enforce)\nroot:x:0:\ncat: can't open '/etc/passwd': Permission denied");
  const missing = await berth.docker(["run", "--rm", ...option("nobody-has-it"), "busybox", "true"]);
  expect(missing.code).not.toBe(0);
  expect(missing.stderr).toContain("apply the AppArmor profile nobody-has-it");
  writeFileSync(`${KERNEL}/.remove`, "berth-test");
});
