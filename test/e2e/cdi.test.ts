// Devices of the Container Device Interface, with specifications of the test's own, seen from inside: everything that a
// specification can bring, both formats, changes while the daemon runs, and graphics cards by --gpus.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
let low = "";
let high = "";
beforeAll(async () => {
  const args: string[] = [];
  berth = await TestDaemon.start({ args });
  // The directories lie in the daemon's own, which is known once it is there.
  [low, high] = [join(berth.directory, "cdi-low"), join(berth.directory, "cdi-high")];
  for (const directory of [low, high]) mkdirSync(directory);
  await berth.stop();
  args.push("--cdi-spec-dir", low, "--cdi-spec-dir", high);
  await berth.boot();
  await loadBusybox(berth);
  execFileSync("mknod", [join(berth.directory, "null-like"), "c", "1", "3"]);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const vendor = (devices: object[], containerEdits: object = {}): object => ({
  cdiVersion: "0.8.0",
  kind: "vendor.com/device",
  containerEdits,
  devices,
});
const write = (path: string, spec: object): void => writeFileSync(path, JSON.stringify(spec));
const inside = (flags: string[], script: string): Promise<string> =>
  berth.dockerOK("run", "--rm", "--network", "none", ...flags, "busybox", "sh", "-c", script);

describe("a device", () => {
  test("brings its nodes, mounts, variables and groups, and those of its specification once", async () => {
    writeFileSync(join(berth.directory, "library"), "of the vendor\n");
    write(
      join(low, "vendor.json"),
      vendor(
        [
          {
            name: "a",
            containerEdits: {
              env: ["WHICH=a"],
              deviceNodes: [
                {
                  path: "/dev/mine/a",
                  hostPath: join(berth.directory, "null-like"),
                  permissions: "rw",
                  uid: 7,
                  gid: 8,
                },
              ],
              additionalGids: [0, 4242],
            },
          },
          {
            name: "b",
            containerEdits: {
              env: ["WHICH=b"],
              deviceNodes: [{ path: "/dev/mine/b", type: "c", major: 1, minor: 11, fileMode: 0o600, permissions: "w" }],
            },
          },
          {
            name: "unusable",
            containerEdits: {
              deviceNodes: [{ path: "/dev/kmsg2", type: "c", major: 1, minor: 11, permissions: "none" }],
            },
          },
        ],
        {
          env: ["FROM=vendor"],
          mounts: [
            {
              hostPath: join(berth.directory, "library"),
              containerPath: "/usr/lib/vendor",
              options: ["ro", "nosuid", "bind"],
            },
          ],
        },
      ),
    );
    const look =
      "stat -c '%t:%T %u:%g' /dev/mine/a; echo $WHICH $FROM; cat /usr/lib/vendor; id -G; touch /usr/lib/vendor 2>&1";
    expect(await inside(["--device", "vendor.com/device=a"], `${look} || true`)).toMatch(
      /^1:3 7:8\na vendor\nof the vendor\n0 .*4242\ntouch: .*Read-only file system$/,
    );
    const kmsg =
      "(: >>/dev/mine/b) && echo write; (: </dev/mine/b) 2>/dev/null || echo no read; stat -c %a /dev/mine/b";
    expect(await inside(["--device", "vendor.com/device=b", "-e", "WHICH=mine"], `${kmsg}; echo $WHICH`)).toBe(
      "write\nno read\n600\nb",
    );
    const both = ["--device", "vendor.com/device=a", "--device", "vendor.com/device=b"];
    expect(await inside(both, "ls /dev/mine; mount | grep -c /usr/lib/vendor")).toBe("a\nb\n1");
    expect(
      await inside(["--device", "vendor.com/device=unusable"], "(: >>/dev/kmsg2) 2>/dev/null || echo refused"),
    ).toBe("refused");
  });

  test("may stand in YAML, appear and change while the daemon runs, and is found in a later directory first", async () => {
    const yaml = (value: string): string =>
      `cdiVersion: "0.5.0"\nkind: other.org/thing\ndevices:\n- name: x\n  containerEdits:\n    env:\n    - VALUE=${value}\n`;
    const ask = (): Promise<string> => inside(["--device", "other.org/thing=x"], "echo $VALUE");
    writeFileSync(join(low, "other.yaml"), yaml("one"));
    expect(await ask()).toBe("one");
    writeFileSync(join(low, "other.yaml"), yaml("second"));
    expect(await ask()).toBe("second");
    writeFileSync(join(high, "other.yaml"), yaml("higher"));
    expect(await ask()).toBe("higher");
    rmSync(join(high, "other.yaml"));
    rmSync(join(low, "other.yaml"));
  });

  test("that is not there, stands twice, or needs what berth has not, is refused in Docker's words", async () => {
    const fails = async (device: string): Promise<string> =>
      (await berth.docker(["run", "--rm", "--device", device, "busybox", "true"])).stderr;
    const failure = "CDI device injection failed: ";
    expect(await fails("vendor.com/device=nope")).toContain(
      `${failure}unresolvable CDI devices vendor.com/device=nope`,
    );
    const one = { name: "one", containerEdits: { env: ["A=b"] } };
    const twice = { cdiVersion: "0.6.0", kind: "twice.com/thing", devices: [one] };
    write(join(low, "twice-1.json"), twice);
    write(join(low, "twice-2.json"), twice);
    expect(await fails("twice.com/thing=one")).toContain(`${failure}unresolvable CDI devices twice.com/thing=one`);
    write(join(low, "broken.json"), { cdiVersion: "9.0.0", kind: "broken.com/thing", devices: [one] });
    const warnings = await berth.dockerOK("info", "--format", "{{json .Warnings}}");
    expect(warnings).toContain(`conflicting device \\"twice.com/thing=one\\"`);
    expect(warnings).toContain("broken.json: failed to load CDI Spec");
    for (const name of ["twice-1", "twice-2", "broken"]) rmSync(join(low, `${name}.json`));
    write(join(low, "rdt.json"), {
      cdiVersion: "0.7.0",
      kind: "rdt.com/thing",
      devices: [{ name: "one", containerEdits: { intelRdt: { closID: "a" } } }],
    });
    expect(await fails("rdt.com/thing=one")).toContain(`${failure}intelRdt is not supported`);
    rmSync(join(low, "rdt.json"));
    const missing = { deviceNodes: [{ path: "/dev/gone" }] };
    write(join(low, "gone.json"), {
      cdiVersion: "0.5.0",
      kind: "gone.com/thing",
      devices: [{ name: "one", containerEdits: missing }],
    });
    expect(await fails("gone.com/thing=one")).toContain('failed to stat CDI host device "/dev/gone"');
    rmSync(join(low, "gone.json"));
    const counted = {
      Image: "busybox",
      HostConfig: { DeviceRequests: [{ Driver: "cdi", Count: 1, DeviceIDs: ["vendor.com/device=a"] }] },
    };
    const { Id } = (await (await berth.request("POST", "/containers/create", { body: counted })).json()) as {
      Id: string;
    };
    const started = await berth.request("POST", `/containers/${Id}/start`);
    expect([started.status, await started.json()]).toEqual([
      400,
      { message: "unexpected count in CDI device request" },
    ]);
    await berth.dockerOK("rm", Id);
  });

  test("is told by docker info", async () => {
    expect(JSON.parse(await berth.dockerOK("info", "--format", "{{json .CDISpecDirs}}"))).toEqual([low, high]);
    const info = (await (await berth.request("GET", "/v1.50/info")).json()) as { DiscoveredDevices: unknown };
    expect(info.DiscoveredDevices).toEqual(
      ["a", "b", "unusable"].map((name) => ({ Source: "cdi", ID: `vendor.com/device=${name}` })),
    );
  });
});

describe("hooks", () => {
  const script = (name: string, text: string): string => {
    const path = join(berth.directory, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return path;
  };
  const withHooks = (hooks: object[]): void =>
    write(join(low, "hooked.json"), {
      cdiVersion: "0.7.0",
      kind: "hooked.com/thing",
      devices: [{ name: "one", containerEdits: { hooks } }],
    });
  const ask = ["--device", "hooked.com/thing=one", "--hostname", "hooked"];

  test("run in their namespaces with the state on stdin, before the command and after its start", async () => {
    const [told, netns] = [join(berth.directory, "told"), join(berth.directory, "netns")];
    // The container's tree lies at the root path of the bundle's configuration, mounts and all, and is written through.
    const inContainer =
      'state=$(cat); bundle=$(echo "$state" | sed \'s/.*"bundle":"\\([^"]*\\)".*/\\1/\'); ' +
      'root=$(sed \'s/.*"root":{"path":"\\([^"]*\\)".*/\\1/\' "$bundle/config.json"); ' +
      'echo "$0 $1 $WORD $(hostname)" >"$root/from-hook"; ls "$root/proc/1" >/dev/null && echo mounted >>"$root/from-hook"';
    withHooks([
      {
        hookName: "createContainer",
        path: script("in-container", inContainer),
        args: ["ignored", "argument"],
        env: ["WORD=word", "PATH=/usr/bin:/bin"],
      },
      {
        hookName: "createRuntime",
        path: script("in-runtime", `cat >${told}; hostname >${netns}`),
        env: ["PATH=/usr/bin:/bin"],
      },
      { hookName: "poststart", path: script("after", `cat >${told}-after`), env: ["PATH=/usr/bin:/bin"] },
    ]);
    const said = await inside(ask, "cat /from-hook");
    expect(said).toBe(`${join(berth.directory, "in-container")} argument word hooked\nmounted`);
    const host = execFileSync("hostname", { encoding: "utf8" });
    expect(readFileSync(netns, "utf8")).toBe(host);
    const state = JSON.parse(readFileSync(told, "utf8")) as Record<string, unknown>;
    expect(state).toMatchObject({ ociVersion: "1.2.0", status: "creating", pid: expect.any(Number) });
    expect(JSON.parse(readFileSync(`${told}-after`, "utf8"))).toMatchObject({ id: state["id"], status: "running" });
  });

  test("that fail, do not end, or are not there fail the start and leave nothing", async () => {
    const fails = async (hook: object): Promise<string> => {
      withHooks([{ env: ["PATH=/usr/bin:/bin"], ...hook }]);
      return (await berth.docker(["run", "--rm", "--network", "none", ...ask, "busybox", "true"])).stderr;
    };
    expect(await fails({ hookName: "createRuntime", path: script("broken", "echo no card >&2; exit 3") })).toContain(
      "error running createRuntime hook #0: exit status 3, output: no card",
    );
    expect(
      await fails({ hookName: "createContainer", path: script("slow", "sleep 1234567 & sleep 1234567"), timeout: 1 }),
    ).toContain("error running createContainer hook #0: it has not ended after 1 s");
    expect(await fails({ hookName: "prestart", path: "/nonexistent/hook" })).toContain(
      "error running prestart hook #0: exec /nonexistent/hook: ENOENT",
    );
    expect(await fails({ hookName: "startContainer", path: "/bin/true" })).toContain(
      "CDI device injection failed: startContainer hooks are not supported",
    );
    expect((await berth.inside(["sh", "-c", "ps -ef | grep -c '[s]leep 1234567'"])).stdout).toBe("0\n");
    rmSync(join(low, "hooked.json"));
    await until("nothing is left", async () => (await berth.leftovers()).length === 0);
  });
});

test("--gpus is resolved through the specification of the cards, and refused without one", async () => {
  const gpus = async (value: string): Promise<string> => {
    const ran = await berth.docker([
      "run",
      "--rm",
      "--network",
      "none",
      "--gpus",
      value,
      "busybox",
      "sh",
      "-c",
      "echo $CARD",
    ]);
    return ran.code === 0 ? ran.stdout.trim() : ran.stderr;
  };
  expect(await gpus("all")).toContain('could not select device driver "" with capabilities: [[gpu]]');
  const card = (name: string): object => ({ name, containerEdits: { env: [`CARD=${name}`] } });
  const names = ["all", "0", "1", "GPU-5d1f"];
  write(join(low, "nvidia.json"), { cdiVersion: "0.5.0", kind: "nvidia.com/gpu", devices: names.map(card) });
  expect(await gpus("all")).toBe("all");
  expect(await gpus("2")).toBe("1");
  expect(await gpus("device=GPU-5d1f")).toBe("GPU-5d1f");
  expect(await gpus('"device=0","capabilities=compute,utility"')).toBe("0");
  expect(await gpus("3")).toContain("CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=2");
  expect(await gpus("all,capabilities=tpu")).toContain('could not select device driver ""');
  rmSync(join(low, "nvidia.json"));
});
