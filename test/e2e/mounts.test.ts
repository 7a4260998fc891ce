// Every kind of mount, with each of its options: seen from inside the container, or at the kernel's mount table.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon } from "../support/daemon.ts";

let berth: TestDaemon;
const host = mkdtempSync(join(tmpdir(), "berth-mounts-"));
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
  rmSync(host, { recursive: true, force: true });
});

interface Asked {
  status: number;
  body: { Id?: string; message?: string };
}

/** One create request by the API: what the docker CLI cannot say, and what it would refuse itself. */
async function create(hostConfig: object, script = "true", version = "1.51"): Promise<Asked> {
  const body = { Image: "busybox", Cmd: ["sh", "-c", script], HostConfig: hostConfig };
  const reply = await berth.request("POST", `/v${version}/containers/create`, { body });
  return { status: reply.status, body: (await reply.json()) as Asked["body"] };
}

/** What a container with these mounts prints; it is removed. */
async function output(hostConfig: object, script: string, version = "1.51"): Promise<string> {
  const { body } = await create(hostConfig, script, version);
  if (body.Id === undefined) throw new Error(body.message);
  try {
    return await berth.dockerOK("start", "-a", body.Id);
  } finally {
    await berth.dockerOK("rm", "-f", "-v", body.Id);
  }
}

async function refusal(hostConfig: object): Promise<string> {
  const { status, body } = await create(hostConfig);
  return `${status} ${body.message}`;
}

/** The error of `docker start`. */
async function startFailure(hostConfig: object): Promise<string> {
  const { body } = await create(hostConfig);
  if (body.Id === undefined) throw new Error(body.message);
  const reply = await berth.request("POST", `/containers/${body.Id}/start`);
  const { message } = reply.status === 204 ? { message: "started" } : ((await reply.json()) as { message: string });
  await berth.dockerOK("rm", "-f", "-v", body.Id);
  return `${reply.status} ${message}`;
}

/** In the daemon's mount namespace alone. */
async function onHost(script: string): Promise<void> {
  const { code, stderr } = await berth.inside(["sh", "-ec", script]);
  if (code !== 0) throw new Error(stderr);
}

const bind = (source: string, options: object = {}, more: object = {}) => ({
  Mounts: [{ Type: "bind", Source: source, Target: "/m", BindOptions: options, ...more }],
});
const PEERS = "grep ' /m ' /proc/self/mountinfo | cut -d' ' -f7 | cut -d: -f1";

test("a bind propagates as it is told, and only from a mount that does", async () => {
  const shared = join(host, "shared"),
    plain = join(host, "plain");
  for (const path of [shared, plain]) mkdirSync(path);
  await onHost(`mount -t tmpfs t ${shared}; mount --make-shared ${shared}; mount -t tmpfs t ${plain}`);
  const seen: Record<string, string> = {};
  for (const word of ["private", "rprivate", "slave", "rslave", "shared", "rshared"]) {
    seen[word] = await output(bind(shared, { Propagation: word }), PEERS);
  }
  expect(seen).toEqual({
    private: "-",
    rprivate: "-",
    slave: "master",
    rslave: "master",
    shared: "shared",
    rshared: "shared",
  });
  expect(await output({ Binds: [`${shared}:/m:ro,rslave`] }, PEERS)).toBe("master");
  expect(await startFailure(bind(plain, { Propagation: "rshared" }))).toBe(
    `500 path ${plain} is mounted on ${plain} but it is not a shared mount`,
  );
  expect(await startFailure(bind(plain, { Propagation: "slave" }))).toBe(
    `500 path ${plain} is mounted on ${plain} but it is not a shared or slave mount`,
  );
  expect(await refusal(bind(plain, { Propagation: "sideways" }))).toBe(
    '400 invalid mount config for type "bind": invalid propagation mode: sideways',
  );
});

test("a bind takes what is mounted below its source along, and read-only reaches it, as far as it is told", async () => {
  const tree = join(host, "tree");
  mkdirSync(tree);
  await onHost(
    `mount -t tmpfs t ${tree}; mkdir ${tree}/below; mount -t tmpfs t ${tree}/below; touch ${tree}/below/file`,
  );
  const look = "ls /m/below; touch /m/x 2>/dev/null && echo top; touch /m/below/x 2>/dev/null && echo below; true";
  const readOnly = { ReadOnly: true };
  expect(await output(bind(tree), `${look}; rm -f /m/x /m/below/x`)).toBe("file\ntop\nbelow");
  expect(await output(bind(tree, { NonRecursive: true }), `${look}; rm -f /m/x /m/below/x`)).toBe("top\nbelow");
  expect(await output(bind(tree, {}, readOnly), look)).toBe("file");
  expect(await output(bind(tree, { ReadOnlyForceRecursive: true }, readOnly), look)).toBe("file");
  const top = `${look}; rm -f /m/below/x`;
  expect(await output(bind(tree, { ReadOnlyNonRecursive: true }, readOnly), top)).toBe("file\nbelow");
  expect(await output(bind(tree, {}, readOnly), top, "1.43")).toBe("file\nbelow");
  expect(await output({ Binds: [`${tree}:/m:ro`] }, look)).toBe("file");
  expect(await refusal(bind(tree, { ReadOnlyForceRecursive: true }))).toBe(
    "400 mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive",
  );
});

test("a bind's source that is missing is made, or refused by what is wrong with it", async () => {
  const made = join(host, "made/by/create"),
    file = join(host, "file"),
    loop = join(host, "loop");
  writeFileSync(file, "host file\n");
  symlinkSync("loop", loop);
  expect(await output(bind(made, { CreateMountpoint: true }), "ls -ld /m | cut -c1-10")).toBe("drwxr-xr-x");
  expect(statSync(made)).toMatchObject({ uid: 0, gid: 0 });
  const at = 'invalid mount config for type "bind": ';
  expect(await refusal(bind(`${host}/none`))).toBe(`400 ${at}bind source path does not exist: ${host}/none`);
  expect(await refusal(bind(`${file}/x`))).toBe(`400 ${at}stat ${file}/x: not a directory`);
  expect(await refusal(bind(loop))).toBe(`400 ${at}stat ${loop}: too many levels of symbolic links`);
  expect(await refusal(bind("relative"))).toBe(`400 ${at}invalid mount path: 'relative' mount path must be absolute`);
  // Over a file, at a place that is missing, and through a link of the image.
  const script = "cat /etc/group /new/deep/file; ln -s /etc /link";
  const targets = ["/etc/group", "/new/deep/file"].map((target) => `${file}:${target}`);
  expect(await output({ Binds: targets }, script)).toBe("host file\nhost file");
});

test("the modes of -v: each kind once, and what means nothing here is taken", async () => {
  const source = join(host, "modes");
  mkdirSync(source);
  for (const mode of ["rw", "ro", "z", "Z", "cached", "consistent", "delegated", "ro,z,delegated,rprivate"]) {
    const wanted = mode.startsWith("ro") ? "ro" : "rw";
    const got = await output(
      { Binds: [`${source}:/m:${mode}`] },
      "grep ' /m ' /proc/mounts | cut -d' ' -f4 | cut -c1-2",
    );
    expect({ mode, got }).toEqual({ mode, got: wanted });
  }
  for (const mode of ["ro,rw", "z,Z", "cached,delegated", "private,slave", "up"]) {
    expect(await refusal({ Binds: [`${source}:/m:${mode}`] })).toBe(`400 invalid mode: ${mode}`);
  }
  expect(await refusal({ Binds: [`${source}:/m:nocopy`] })).toContain("field VolumeOptions must not be specified");
  expect(await refusal({ Binds: ["vol:/m:rslave"] })).toContain("field BindOptions must not be specified");
});

test("mounts lie above those of their parents, and one place takes one mount", async () => {
  const outer = join(host, "outer"),
    inner = join(host, "inner");
  for (const path of [outer, inner]) mkdirSync(path);
  writeFileSync(join(inner, "deep"), "");
  // A link in the image leads where it leads inside: never out.
  const binds = [`${inner}:/a/b/c`, `${outer}:/a`];
  const tmpfs = { "/a/b": "size=1m" };
  expect(await output({ Binds: binds, Tmpfs: tmpfs }, "ls /a/b/c; grep -c ' /a' /proc/mounts")).toBe("deep\n3");
  const twice = { Type: "bind", Source: inner, Target: "/a/./b/../" };
  expect(await refusal({ Binds: [`${outer}:/a`], Mounts: [twice] })).toBe("400 Duplicate mount point: /a");
  expect(await refusal({ Mounts: [{ Type: "tmpfs", Target: "/t" }], Tmpfs: { "/t": "" } })).toBe(
    "400 Duplicate mount point: /t",
  );
  for (const type of ["cluster", "npipe", "other"]) {
    expect(await refusal({ Mounts: [{ Type: type, Source: "x", Target: "/m" }] })).toBe(
      `400 invalid mount config for type "${type}": mount type unknown`,
    );
  }
});

test("a volume: labels, driver, copy-up or none, and read-only", async () => {
  const volume = (options: object, more: object = {}) => ({
    Mounts: [{ Type: "volume", Source: "options", Target: "/www", VolumeOptions: options, ...more }],
  });
  const DriverConfig = { Name: "local", Options: {} };
  expect(await output(volume({ NoCopy: true, Labels: { tier: "one" }, DriverConfig }), "ls /www | wc -l")).toBe("0");
  expect(await berth.dockerOK("volume", "inspect", "options", "--format", "{{.Driver}} {{.Labels.tier}}")).toBe(
    "local one",
  );
  expect(await output(volume({}), "cat /www/index.html")).toBe("served by busybox");
  expect(await output(volume({}, { ReadOnly: true }), "touch /www/x 2>&1; true")).toContain("Read-only file system");
  expect(await refusal(volume({ DriverConfig: { Name: "none" } }))).toContain("volume name must be unique");
  await berth.dockerOK("volume", "rm", "options");
});

test("a part of a volume: a directory or a file of it, never what lies outside", async () => {
  const part = (Subpath: string, more: object = {}) => ({
    Mounts: [{ Type: "volume", Source: "parts", Target: "/m", VolumeOptions: { Subpath }, ...more }],
  });
  await output({ Binds: ["parts:/v"] }, "mkdir -p /v/a/b && echo here > /v/a/b/file && ln -s b /v/a/inner");
  const data = await berth.dockerOK("volume", "inspect", "parts", "--format", "{{.Mountpoint}}");
  expect(await output(part("a/b"), "cat /m/file; echo more >> /m/file")).toBe("here");
  expect(readFileSync(join(data, "a/b/file"), "utf8")).toBe("here\nmore\n");
  expect(await output(part("a/inner/file"), "cat /m")).toBe("here\nmore");
  expect(await output(part("a", { ReadOnly: true }), "touch /m/x 2>&1; true")).toContain("Read-only file system");
  symlinkSync("../../../..", join(data, "up"));
  symlinkSync("/etc", join(data, "etc"));
  for (const way of ["up", "etc", "etc/passwd"]) {
    expect(await startFailure(part(way))).toBe(
      `500 path concatenation escapes the base directory, base: ${data}, subpath: ${way}`,
    );
  }
  expect(await startFailure(part("none"))).toBe(
    `500 cannot access path ${data}/none: lstat ${data}/none: no such file or directory`,
  );
  const at = 'invalid mount config for type "volume": ';
  expect(await refusal(part("../x"))).toBe(`400 ${at}subpath must be a relative path within the volume`);
  expect(await refusal({ Mounts: [{ Type: "volume", Target: "/m", VolumeOptions: { Subpath: "a" } }] })).toBe(
    `400 ${at}must not set Subpath when using anonymous volumes`,
  );
  // A stopped container's files, too.
  const { body } = await create(part("a/b"));
  await berth.dockerOK("cp", `${body.Id}:/m/file`, join(host, "copied"));
  expect(readFileSync(join(host, "copied"), "utf8")).toBe("here\nmore\n");
  await berth.dockerOK("rm", body.Id ?? "");
  await berth.dockerOK("volume", "rm", "parts");
});

test("a part of a volume that another container swaps for a link all the while leads nowhere else", async () => {
  const secret = join(host, "secret");
  mkdirSync(secret);
  writeFileSync(join(secret, "mark"), "outside\n");
  const swap = `mkdir -p /v/dir; touch /v/dir/mark; ln -s ${secret} /v/link; cd /v; while :; do mv dir swap; mv link dir; mv dir link; mv swap dir; done`;
  await berth.dockerOK("run", "-d", "--name", "swapper", "-v", "swapped:/v", "busybox", "sh", "-c", swap);
  const mount = { Type: "volume", Source: "swapped", Target: "/m", VolumeOptions: { Subpath: "dir" } };
  for (let round = 0; round < 12; round++) {
    const { body } = await create({ Mounts: [mount] }, "cat /m/mark");
    const { stdout } = await berth.docker(["start", "-a", body.Id ?? ""]);
    expect(stdout).toBe("");
    await berth.dockerOK("rm", "-f", body.Id ?? "");
  }
  await berth.dockerOK("rm", "-f", "swapper");
  await berth.dockerOK("volume", "rm", "swapped");
});

test("an image is mounted read-only, whole or in part, and is kept while it is", async () => {
  await berth.dockerOK("tag", "busybox", "mounted:1");
  const image = (options: object = {}, more: object = {}) => ({
    Mounts: [{ Type: "image", Source: "mounted:1", Target: "/image", ImageOptions: options, ...more }],
  });
  expect(await output(image(), "cat /image/www/index.html; touch /image/x 2>&1; grep -c ' /image ' /proc/mounts")).toBe(
    "served by busybox\ntouch: /image/x: Read-only file system\n1",
  );
  expect(await output(image({ Subpath: "www" }), "cat /image/index.html; touch /image/x 2>&1; true")).toContain(
    "Read-only",
  );
  expect(await output(image({ Subpath: "www/index.html" }), "cat /image")).toBe("served by busybox");
  expect(await startFailure(image({ Subpath: "none" }))).toContain("no such file or directory");
  expect(await refusal({ Mounts: [{ Type: "image", Source: "none", Target: "/m" }] })).toBe(
    '400 invalid mount config for type "image": No such image: none:latest',
  );
  const { body } = await create(image());
  const mounts = await berth.dockerOK("inspect", body.Id ?? "", "--format", "{{json .Mounts}}");
  expect(JSON.parse(mounts)).toMatchObject([{ Type: "image", Destination: "/image", RW: false }]);
  await berth.dockerOK("cp", `${body.Id}:/image/www/index.html`, join(host, "page"));
  expect(readFileSync(join(host, "page"), "utf8")).toBe("served by busybox\n");
  await berth.dockerOK("rm", body.Id ?? "");
  await berth.dockerOK("rmi", "mounted:1");
});

test("an image that only a mount needs cannot be removed", async () => {
  // A second image: the same layer, by a configuration of its own.
  const archive = join(host, "second");
  mkdirSync(archive);
  await berth.dockerOK("save", "busybox", "-o", join(archive, "image.tar"));
  const script =
    `cd ${archive}; tar xf image.tar; old=$(sed 's/.*"Config":"\\([^"]*\\)".*/\\1/' manifest.json); ` +
    'sed "s/2023-11-14/2023-11-15/" $old > new.json; sed "s#$old#new.json#; s#busybox:latest#second:1#" -i manifest.json; ' +
    "rm -f image.tar index.json oci-layout; tar cf ../second.tar .";
  await onHost(script);
  await berth.dockerOK("load", "-i", join(host, "second.tar"));
  const { body } = await create({ Mounts: [{ Type: "image", Source: "second:1", Target: "/m" }] });
  expect((await berth.docker(["rmi", "second:1"])).stderr).toContain("is using its referenced image");
  await berth.dockerOK("rm", body.Id ?? "");
  await berth.dockerOK("rmi", "second:1");
});

test("tmpfs: size, mode and options, by --mount and by --tmpfs", async () => {
  const shown = "grep ' /t ' /proc/mounts | cut -d' ' -f4; stat -c %a /t";
  const mount = (TmpfsOptions: object, more: object = {}) => ({
    Mounts: [{ Type: "tmpfs", Target: "/t", TmpfsOptions, ...more }],
  });
  expect(await output(mount({ SizeBytes: 2 << 20, Mode: 0o750 }), shown)).toBe(
    "rw,nosuid,nodev,noexec,relatime,size=2048k,mode=750\n750",
  );
  expect(await output(mount({ Options: [["exec"]] }), shown)).toBe("rw,nosuid,nodev,relatime\n1777");
  expect(await output(mount({}, { ReadOnly: true }), shown)).toStartWith("ro,nosuid,nodev,noexec");
  expect(await refusal(mount({ Options: [["suid"]] }))).toBe(
    '400 invalid mount config for type "tmpfs": invalid option: suid',
  );
  const tmpfs = (options: string) => ({ Tmpfs: { "/t": options } });
  expect(await output(tmpfs("size=1m,mode=700,uid=7,gid=8,exec,nr_inodes=99"), `${shown}; stat -c %u:%g /t`)).toBe(
    "rw,nosuid,nodev,relatime,size=1024k,nr_inodes=99,mode=700,uid=7,gid=8\n700\n7:8",
  );
  expect(await refusal(tmpfs("loop"))).toBe('400 invalid tmpfs option ["loop"]');
  expect(await refusal({ Tmpfs: { t: "" } })).toContain("mount path must be absolute");
});

test("--volumes-from takes what another container has mounted, as far as it may be written", async () => {
  const shared = join(host, "from");
  mkdirSync(shared);
  chmodSync(shared, 0o777);
  await berth.dockerOK(
    "create",
    "--name",
    "donor",
    "-v",
    `${shared}:/bound`,
    "-v",
    "named:/named:ro",
    "-v",
    "/anon",
    "busybox",
  );
  const look = "for d in /bound /named /anon; do touch $d/x 2>/dev/null && echo $d; done; true";
  expect(await output({ VolumesFrom: ["donor"] }, look)).toBe("/bound\n/anon");
  expect(await output({ VolumesFrom: ["donor:ro"] }, look)).toBe("");
  expect(await refusal({ VolumesFrom: ["nobody"] })).toBe("400 No such container: nobody");
  expect(await refusal({ VolumesFrom: ["donor:rslave"] })).toBe("400 invalid mode: rslave");
  expect(await refusal({ VolumesFrom: [""] })).toBe("400 volumes-from specification cannot be an empty string");
  await berth.dockerOK("rm", "-v", "donor");
  await berth.dockerOK("volume", "rm", "named");
});
