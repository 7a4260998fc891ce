// Containers on the real kernel: what a bundle says, seen from inside.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OciMount } from "../../../runtime/bundle.ts";
import { UserLookupError } from "../../../runtime/errors.ts";
import { createNetns } from "../../../runtime/program/batch.ts";
import { readOnce, writeAll } from "../../../runtime/sys/file.ts";
import { DEFAULT_CAPABILITIES } from "../../../src/engine/containers/capabilities.ts";
import {
  type BundleChanges,
  ContainerRoom,
  makeBusyboxLayer,
  readStreams,
  until,
} from "../../support/container_room.ts";

const room = new ContainerRoom("launch");
afterAll(() => room[Symbol.asyncDispose]());

const out = async (script: string, changes: BundleChanges = {}, user = ""): Promise<string> => {
  const { stdout, stderr } = await room.sh(script, changes, { user });
  return (stdout + stderr).trim();
};

describe("a process", () => {
  test("its output and exit code arrive", async () => {
    const { stdout, stderr, exit } = await room.sh("echo out; echo err >&2; exit 7");
    expect({ stdout, stderr }).toEqual({ stdout: "out\n", stderr: "err\n" });
    expect(exit).toMatchObject({ exitCode: 7, signal: null, oomKilled: false });
    expect(Math.abs(exit.exitedAt.getTime() - Date.now())).toBeLessThan(60_000);
  });

  test("a death by signal is 128 and its number", async () => {
    const task = await room.launch(room.bundle(["sleep", "100"]));
    task.signal(9);
    expect(await task.exited).toMatchObject({ exitCode: 137, signal: 9 });
    task.signal(9);
    await room.finish(task);
  });

  test("it is process 1 of its own namespaces and sees only itself", async () => {
    expect(await out("echo $$; ps -o pid,comm | tail -n +2 | head -1; ls /proc/1/root | head -1", {})).toStartWith(
      "1\n",
    );
    expect(await out("hostname; cat /proc/sys/kernel/domainname", { hostname: "box", domainname: "example.org" })).toBe(
      "box\nexample.org",
    );
    expect(await out("cat /proc/net/dev | wc -l; cat /proc/self/cgroup | cut -d: -f3 | sort -u")).toBe("3\n/");
  });

  test("a prepared network namespace is entered", async () => {
    using netns = createNetns();
    const wanted = readFileSync(`/proc/self/fdinfo/${netns.number}`, "utf8").match(/ino:\s*(\d+)/)?.[1];
    const { stdout } = await room.sh("readlink /proc/self/ns/net", {}, { netns });
    expect(stdout.trim()).toBe(`net:[${wanted}]`);
  });

  test("namespaces of a running container are joined by path, others are the host's when absent", async () => {
    const donor = await room.launch(room.bundle(["sleep", "100"], { hostname: "donor" }));
    const path = (name: string): string => `/proc/${donor.pid}/ns/${name}`;
    const joined = await out("hostname; readlink /proc/self/ns/ipc; ps -o comm | grep -c sleep", {
      linux: {
        namespaces: [
          { type: "mount" },
          { type: "uts", path: path("uts") },
          { type: "ipc", path: path("ipc") },
          { type: "pid", path: path("pid") },
          { type: "network", path: path("net") },
        ],
      },
    });
    expect(joined.split("\n")[0]).toBe("donor");
    expect(joined.split("\n")[2]).toBe("1");
    donor.signal(9);
    await room.finish(donor);
    const host = await out("readlink /proc/self/ns/uts", {
      linux: { namespaces: [{ type: "mount" }, { type: "pid" }] },
    });
    expect(host).toBe(readlinkSync("/proc/self/ns/uts"));
  });

  test("environment, HOME, working directory, umask and limits are as asked", async () => {
    const process = {
      env: ["PATH=/bin", "A=b c"],
      cwd: "/made/for/it",
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 99, hard: 100 }],
    };
    const text = await out(
      "env | sort; pwd; umask; ulimit -n; ulimit -Hn; stat -c %u:%g /made/for/it",
      { process },
      "alice",
    );
    expect(text).toBe(
      "A=b c\nHOME=/home/alice\nPATH=/bin\nPWD=/made/for/it\nSHLVL=1\n/made/for/it\n0022\n99\n100\n1000:1000",
    );
    expect(await out("ulimit -n")).toBe("1024");
  });

  test("no descriptor and no ignored signal is inherited", async () => {
    expect(await out("ls /proc/self/fd | tr '\\n' ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2")).toBe(
      "0 1 2 3 0000000000000000\n0000000000000000",
    );
  });
});

test("our init does its work under a filter that forbids what it waits by", async () => {
  const without = (...names: string[]): BundleChanges => ({
    linux: {
      seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names, action: "SCMP_ACT_ERRNO", args: [] }] },
    },
  });
  const trap = "trap 'exit 5' TERM; echo up; read x";
  const bundle = room.bundle(["sh", "-c", trap], without("ppoll"));
  const task = await room.launch(bundle, { hasInit: true, hasStdin: true });
  const { stdout } = task.streams;
  if (!stdout) throw new Error("no stdout");
  const line = new Uint8Array(new ArrayBuffer(16));
  await until(() => readOnce(stdout, line) === 3, "the trap is set");
  task.signal(15);
  expect(await task.exited).toMatchObject({ exitCode: 5 });
  await room.finish(task);
  const { exit } = await room.sh("exit 7", without("ppoll", "nanosleep"), { hasInit: true });
  expect(exit.exitCode).toBe(7);
});

describe("users and privileges", () => {
  test("names, numbers and groups are looked up in the image", async () => {
    expect(await out("id")).toBe("uid=0(root) gid=0(root) groups=0(root),10(wheel)");
    expect(await out("id", {}, "alice")).toBe("uid=1000(alice) gid=1000(alice) groups=77(extra),1000(alice)");
    expect(await out("id -u; id -g; id -G", {}, "4242:77")).toBe("4242\n77\n77");
    const added = await room.sh("id -G", {}, { user: "alice", groupAdd: ["wheel", "900"] });
    expect(added.stdout.trim()).toBe("1000 10 77 900");
    const refusal = (user: string): Promise<unknown> =>
      room.sh("id", {}, { user }).then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(await refusal("bob")).toEqual(
      new UserLookupError("unable to find user bob: no matching entries in passwd file"),
    );
    expect(await refusal("alice:none")).toEqual(
      new UserLookupError("unable to find group none: no matching entries in group file"),
    );
  });

  test("a passwd behind a symbolic link is read through a mounted view", async () => {
    const bundle = room.bundle(["id", "-u"]);
    mkdirSync(join(bundle.rootfs.upper, "etc"), { recursive: true });
    writeFileSync(join(bundle.rootfs.upper, "etc/real"), "carol:x:2000:2000::/:/bin/sh\n");
    symlinkSync("/etc/real", join(bundle.rootfs.upper, "etc/passwd"));
    expect((await room.run(bundle, { user: "carol" })).stdout).toBe("2000\n");
  });

  test("capabilities: root has the default set, another user none, --cap-drop ALL none", async () => {
    const caps = "grep Cap /proc/self/status | cut -f2 | tr '\\n' ' '";
    const set = "00000000a80425fb",
      none = "0000000000000000";
    expect(await out(caps)).toBe(`${none} ${set} ${set} ${set} ${none}`);
    expect(await out(caps, {}, "alice")).toBe(`${none} ${none} ${none} ${set} ${none}`);
    const empty = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] };
    expect(await out(caps, { process: { capabilities: empty } })).toBe([none, none, none, none, none].join(" "));
    const ambient = ["CAP_NET_BIND_SERVICE"];
    const raised = {
      bounding: [...DEFAULT_CAPABILITIES],
      effective: ambient,
      permitted: ambient,
      inheritable: ambient,
      ambient,
    };
    const bit = "0000000000000400";
    expect(await out(caps, { process: { capabilities: raised } }, "alice")).toBe(`${bit} ${bit} ${bit} ${set} ${bit}`);
  });

  test("the seccomp filter is loaded for root and for users, with and without no_new_privs", async () => {
    const state =
      "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | cut -f2 | tr '\\n' ' '; unshare -m true 2>&1 | grep -c 'not permitted'";
    for (const user of ["", "alice"]) {
      expect(await out(state, {}, user)).toBe("0 2 1");
      expect(await out(state, { process: { noNewPrivileges: true } }, user)).toBe("1 2 1");
    }
  });

  test("a workload that is not root may open its own stdout again, and the host's /dev/null keeps its owner", async () => {
    expect(await out("echo again > /dev/stdout; echo err > /dev/stderr", {}, "alice")).toBe("again\nerr");
    expect(statSync("/dev/null").uid).toBe(0);
  });
});

describe("the file system", () => {
  const bind = (source: string, destination: string, ...options: string[]): OciMount => ({
    destination,
    type: "bind",
    source,
    options: ["rbind", ...options],
  });
  const source = join(room.directory, "source");
  mkdirSync(join(source, "deep"), { recursive: true });
  writeFileSync(join(source, "file"), "from the host\n");

  test("writes go to the upper directory, and the host's mount table never shows the container", async () => {
    const before = readFileSync("/proc/self/mountinfo", "utf8");
    const bundle = room.bundle(["sh", "-c", "echo kept > /kept; rm /etc/group"]);
    const task = await room.launch(bundle);
    expect(readFileSync("/proc/self/mountinfo", "utf8")).toBe(before);
    await room.finish(task);
    expect(readFileSync(join(bundle.rootfs.upper, "kept"), "utf8")).toBe("kept\n");
    expect(statSync(join(bundle.rootfs.upper, "etc/group")).isCharacterDevice()).toBe(true);
  });

  test("files and directories are bound, and missing targets made", async () => {
    const mounts = [bind(source, "/new/dir"), bind(join(source, "file"), "/new/other/file", "ro")];
    expect(
      await out("cat /new/dir/file /new/other/file; touch /new/dir/made; echo x > /new/other/file", { mounts }),
    ).toBe("from the host\nfrom the host\nsh: can't create /new/other/file: Read-only file system");
    expect(readdirSync(source).sort()).toEqual(["deep", "file", "made"]);
  });

  test("a target that is a symbolic link stays inside the container", async () => {
    const bundle = room.bundle(["sh", "-c", "ls /data; ls -d /tmp/berth-room* 2>/dev/null"], {
      mounts: [bind(source, "/out")],
    });
    symlinkSync("/data", join(bundle.rootfs.upper, "out"));
    expect((await room.run(bundle)).stdout.split("\n")).toContain("file");
  });

  test("rro makes a tree read-only to its depths, ro its top alone", async () => {
    const attempt =
      "touch /hostdev/shm/berth-x 2>/dev/null && echo deep; touch /hostdev/berth-x 2>/dev/null && echo top; rm -f /hostdev/shm/berth-x";
    // /dev/shm is a mount of its own on the host.
    const mounts = (word: string): OciMount[] => [bind("/dev", "/hostdev", word)];
    expect(await out(attempt, { mounts: mounts("rro") })).toBe("");
    expect(await out(attempt, { mounts: mounts("ro") })).toBe("deep");
  });

  test("a read-only root refuses writes, its tmpfs takes them", async () => {
    const mounts: OciMount[] = [
      { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["size=64k", "mode=1777"] },
    ];
    expect(
      await out("touch /x 2>&1; touch /tmp/x && stat -c %a /tmp; df -k /tmp | tail -1 | awk '{print $2}'", {
        readonly: true,
        mounts,
      }),
    ).toBe("touch: /x: Read-only file system\n1777\n64");
  });

  test("masked paths are empty, read-only paths refuse writes", async () => {
    expect(
      await out("wc -c < /proc/keys; ls /proc/acpi | wc -l; ls /sys/firmware | wc -l; wc -c < /proc/timer_list"),
    ).toBe("0\n0\n0\n0");
    expect(await out("echo 1 > /proc/sys/kernel/shm_rmid_forced")).toContain("Read-only file system");
  });

  test("sysctls are set in the container's namespaces only", async () => {
    const key = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    const before = readFileSync(key, "utf8");
    const sysctl = { "net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1" };
    expect(await out(`cat ${key} /proc/sys/kernel/shm_rmid_forced`, { linux: { sysctl } })).toBe("77\n1");
    expect(readFileSync(key, "utf8")).toBe(before);
  });

  test("devices: the default nodes work, others are made with mode and owner, the rest is forbidden", async () => {
    const device = {
      path: "/dev/extra/zero2",
      type: "c" as const,
      major: 1,
      minor: 5,
      fileMode: 0o640,
      uid: 1000,
      gid: 77,
    };
    const text = await out(
      "head -c 3 /dev/zero | wc -c; echo x > /dev/null; stat -c '%a %u:%g %t,%T' /dev/extra/zero2; readlink /dev/fd; " +
        "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1 | grep -c permitted",
      { linux: { devices: [device] } },
    );
    expect(text).toBe("3\n640 1000:77 1,5\n/proc/self/fd\n1");
  });

  test("cgroups are seen at their own root, read-only", async () => {
    const text = await out(
      "mount | grep ' /sys/fs/cgroup' | head -1 | grep -c '(ro,'; ls /sys/fs/cgroup | wc -l; " +
        "mkdir /sys/fs/cgroup/x 2>&1 | grep -c Read-only",
    );
    expect(text).toMatch(/^1\n[1-9]\d*\n1$/);
  });

  test("a directory serves as root file system too", async () => {
    const bundle = room.bundle(["sh", "-c", "echo plain; touch /made"]);
    const root = join(room.directory, "plain");
    makeBusyboxLayer(root);
    const rootfs = { ...bundle.rootfs, kind: "directory" as const, upper: root };
    expect((await room.run({ ...bundle, rootfs })).stdout).toBe("plain\n");
    expect(readdirSync(root)).toContain("made");
  });

  test("many layers fit", async () => {
    const bundle = room.bundle(["cat", "/layer7", "/layer90"]);
    const names = Array.from({ length: 100 }, (_, index) => `L${index}`);
    for (const name of names) {
      mkdirSync(join(bundle.rootfs.layersDir, name), { recursive: true });
      writeFileSync(join(bundle.rootfs.layersDir, name, `layer${name.slice(1)}`), name);
    }
    const rootfs = { ...bundle.rootfs, lower: [...names, "busybox"] };
    using view = room.runtime.openView(rootfs);
    expect(view.isOpen).toBe(true);
    expect((await room.run({ ...bundle, rootfs })).stdout).toBe("L7L90");
  });
});

describe("streams", () => {
  test("stdin reaches the workload and ends when both writers are gone", async () => {
    const task = await room.launch(room.bundle(["cat"]), { hasStdin: true });
    const output = readStreams(task.streams);
    if (!task.streams.stdin) throw new Error("no stdin");
    writeAll(task.streams.stdin, Buffer.from("hello"));
    task.dropStdin();
    task.streams.stdin.close();
    expect(await task.exited).toMatchObject({ exitCode: 0 });
    expect((await output).stdout).toBe("hello");
    await room.finish(task);
  });

  test("without stdin the workload reads /dev/null", async () => {
    expect(await out("cat; readlink /proc/self/fd/0")).toBe("/dev/null");
  });

  test("a terminal: controlling, with its size, on the container's own devpts and as its console", async () => {
    const bundle = room.bundle(
      [
        "sh",
        "-c",
        "tty; stty size; ls /dev/pts | cat; test -c /dev/console && echo console; read line; stty size; echo got $line; exit 3",
      ],
      { process: { terminal: true, consoleSize: { height: 40, width: 100 } } },
    );
    const task = await room.launch(bundle, { hasStdin: true });
    const { terminal } = task.streams;
    if (!terminal) throw new Error("no terminal");
    let text = "";
    const reading = (async () => {
      // A master whose slave is closed everywhere answers EIO.
      try {
        for await (const chunk of Bun.file(terminal.number).stream()) text += Buffer.from(chunk).toString();
      } catch {
        return;
      }
    })();
    await until(() => text.includes("console"), "the first lines");
    expect(text.replaceAll("\r", "")).toBe("/dev/pts/0\n40 100\n0\nptmx\nconsole\n");
    task.resize(50, 120);
    writeAll(terminal, Buffer.from("hi\n"));
    expect(await task.exited).toMatchObject({ exitCode: 3 });
    await reading;
    expect(text).toContain("50 120\r\ngot hi\r\n");
    await room.finish(task);
  });
});
