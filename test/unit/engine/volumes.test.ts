// The volume service on rows in memory and real directories.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { StoredVolume, VolumeStore } from "../../../src/db/volumes.ts";
import { parseFilters } from "../../../src/engine/filters.ts";
import { ANONYMOUS_LABEL, createVolumes, type VolumesDeps } from "../../../src/engine/volumes.ts";
import { createLog } from "../../../src/log.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "berth-volumes-"));
  for (const name of ["volumes", "trash"]) mkdirSync(join(base, name));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

interface World extends VolumesDeps {
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
  return {
    stored,
    users,
    seen,
    logged,
    rows,
    root: join(base, "volumes"),
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
    discard: (path) => rename(path, join(base, "trash", `${basename(path)}-${count++}`)),
  };
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
  ])("refuses the options %j", async (options, message) => {
    const deps = world();
    const volumes = await createVolumes(deps);
    await expect(volumes.create(request("data", { options: options as Record<string, string> }))).rejects.toThrow(
      message,
    );
    expect(deps.stored.size).toBe(0);
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
