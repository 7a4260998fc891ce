// A daemon with --userns-remap: root of its containers is nobody on the host, and files on the disk stay as images have them.
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { onDisk } from "../support/disk.ts";
import { type Ran, run as exec, TestDaemon } from "../support/daemon.ts";

const FIRST = 200000;
const host = mkdtempSync(join(tmpdir(), "berth-remap-"));
const BINARY = join(import.meta.dir, "../../dist/berth");
/** The daemon sees account files of its own: its mount namespace is. */
const SCRIPT = `[ -e /etc/of-this-test ] || mount --bind ${host}/etc /etc; exec "$0" "$@"`;
let berth: TestDaemon;

beforeAll(async () => {
  const etc = join(host, "etc");
  cpSync("/etc", etc, { recursive: true, verbatimSymlinks: true });
  writeFileSync(join(etc, "of-this-test"), "");
  appendFileSync(join(etc, "passwd"), "mapped:x:4321:4322::/:/bin/false\n");
  appendFileSync(join(etc, "group"), "mapped:x:4322:\n");
  for (const name of ["subuid", "subgid"])
    writeFileSync(join(etc, name), `other:100000:65536\nmapped:${FIRST}:65536\n`);
  const program = ["sh", "-c", SCRIPT, BINARY];
  berth = await onDisk(() => TestDaemon.start({ args: ["--userns-remap", "mapped"], program }));
  await loadBusybox(berth);
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
  rmSync(host, { recursive: true, force: true });
});

const run = (flags: string[], script: string): Promise<Ran> =>
  berth.docker(["run", "--rm", ...flags, "busybox", "sh", "-c", script]);
async function inside(flags: string[], script: string): Promise<string> {
  const { stdout, stderr, code } = await run(flags, script);
  if (code !== 0) throw new Error(`${code}: ${stdout}${stderr}${berth.log.slice(-2000)}`);
  return stdout.trim();
}
const pidOf = async (name: string): Promise<number> =>
  Number(await berth.dockerOK("inspect", name, "--format", "{{.State.Pid}}"));
const uidOf = (pid: number): string => /^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
const root = (): string => join(berth.dataRoot, `${FIRST}.${FIRST}`);

test("the daemon says so, and keeps what it has in a directory of the remapped root", async () => {
  expect(await berth.dockerOK("info", "--format", "{{json .SecurityOptions}}")).toContain(`"name=userns"`);
  expect(await berth.dockerOK("info", "--format", "{{.DockerRootDir}}")).toBe(root());
});

test("root inside is another one outside, with its own namespaces, files and devices", async () => {
  const script =
    "id -u; tr -s ' ' < /proc/self/uid_map; touch /made; chown 7:8 /made; " +
    "stat -c %u:%g / /bin/busybox /etc/hosts /etc/resolv.conf /made; " +
    "echo x > /dev/null && head -c 2 /dev/zero | wc -c; echo '1.2.3.4 x' >> /etc/hosts && grep -c 1.2.3.4 /etc/hosts; " +
    "touch /dev/shm/x && stat -c %u /dev/shm/x; mkdir /dev/mqueue/x 2>/dev/null; ls /sys/class/net | tr '\\n' ' '; " +
    "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/self/oom_score_adj; ls /sys/fs/cgroup | grep -c .";
  const out = (await inside(["--oom-score-adj", "100"], script)).split("\n");
  expect(out.slice(0, 14)).toEqual([
    "0",
    ` 0 ${FIRST} 65536`,
    "0:0",
    "0:0",
    "0:0",
    "0:0",
    "7:8",
    "2",
    "1",
    "0",
    "eth0 lo 0",
    "100",
    expect.stringMatching(/^[1-9]/),
  ]);
});

test("its processes are its own on the host, exec, terminals, health checks and kill -9 included", async () => {
  const health = ["--health-cmd", "test $(id -u) = 0", "--health-interval", "200ms"];
  await berth.dockerOK("run", "-d", "--name", "mm", ...health, "busybox", "sleep", "1000");
  const pid = await pidOf("mm");
  expect(uidOf(pid)).toBe(String(FIRST));
  expect(readlinkSync(`/proc/${pid}/ns/user`)).not.toBe(readlinkSync("/proc/self/ns/user"));
  expect(await berth.dockerOK("exec", "mm", "id", "-u")).toBe("0");
  expect(await berth.dockerOK("exec", "-u", "5", "mm", "sh", "-c", "id -u; cat /proc/self/uid_map | wc -l")).toBe(
    "5\n1",
  );
  const tty = await exec(
    ["script", "-qec", "docker exec -it mm sh -c 'tty; stat -c %u $(tty); echo hi > /dev/stdout'", "/dev/null"],
    { env: berth.clientEnv },
  );
  expect(tty.stdout.replace(/\r|\^@/g, "")).toContain("/dev/pts/0\n0\nhi\n");
  const own = await exec(
    ["script", "-qec", "docker run --rm -it busybox sh -c 'tty; stat -c %u:%g $(tty)'", "/dev/null"],
    {
      env: berth.clientEnv,
    },
  );
  expect(own.stdout.replace(/\r|\^@/g, "")).toContain("/dev/pts/0\n0:5\n");
  await berth.kill();
  await berth.boot();
  expect(await pidOf("mm")).toBe(pid);
  expect(await berth.dockerOK("exec", "mm", "id", "-u")).toBe("0");
  for (let tries = 0; tries < 100; tries++) {
    if ((await berth.dockerOK("inspect", "mm", "--format", "{{.State.Health.Status}}")) === "healthy") break;
    await Bun.sleep(50);
  }
  expect(await berth.dockerOK("inspect", "mm", "--format", "{{.State.Health.Status}}")).toBe("healthy");
  await berth.dockerOK("rm", "-f", "mm");
});

test("a container's root rules its network: low ports, and sysctls of its own", async () => {
  const flags = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ip_forward=1"];
  const script =
    "cat /proc/sys/net/ipv4/ip_forward; ip link set lo down && ip link set lo up && echo ruled; " +
    "(echo a | timeout 5 nc -l -p 80 >/dev/null &) ; sleep 0.2; nc -w 2 127.0.0.1 80 </dev/null";
  expect(await inside(flags, script)).toBe("1\nruled\na");
});

test("files: changes, commit, cp and export have the owners that the container sees", async () => {
  await berth.dockerOK(
    "run",
    "-d",
    "--name",
    "ff",
    "busybox",
    "sh",
    "-c",
    "mkdir /d; echo 1 > /d/x; chown 7:8 /d/x; sleep 1000",
  );
  const upper = await berth.dockerOK("inspect", "ff", "--format", "{{.GraphDriver.Data.UpperDir}}");
  await inside([], "true");
  const { uid, gid } = statSync(join(upper, "d/x"));
  expect([uid, gid]).toEqual([7, 8]);
  expect(await berth.dockerOK("diff", "ff")).toContain("A /d/x");
  const local = join(host, "local");
  mkdirSync(local);
  writeFileSync(join(local, "in"), "in");
  const list = async (command: string): Promise<string> =>
    (
      await exec(["sh", "-c", `${command} | tar -tvf - --numeric-owner | tr -s ' ' | cut -d' ' -f2,6 | sort`], {
        env: berth.clientEnv,
      })
    ).stdout;
  const owners = "0/0 d/\n7/8 d/x\n";
  expect(await list("docker cp ff:/d -")).toBe(owners);
  expect(await list("docker export ff")).toContain("7/8 d/x\n");
  // Into what runs: files, directories, links and what lies in a tmpfs of its own.
  const tar = `cd ${local} && mkdir -p sub && ln -sf in link && tar -c --owner=9 --group=10 --numeric-owner in sub link`;
  for (const place of ["/d", "/dev/shm"]) {
    const ran = await exec(["sh", "-c", `${tar} | docker cp -a - ff:${place}`], { env: berth.clientEnv });
    expect(ran.stderr).toBe("");
    expect(await berth.dockerOK("exec", "ff", "sh", "-c", `cd ${place}; stat -c %u:%g in sub link`)).toBe(
      "9:10\n9:10\n9:10",
    );
  }
  const refused = await exec(["sh", "-c", `${tar.replace("owner=9", "owner=70000")} | docker cp -a - ff:/dev/shm`], {
    env: berth.clientEnv,
  });
  expect(refused.stderr).toContain("cannot be had in the container's user namespace");
  await berth.dockerOK("stop", "-t", "0", "ff");
  expect(await list("docker cp ff:/d -")).toBe("0/0 d/\n7/8 d/x\n9/10 d/in\n9/10 d/link\n9/10 d/sub/\n");
  await berth.dockerOK("commit", "ff", "committed");
  expect(await berth.dockerOK("run", "--rm", "committed", "stat", "-c", "%u:%g", "/d/x", "/d/in")).toBe("7:8\n9:10");
  expect(await berth.dockerOK("run", "--rm", "--userns", "host", "committed", "stat", "-c", "%u:%g", "/d/x")).toBe(
    "7:8",
  );
  await berth.dockerOK("rm", "-f", "ff");
  await berth.dockerOK("rmi", "committed");
});

test("volumes are the container's, what is bound is the host's", async () => {
  const bound = join(host, "bound");
  mkdirSync(bound, { mode: 0o755 });
  writeFileSync(join(bound, "file"), "seen");
  const script =
    "echo 1 > /v/x && stat -c %u /v /v/x; cat /b/file; stat -c %u /b/file; touch /b/no 2>&1; stat -c %u /etc/passwd";
  const out = await inside(["-v", "vol:/v", "-v", `${bound}:/b`], script);
  expect(out).toBe("0\n0\nseen65534\ntouch: /b/no: Permission denied\n0");
  expect(statSync(join(root(), "volumes/vol/_data/x")).uid).toBe(0);
  expect(await inside(["-v", "vol:/v:ro"], "cat /v/x; touch /v/y 2>&1; true")).toBe(
    "1\ntouch: /v/y: Read-only file system",
  );
  expect(await inside(["-v", "/bin"], "ls /bin | wc -l; stat -c %u /bin/busybox")).toMatch(/^[1-9]\d*\n0$/);
  const image = ["--mount", "type=image,source=busybox,target=/image"];
  expect(await inside(image, "stat -c %u /image/bin/busybox; touch /image/x 2>&1 | grep -c Read-only")).toBe("0\n1");
  expect(
    await inside(
      ["--userns", "host", "-v", "vol:/v"],
      "stat -c %u /v/x; wc -l < /proc/self/uid_map; cut -c1-60 /proc/self/uid_map | tr -s ' '",
    ),
  ).toBe("0\n1\n 0 0 4294967295");
  await berth.dockerOK("volume", "rm", "vol");
});

test("what is mounted for a volume is the host's, too", async () => {
  const bound = join(host, "device");
  mkdirSync(bound, { mode: 0o755 });
  const options = ["type=none", "o=bind", `device=${bound}`].flatMap((option) => ["--opt", option]);
  await berth.dockerOK("volume", "create", ...options, "mounted");
  expect(await inside(["-v", "mounted:/v"], "stat -c %u /v; touch /v/x 2>&1; true")).toBe(
    "65534\ntouch: /v/x: Permission denied",
  );
  await berth.dockerOK("volume", "rm", "mounted");
});

test("devices are the host's own, at the host's paths", async () => {
  expect(await inside(["--device", "/dev/zero"], "head -c 3 /dev/zero | wc -c")).toBe("3");
  const { stderr } = await run(["--device", "/dev/zero:/dev/null"], "true");
  expect(stderr).toContain("in a user namespace a device cannot be given another path");
});

test("user networks: names, published ports, and a network that is connected later", async () => {
  await berth.dockerOK("network", "create", "net1");
  await berth.dockerOK("network", "create", "net2");
  const serve = "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w";
  const flags = ["--network", "net1", "--network-alias", "web", "-p", "18080:80"];
  await berth.dockerOK("run", "-d", "--name", "server", ...flags, "busybox", "sh", "-c", serve);
  expect(await inside(["--network", "net1"], "wget -qO- http://web/")).toBe("served");
  const published = await berth.inside([
    "curl",
    "-s",
    "--retry-connrefused",
    "--retry",
    "5",
    "http://127.0.0.1:18080/",
  ]);
  expect(published.stdout).toBe("served\n");
  await berth.dockerOK("network", "connect", "net2", "server");
  expect(await inside(["--network", "net2"], "wget -qO- http://server/")).toBe("served");
  await berth.dockerOK("rm", "-f", "server");
  await berth.dockerOK("network", "rm", "net1", "net2");
});

test("the host's IPC and host name can be shared, and a read-only root, tmpfs and --init work", async () => {
  const flags = ["--ipc", "host", "--uts", "host", "--read-only", "--tmpfs", "/t:uid=5", "--init"];
  const script =
    "readlink /proc/self/ns/ipc; touch /no 2>&1; touch /t/x && stat -c %u /t /t/x; ls /dev/mqueue | wc -l; ps | grep -c docker-init";
  const [ipc, ...rest] = (await inside(flags, script)).split("\n");
  expect(ipc).toBe(readlinkSync("/proc/self/ns/ipc"));
  expect(rest.slice(0, 4)).toEqual(["touch: /no: Read-only file system", "5", "0", "0"]);
});

test("the host is out of reach", async () => {
  const script =
    "echo 1 > /proc/sys/vm/drop_caches; mount -t tmpfs x /mnt; mknod /n c 1 3; date -s 2000-01-01; chroot / true; hostname x; true";
  const { stderr } = await run(["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"], script);
  for (const words of [
    "mknod: /n: Operation not permitted",
    "date: can't set date: Operation not permitted",
    "drop_caches: ",
  ])
    expect(stderr).toContain(words);
});

test("another container's namespaces come with its user namespace", async () => {
  await berth.dockerOK("run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000");
  const flags = ["--network", "container:donor", "--ipc", "container:donor", "--pid", "container:donor"];
  const said = await inside(flags, "readlink /proc/self/ns/user; pidof sleep; touch /dev/shm/x && echo shared");
  expect(said).toBe(`${readlinkSync(`/proc/${await pidOf("donor")}/ns/user`)}\n1\nshared`);
  await berth.dockerOK("rm", "-f", "donor");
  await berth.dockerOK("run", "-d", "--name", "donor", "--userns", "host", "busybox", "sleep", "1000");
  expect((await run(["--network", "container:donor"], "true")).stderr).toContain("it is in the host's user namespace");
  await berth.dockerOK("rm", "-f", "donor");
});

test("what the host's user namespace is needed for is refused in Docker's words", async () => {
  const refusal = async (flag: string[]): Promise<string> =>
    (await berth.docker(["create", ...flag, "busybox"])).stderr;
  expect(await refusal(["--privileged"])).toContain(
    "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode",
  );
  expect(await refusal(["--network", "host"])).toContain(
    "cannot share the host's network namespace when user namespaces are enabled",
  );
  expect(await refusal(["--pid", "host"])).toContain(
    "cannot share the host PID namespace when user namespaces are enabled",
  );
  expect(await inside(["--privileged", "--userns", "host", "--pid", "host"], "id -u")).toBe("0");
});
