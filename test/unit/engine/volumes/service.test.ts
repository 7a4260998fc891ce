// The volume service on rows in memory and real directories.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { StoredVolume, VolumeStore } from "../../../../src/db/volumes.ts";
import { parseFilters } from "../../../../src/engine/filters.ts";
import { ANONYMOUS_LABEL, createVolumes, type VolumesDeps } from "../../../../src/engine/volumes/service.ts";
import { createLocalDriver } from "../../../../src/engine/volumes/local.ts";
import { notFound } from "../../../../src/errors.ts";
import { type HostMount, SyscallError } from "../../../../runtime/mod.ts";
import { createLog } from "../../../../src/log.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "berth-volumes-"));
  for (const name of ["volumes", "trash"]) mkdirSync(join(base, name));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

interface World extends VolumesDeps {
  /** What the local driver has mounted, by target. */
  mounted: Map<string, HostMount>;
  discard: (path: string) => Promise<void>;
  stored: Map<string, StoredVolume>;
  users: Map<string, string[]>;
  seen: string[];
  logged: string[];
}

/** Rows in memory; directories for real. */
function world(stored = new Map<string, StoredVolume>(), damaged: string[] = []): World {
  const users = new Map<string, string[]>();
  const seen: string[] = [];
  const logged: string[] = [];
  let count = 0;
  const rows: VolumeStore = {
    all: async () => ({ volumes: [...stored.values()], damaged }),
    insert: async (volume) => void stored.set(volume.name, volume),
    remove: async (name) => void stored.delete(name),
  };
  const mounted = new Map<string, HostMount>();
  const root = join(base, "volumes");
  const made: World = {
    stored,
    users,
    seen,
    logged,
    mounted,
    rows,
    root,
    discard: (path) => rename(path, join(base, "trash", `${basename(path)}-${count++}`)),
    local: createLocalDriver({
      root,
      discard: (path) => made.discard(path),
      quotas: null,
      mount: (request) => void mounted.set(request.target, request),
      unmount: (target) => void mounted.delete(target),
      mountsBelow: (directory) => [...mounted.keys()].filter((target) => target.startsWith(`${directory}/`)),
      resolveHost: async (name) => {
        if (name === "files.example") return "192.0.2.7";
        throw new Error("ENOTFOUND");
      },
    }),
    plugins: { find: async (name) => Promise.reject(notFound(`plugin "${name}" not found`)), all: async () => [] },
    events: {
      publish: (type, action, id, attributes) =>
        void seen.push(`${type} ${action} ${id} ${JSON.stringify(attributes)}`),
    },
    log: createLog(
      (line) => void logged.push(line),
      () => "debug",
      () => new Date(0),
    ),
    now: () => new Date("2024-01-02T03:04:05.678Z"),
    newID: () => (++count).toString(16).padStart(64, "a"),
    usersOf: (volume) => users.get(volume) ?? [],
  };
  return made;
}

const request = (
  name: string,
  more: { driver?: string; options?: Record<string, string>; labels?: Record<string, string> } = {},
) => ({
  Name: name,
  Driver: more.driver ?? "",
  DriverOpts: more.options ?? {},
  Labels: more.labels ?? {},
});
const none = parseFilters(undefined, []);
const filters = (value: object) => parseFilters(JSON.stringify(value), Object.keys(value));

describe("create()", () => {
  test("makes a directory, a row and an event", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    expect(await volumes.create(request("data", { labels: { a: "b" } }))).toEqual({
      name: "data",
      driver: "local",
      scope: "local",
      createdAt: "2024-01-02T03:04:05Z",
      labels: { a: "b" },
      options: {},
      isAnonymous: false,
      mountpoint: join(deps.root, "data", "_data"),
    });
    expect(existsSync(join(deps.root, "data", "_data"))).toBe(true);
    expect([...deps.stored.keys()]).toEqual(["data"]);
    expect(deps.seen).toEqual(['volume create data {"driver":"local"}']);
  });

  test("answers an existing volume with its stored labels", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await volumes.create(request("data", { labels: { a: "b" } }));
    expect((await volumes.create(request("data", { driver: "local", labels: { c: "d" } }))).labels).toEqual({ a: "b" });
    expect(deps.seen.length).toBe(1);
    await expect(volumes.create(request("data", { driver: "other" }))).rejects.toThrow("volume name must be unique");
  });

  test("two at once make one", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    const [a, b] = await Promise.all([volumes.create(request("data")), volumes.create(request("data"))]);
    expect(a).toEqual(b);
    expect(deps.seen.length).toBe(1);
  });

  test("without a name makes an anonymous one", async () => {
    const volumes = await createVolumes(world());
    const volume = await volumes.create(request(""));
    expect(volume.name).toMatch(/^[0-9a-f]{64}$/);
    expect(volume.labels).toEqual({ [ANONYMOUS_LABEL]: "" });
    expect(volume.isAnonymous).toBe(true);
  });

  test.each([
    ["x", "create x: volume name is too short, names should be at least two alphanumeric characters"],
    [
      "a/b",
      'create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ' +
        "If you intended to pass a host directory, use absolute path",
    ],
    ["..", 'create ..: ".." includes invalid characters'],
    ["-ab", "includes invalid characters"],
    ["ab\n", "includes invalid characters"],
    ["a".repeat(256), "volume name is too long"],
  ])("refuses the name %j", async (name, message) => {
    const volumes = await createVolumes(world());
    await expect(volumes.create(request(name))).rejects.toThrow(message);
  });

  test.each([
    [{ color: "red" }, 'invalid option: "color"'],
    [{ toString: "x" }, 'invalid option: "toString"'],
    [{ type: "nfs" }, 'missing required option: "device"'],
    [{ device: "/x" }, 'missing required option: "type"'],
    [{ size: "1g" }, "quota size requested but no quota support"],
    [{ size: "x" }, "invalid size: 'x'"],
    [{ size: "-1" }, "invalid size: '-1'"],
    [{ size: "" }, "invalid size: ''"],
  ])("refuses the options %j", async (options, message) => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await expect(volumes.create(request("data", { options: options as Record<string, string> }))).rejects.toThrow(
      message,
    );
    expect(deps.stored.size).toBe(0);
  });

  test("limits a volume with a size before anybody writes there, and lets go of the limit with it", async () => {
    const deps = world();
    const volumes = await createVolumes({
      ...deps,
      local: createLocalDriver({
        ...deps,
        quotas: {
          limit: (directories, bytes) => void deps.seen.push(`limit ${directories.join(" ")} ${bytes}`),
          release: (directory) => void deps.seen.push(`release ${directory}`),
        },
        mount: () => {},
        unmount: () => {},
        mountsBelow: () => [],
        resolveHost: async () => "",
      }),
    });
    const device = { size: "1m", type: "tmpfs", device: "tmpfs" };
    await expect(volumes.create(request("data", { options: device }))).rejects.toThrow("size is for a volume on");
    await volumes.create(request("data", { options: { size: "1m" } }));
    await volumes.remove("data", false);
    const data = join(deps.root, "data", "_data");
    expect(deps.seen.filter((line) => !line.startsWith("volume"))).toEqual([
      `limit ${data} ${1 << 20}`,
      `release ${data}`,
    ]);
  });

  test("records options that are right", async () => {
    const volumes = await createVolumes(world());
    const options = { type: "tmpfs", device: "tmpfs", o: "size=10m" };
    expect((await volumes.create(request("data", { options }))).options).toEqual(options);
  });

  test("an unknown driver is not found", async () => {
    const volumes = await createVolumes(world());
    await expect(volumes.create(request("data", { driver: "nfsx" }))).rejects.toThrow(
      'error looking up volume plugin nfsx: plugin "nfsx" not found',
    );
  });

  test("a directory that cannot be made leaves no row", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    writeFileSync(join(deps.root, "data"), "in the way");
    await expect(volumes.create(request("data"))).rejects.toThrow("EEXIST");
    await volumes.create(request("data")).catch(() => undefined);
    expect(deps.stored.size).toBe(0);
    expect(() => volumes.get("data")).toThrow("get data: no such volume");
  });
});

describe("a volume with a file system of its own", () => {
  const tmpfs = { type: "tmpfs", device: "tmpfs", o: "size=10m,uid=1000" };

  test("is mounted for its first user and unmounted after its last", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    const { mountpoint } = await volumes.create(request("cache", { options: tmpfs }));
    expect(volumes.needsMount("cache")).toBe(true);
    expect(deps.mounted.size).toBe(0);
    expect(await volumes.mount("cache", "one")).toBe(mountpoint);
    expect(await volumes.mount("cache", "two")).toBe(mountpoint);
    expect([...deps.mounted.values()]).toEqual([
      { type: "tmpfs", device: "tmpfs", target: mountpoint, options: ["size=10m", "uid=1000"] },
    ]);
    await volumes.unmount("cache", "one");
    await volumes.unmount("cache", "one");
    expect(deps.mounted.size).toBe(1);
    await volumes.unmount("cache", "two");
    expect(deps.mounted.size).toBe(0);
  });

  test("that a killed daemon has left mounted is kept for those who run, and taken down for nobody", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    for (const name of ["used", "left"]) {
      const { mountpoint } = await volumes.create(request(name, { options: tmpfs }));
      deps.mounted.set(mountpoint, { type: "tmpfs", device: "tmpfs", target: mountpoint, options: [] });
    }
    volumes.regain("used", "one");
    volumes.settle();
    expect([...deps.mounted.keys()]).toEqual([join(deps.root, "used", "_data")]);
    await volumes.unmount("used", "one");
    expect(deps.mounted.size).toBe(0);
  });

  test.each([
    ["nfs", ":/export", "addr=files.example,rw", ["rw", "addr=192.0.2.7"]],
    ["nfs", ":/export", "addr=192.0.2.9,rw", ["addr=192.0.2.9", "rw"]],
    ["cifs", "//files.example/share", "username=u,password=p", ["username=u", "password=p", "ip=192.0.2.7"]],
  ])("%s of a server by its name gets its address", async (type, device, o, words) => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await volumes.create(request("data", { options: { type, device, o } }));
    await volumes.mount("data", "one");
    expect([...deps.mounted.values()].map(({ options }) => options)).toEqual([words]);
  });

  test("that cannot be mounted says why, without its password, and is used by nobody", async () => {
    const deps = world();
    const volumes = await createVolumes({
      ...deps,
      local: createLocalDriver({
        root: deps.root,
        discard: deps.discard,
        quotas: null,
        mount: () => {
          throw new SyscallError("mount", 19);
        },
        unmount: (target) =>
          void deps.mounted.set(`unmounted ${target}`, { type: "", device: "", target, options: [] }),
        mountsBelow: () => [],
        resolveHost: async () => "192.0.2.7",
      }),
    });
    const options = { type: "cifs", device: "//192.0.2.7/share", o: "username=u,password=secret" };
    await volumes.create(request("data", { options }));
    const target = join(deps.root, "data", "_data");
    await expect(volumes.mount("data", "one")).rejects.toThrow(
      `error while mounting volume '${target}': failed to mount local volume: mount //192.0.2.7/share:${target}, ` +
        "data: username=u,password=********,ip=192.0.2.7: no such device",
    );
    await volumes.unmount("data", "one");
    expect(deps.mounted.size).toBe(0);
  });
});

describe("remove()", () => {
  test("takes directory and row away and tells", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await volumes.create(request("data"));
    await volumes.remove("data", false);
    expect(readdirSync(deps.root)).toEqual([]);
    expect(deps.stored.size).toBe(0);
    expect(deps.seen.at(-1)).toBe('volume destroy data {"driver":"local"}');
    await expect(volumes.remove("data", false)).rejects.toThrow("get data: no such volume");
    await volumes.remove("data", true);
  });

  test("is refused while a container uses it, by force too", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await volumes.create(request("data"));
    deps.users.set("data", ["c0ffee"]);
    for (const force of [false, true]) {
      await expect(volumes.remove("data", force)).rejects.toThrow("remove data: volume is in use - [c0ffee]");
    }
  });

  test("is refused while a container that uses it is being created", async () => {
    const volumes = await createVolumes(world());
    await volumes.create(request("data"));
    const release = volumes.claim("data");
    const other = volumes.claim("data");
    release();
    release();
    await expect(volumes.remove("data", false)).rejects.toThrow("volume is in use");
    expect((await volumes.prune(filters({ all: ["true"] }))).deleted).toEqual([]);
    other();
    await volumes.remove("data", false);
    expect(() => volumes.claim("data")).toThrow("no such volume");
  });

  test("that fails keeps the volume", async () => {
    const deps = world();
    deps.discard = () => Promise.reject(new Error("trash is full"));
    const volumes = await createVolumes(deps);
    await volumes.create(request("data"));
    await expect(volumes.remove("data", false)).rejects.toThrow("trash is full");
    await volumes.remove("data", false).catch(() => undefined);
    expect(volumes.get("data").name).toBe("data");
  });

  test("for a container that goes, only when nobody else uses it", async () => {
    const deps = world();
    const volumes = await createVolumes(deps);
    const { name } = await volumes.create(request(""));
    deps.users.set(name, ["one", "two"]);
    expect(await volumes.removeUnused(name, "one")).toBe(false);
    deps.users.set(name, ["one"]);
    expect(await volumes.removeUnused(name, "one")).toBe(true);
    expect(await volumes.removeUnused(name, "one")).toBe(false);
  });
});

describe("list() and prune()", () => {
  async function three() {
    const deps = world();
    const volumes = await createVolumes(deps);
    await volumes.create(request("used", { labels: { stage: "test" } }));
    await volumes.create(request("free", { labels: { stage: "test", keep: "" } }));
    const anonymous = (await volumes.create(request(""))).name;
    deps.users.set("used", ["c1"]);
    return { deps, volumes, anonymous };
  }

  test("list filters by dangling, label, name and driver", async () => {
    const { volumes, anonymous } = await three();
    const names = async (value: object) => (await volumes.list(filters(value))).volumes.map((volume) => volume.name);
    expect(await names({})).toEqual([anonymous, "free", "used"]);
    expect(await names({ dangling: ["true"] })).toEqual([anonymous, "free"]);
    expect(await names({ dangling: ["0"] })).toEqual(["used"]);
    expect(await names({ label: ["stage=test", "keep"] })).toEqual(["free"]);
    expect(await names({ name: ["^us"] })).toEqual(["used"]);
    expect(await names({ driver: ["nfs"] })).toEqual([]);
    await expect(names({ dangling: ["maybe"] })).rejects.toThrow("invalid filter 'dangling=[maybe]'");
  });

  test("prune takes the anonymous ones, or all that are unused", async () => {
    const { deps, volumes, anonymous } = await three();
    writeFileSync(join(volumes.get(anonymous).mountpoint, "file"), "12345");
    expect(await volumes.prune(none)).toEqual({ deleted: [anonymous], spaceReclaimed: 5 });
    expect(deps.seen.at(-1)).toBe('volume prune  {"reclaimed":"5"}');
    expect((await volumes.prune(filters({ all: ["true"], "label!": ["keep"] }))).deleted).toEqual([]);
    expect((await volumes.prune(filters({ all: ["true"] }))).deleted).toEqual(["free"]);
  });

  test("one prune at a time", async () => {
    const { volumes } = await three();
    const first = volumes.prune(none);
    await expect(volumes.prune(none)).rejects.toThrow("a prune operation is already running");
    await first;
    await volumes.prune(none);
  });

  test("usage sums what is stored and counts containers", async () => {
    const { volumes } = await three();
    const { mountpoint } = volumes.get("used");
    mkdirSync(join(mountpoint, "sub"));
    writeFileSync(join(mountpoint, "sub", "a"), "x".repeat(1000));
    expect(await volumes.usage("used")).toEqual({ sizeBytes: 1000, refCount: 1 });
    await expect(volumes.usage("nope")).rejects.toThrow("get nope: no such volume");
  });
});

describe("after a restart", () => {
  test("volumes are as they were", async () => {
    const deps = world();
    const before = await (await createVolumes(deps)).create(request("data", { labels: { a: "b" } }));
    expect((await createVolumes(world(deps.stored))).get("data")).toEqual(before);
  });

  test("a row without a directory is dropped, a directory without a row is taken in", async () => {
    const deps = world();
    const first = await createVolumes(deps);
    await first.create(request("gone"));
    rmSync(join(deps.root, "gone"), { recursive: true });
    const anonymous = "f".repeat(64);
    for (const name of ["found", anonymous]) mkdirSync(join(deps.root, name, "_data"), { recursive: true });
    mkdirSync(join(deps.root, "no-data-inside"));
    writeFileSync(join(deps.root, "metadata.db"), "of another engine");
    const volumes = await createVolumes(deps);
    expect((await volumes.list(none)).volumes.map((volume) => volume.name)).toEqual([anonymous, "found"]);
    expect(volumes.get(anonymous).isAnonymous).toBe(true);
    expect([...deps.stored.keys()].sort()).toEqual([anonymous, "found"]);
    expect(deps.logged.length).toBe(3);
  });

  test("a row that cannot be read loses its labels, not its data", async () => {
    const deps = world(new Map(), ["broken"]);
    mkdirSync(join(deps.root, "broken", "_data"), { recursive: true });
    const volumes = await createVolumes(deps);
    expect(volumes.get("broken").labels).toEqual({});
    expect(deps.logged[0]).toContain("cannot be read");
  });
});
