// Every setting of `docker run` that the slice promises, seen from inside the container or at the kernel.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const inside = (flags: string[], script: string): Promise<string> =>
  berth.dockerOK("run", "--rm", ...flags, "busybox", "sh", "-c", script);

test("-m kills a hog, and inspect says so", async () => {
  const ran = await berth.docker([
    "run",
    "--name",
    "hog",
    "-m",
    "64m",
    "busybox",
    "dd",
    "if=/dev/zero",
    "of=/dev/null",
    "bs=200M",
    "count=1",
  ]);
  expect(ran.code).toBe(137);
  expect(await berth.dockerOK("inspect", "hog", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}")).toBe(
    "true 137",
  );
  await berth.dockerOK("rm", "hog");
});

test("--pids-limit stops forks", async () => {
  const ran = await berth.docker([
    "run",
    "--rm",
    "--pids-limit",
    "5",
    "busybox",
    "sh",
    "-c",
    "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait",
  ]);
  expect(ran.stderr).toContain("can't fork");
});

test("--cpus and --cpuset-cpus reach the cgroup", async () => {
  await berth.dockerOK("run", "-d", "--name", "cpu", "--cpus", "0.5", "--cpuset-cpus", "0", "busybox", "sleep", "100");
  expect(await berth.dockerOK("exec", "cpu", "grep", "Cpus_allowed_list", "/proc/1/status")).toBe(
    "Cpus_allowed_list:\t0",
  );
  const quota = await berth.dockerOK(
    "exec",
    "cpu",
    "sh",
    "-c",
    "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us",
  );
  expect(quota.replace("\n", " ")).toBe("50000 100000");
  await berth.dockerOK("rm", "-f", "cpu");
});

test("--read-only", async () => {
  expect(await inside(["--read-only"], "touch /x 2>&1 || true; touch /dev/shm/y && echo shm")).toBe(
    "touch: /x: Read-only file system\nshm",
  );
});

test("--cap-drop ALL and --cap-add", async () => {
  expect(await inside(["--cap-drop", "ALL"], "grep CapEff /proc/self/status")).toBe("CapEff:\t0000000000000000");
  expect(await inside(["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "grep CapEff /proc/self/status")).toBe(
    "CapEff:\t0000000000001000",
  );
  expect(await inside([], "grep CapBnd /proc/self/status")).toBe("CapBnd:\t00000000a80425fb");
});

test("--user", async () => {
  expect(await inside(["--user", "1000:1000"], "id -u; id -g; grep CapEff /proc/self/status")).toBe(
    "1000\n1000\nCapEff:\t0000000000000000",
  );
});

test("--security-opt no-new-privileges", async () => {
  expect(await inside(["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status")).toBe(
    "NoNewPrivs:\t1",
  );
  expect(await inside([], "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status")).toBe("NoNewPrivs:\t0\nSeccomp:\t2");
});

test("--privileged", async () => {
  const status = await inside(
    ["--privileged"],
    "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev/kmsg; mount -t tmpfs t /mnt && echo mounted",
  );
  const full = (await Bun.file("/proc/self/status").text()).match(/CapBnd:\t(\w+)/)?.[1];
  expect(status).toBe(`CapEff:\t${full}\nSeccomp:\t0\n/dev/kmsg\nmounted`);
});

test("--init reaps and forwards", async () => {
  expect(await inside(["--init"], "tr '\\0' ' ' </proc/1/cmdline; [ $$ -ne 1 ] && echo not-one")).toContain("not-one");
  await berth.dockerOK(
    "run",
    "-d",
    "--init",
    "--name",
    "inited",
    "busybox",
    "sh",
    "-c",
    "trap 'exit 9' TERM; while :; do sleep 0.1; done",
  );
  await berth.dockerOK("stop", "inited");
  expect(await berth.dockerOK("inspect", "inited", "--format", "{{.State.ExitCode}}")).toBe("9");
  await berth.dockerOK("rm", "inited");
});

test("--hostname, --add-host, --env, -w, --entrypoint", async () => {
  expect(await inside(["--hostname", "box"], "hostname; cat /etc/hostname; grep -c box /etc/hosts")).toBe(
    "box\nbox\n1",
  );
  expect(await inside(["--add-host", "database:10.1.2.3"], "grep database /etc/hosts")).toBe("10.1.2.3\tdatabase");
  expect(await inside(["--env", "A=b c", "-w", "/new/dir"], 'echo "$A"; pwd')).toBe("b c\n/new/dir");
  expect(await berth.dockerOK("run", "--rm", "--entrypoint", "echo", "busybox", "from entrypoint")).toBe(
    "from entrypoint",
  );
});

test("--ulimit, --sysctl, --device, --shm-size", async () => {
  expect(await inside(["--ulimit", "nofile=512:600"], "ulimit -Sn; ulimit -Hn")).toBe("512\n600");
  expect(await inside(["--sysctl", "net.ipv4.ip_default_ttl=99"], "cat /proc/sys/net/ipv4/ip_default_ttl")).toBe("99");
  expect(
    await inside(
      ["--device", "/dev/zero:/dev/nothing:r"],
      "head -c 3 /dev/nothing | wc -c; ls -l /dev/nothing | cut -c1",
    ),
  ).toBe("3\nc");
  expect(await inside(["--shm-size", "32m"], "df -k /dev/shm | tail -1 | awk '{print $2}'")).toBe("32768");
});

test("-v binds, named and anonymous volumes, --mount and --tmpfs", async () => {
  await Bun.write(`${berth.directory}/shared/file`, "from host\n");
  const ro = await berth.docker([
    "run",
    "--rm",
    "-v",
    `${berth.directory}/shared:/s:ro`,
    "busybox",
    "sh",
    "-c",
    "cat /s/file; touch /s/x",
  ]);
  expect(ro.stdout).toBe("from host\n");
  expect(ro.stderr).toContain("Read-only file system");
  await inside(["-v", "data:/d"], "echo kept > /d/f");
  expect(await inside(["--mount", "type=volume,src=data,dst=/e,readonly"], "cat /e/f")).toBe("kept");
  expect(await inside(["--tmpfs", "/t:size=1m"], "mount | grep ' /t ' | grep -o 'size=[0-9a-z]*'")).toBe("size=1024k");
  // An empty volume takes the image's content at that path.
  expect(await inside(["-v", "fresh:/etc"], "test -s /etc/passwd && echo copied")).toBe("copied");
  expect(await berth.dockerOK("volume", "ls", "-q")).toBe("data\nfresh");
  await berth.dockerOK("run", "-d", "--name", "user", "-v", "data:/d", "busybox", "sleep", "100");
  expect((await berth.docker(["volume", "rm", "data"])).stderr).toContain("volume is in use");
  await berth.dockerOK("rm", "-f", "user");
  await berth.dockerOK("run", "--rm", "-v", "/anonymous", "busybox", "true");
  expect(await berth.dockerOK("volume", "ls", "-q")).toBe("data\nfresh");
  await berth.dockerOK("volume", "rm", "data", "fresh");
});

test("default masks, mounts and devices are those of Docker", async () => {
  const look = [
    "cat /proc/kcore | head -c1 | wc -c",
    "ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | grep -c .",
    "echo x > /proc/sys/kernel/hostname || echo refused",
  ];
  expect(await inside([], look.join("; "))).toBe("0\n0\nrefused");
  const devices = await inside([], "ls /dev");
  for (const name of [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "pts",
    "shm",
    "mqueue",
    "fd",
    "stdin",
    "stdout",
    "stderr",
    "ptmx",
    "core",
  ]) {
    expect(devices.split("\n")).toContain(name);
  }
});

test("the log driver bounds what a container may write to disk", async () => {
  await berth.dockerOK(
    "run",
    "-d",
    "--name",
    "chatty",
    "--log-opt",
    "max-size=10k",
    "--log-opt",
    "max-file=2",
    "busybox",
    "sh",
    "-c",
    "i=0; while [ $i -lt 2000 ]; do echo line number $i; i=$((i+1)); done",
  );
  await berth.dockerOK("wait", "chatty");
  const lines = (await berth.dockerOK("logs", "chatty")).split("\n");
  expect(lines.at(-1)).toBe("line number 1999");
  expect(lines.length).toBeLessThan(400);
  await berth.dockerOK("rm", "chatty");
  await until("nothing is left", async () => (await berth.leftovers()).length === 0);
});
