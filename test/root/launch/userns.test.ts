// Containers in a user namespace (userns-remap): root inside is nobody outside.
import { afterAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bundle } from "../../../runtime/bundle.ts";
import { createSandboxOwnedBy } from "../../../runtime/net/netns.ts";
import { type BundleChanges, ContainerRoom, readStreams, until } from "../../support/container_room.ts";
import { onDisk } from "../../support/disk.ts";
import { execRequest } from "../../support/exec_request.ts";

const room = onDisk(() => new ContainerRoom("userns"));
afterAll(() => room[Symbol.asyncDispose]());

const FIRST = 100000;
const mapping = { containerID: 0, hostID: FIRST, size: 65536 };
chmodSync(room.directory, 0o711);
cpSync(join(room.directory, "layers/busybox"), join(room.directory, "layers/mapped"), {
  recursive: true,
  verbatimSymlinks: true,
});
execFileSync("chown", ["-hR", `${FIRST}:${FIRST}`, join(room.directory, "layers/mapped")]);

function mapped(args: string[], changes: BundleChanges = {}): Bundle {
  const types = ["user", "mount", "network", "uts", "pid", "ipc", "cgroup"] as const;
  const bundle = room.bundle(args, {
    ...changes,
    linux: {
      namespaces: types.map((type) => ({ type })),
      uidMappings: [mapping],
      gidMappings: [mapping],
      ...changes.linux,
    },
  });
  execFileSync("chown", ["-R", `${FIRST}:${FIRST}`, join(bundle.rootfs.upper, "..")]);
  return { ...bundle, rootfs: { ...bundle.rootfs, lower: ["mapped"] } };
}

test("root inside is an ordinary user outside, and files are its own", async () => {
  const script =
    "id -u; cat /proc/self/uid_map | tr -s ' '; touch /made; stat -c %u /made /bin/busybox; echo x > /dev/null && echo null; " +
    "ip link set lo up && echo up; grep -E 'Seccomp:' /proc/self/status | cut -f2; head -c 2 /dev/zero | wc -c";
  const capabilities = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"];
  const sets = {
    bounding: capabilities,
    effective: capabilities,
    permitted: capabilities,
    inheritable: [],
    ambient: [],
  };
  const bundle = mapped(["sh", "-c", script], { process: { capabilities: sets, oomScoreAdj: 50 } });
  const { stdout, stderr, exit } = await room.run(bundle);
  expect({ stdout, stderr }).toEqual({ stdout: "0\n 0 100000 65536\n0\n0\nnull\nup\n2\n2\n", stderr: "" });
  expect(exit.exitCode).toBe(0);
  expect(statSync(join(bundle.rootfs.upper, "made")).uid).toBe(FIRST);
});

test("many layers fit", async () => {
  const bundle = mapped(["cat", "/layer7", "/layer90"]);
  const names = Array.from({ length: 100 }, (_, index) => `M${index}`);
  for (const name of names) {
    mkdirSync(join(bundle.rootfs.layersDir, name));
    writeFileSync(join(bundle.rootfs.layersDir, name, `layer${name.slice(1)}`), name);
  }
  const { stdout } = await room.run({ ...bundle, rootfs: { ...bundle.rootfs, lower: [...names, "mapped"] } });
  expect(stdout).toBe("M7M90");
});

test("the workload's stdout may be opened again, by root inside and by a user", async () => {
  for (const user of ["", "alice"]) {
    const { stdout } = await room.run(
      mapped(["sh", "-c", "echo one > /dev/stdout; cat /proc/self/oom_score_adj"], { process: { oomScoreAdj: 70 } }),
      { user },
    );
    expect(stdout).toBe("one\n70\n");
  }
});

test("a terminal and an exec session work", async () => {
  const bundle = mapped(["sh", "-c", "tty; stty size; exec sleep 100"], {
    process: { terminal: true, consoleSize: { height: 10, width: 20 } },
  });
  const task = await room.launch(bundle);
  const { terminal } = task.streams;
  if (!terminal) throw new Error("no terminal");
  let text = "";
  const reading = (async () => {
    try {
      for await (const chunk of Bun.file(terminal.number).stream()) text += Buffer.from(chunk).toString();
    } catch {
      // EIO: the end of a terminal.
    }
  })();
  await until(() => text.includes("10 20"), "the size");
  expect(text).toStartWith("/dev/pts/0");
  expect(readFileSync(`/proc/${task.pid}/status`, "utf8")).toContain(`Uid:\t${FIRST}`);
  using session = await room.runtime.exec(
    task,
    execRequest(bundle, ["sh", "-c", "id -u; ps -o comm | grep -c sleep; grep CapEff /proc/self/status | cut -f2"]),
  );
  const { stdout } = await readStreams(session.streams);
  expect(stdout).toBe("0\n1\n00000000a80425fb\n");
  task.signal(9);
  await reading;
  await room.finish(task);
});

test("through a user namespace that is made before, nothing on the disk is shifted", async () => {
  const maps = { uidMappings: [mapping], gidMappings: [mapping] };
  const volume = join(room.directory, "volume");
  mkdirSync(volume);
  const types = ["user", "mount", "network", "uts", "pid", "ipc", "cgroup"] as const;
  const script =
    "id -u; tr -s ' ' < /proc/self/uid_map; touch /made /volume/made; stat -c %u:%g /made /volume /bin/busybox /etc/passwd; " +
    "su alice -c 'touch /tmp/hers'; stat -c %u /tmp/hers; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
  const bundle = room.bundle(["sh", "-c", script], {
    process: { oomScoreAdj: 5 },
    mounts: [{ destination: "/volume", type: "bind", source: volume, options: ["rbind", "rprivate", "idmap"] }],
    linux: {
      namespaces: types.map((type) => ({ type })),
      ...maps,
      sysctl: { "net.ipv4.ip_unprivileged_port_start": "7" },
    },
  });
  chmodSync(room.directory, 0o700);
  const userns = room.runtime.createUserNamespace(maps),
    netns = createSandboxOwnedBy(userns);
  const { stdout, stderr, exit } = await room.run(bundle, { userns, netns });
  userns.close();
  netns.close();
  expect({ stdout, stderr }).toEqual({
    stdout: "0\n 0 100000 65536\n0:0\n0:0\n0:0\n0:0\n1000\n7\n",
    stderr: "",
  });
  expect(exit.exitCode).toBe(0);
  expect(statSync(join(bundle.rootfs.upper, "made")).uid).toBe(0);
  expect(statSync(join(bundle.rootfs.upper, "tmp/hers")).uid).toBe(1000);
  expect(statSync(join(volume, "made")).uid).toBe(0);
  const open = readdirSync("/proc/self/fd").length;
  for (let count = 0; count < 20; count++) room.runtime.createUserNamespace(maps).close();
  expect(readdirSync("/proc/self/fd").length).toBeLessThan(open + 20);
});
