// doctor's probes on the real kernel.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { examine, readHostFacts, writeHelloProgram } from "../../../runtime/doctor.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-doctor-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("examine() finds what the other tests here need, and leaves nothing behind", async () => {
  const openFiles = () => readdirSync("/proc/self/fd").length;
  const before = {
    mounts: readFileSync("/proc/self/mountinfo", "utf8"),
    netns: readlinkSync("/proc/thread-self/ns/net"),
  };
  const options = { facts: readHostFacts(), directory, cgroupParent: `/berth-test-${process.pid}` };
  const findings = await examine(options);
  const files = openFiles();
  expect(findings.filter(({ state }) => state === "missing")).toEqual([]);
  expect(findings.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["kernel", "pid namespace", "seccomp filter", "nf_tables with NAT"]),
  );
  await examine(options);
  expect(openFiles()).toBe(files);
  expect(readdirSync(directory)).toEqual([]);
  expect({
    mounts: readFileSync("/proc/self/mountinfo", "utf8"),
    netns: readlinkSync("/proc/thread-self/ns/net"),
  }).toEqual(before);
});

test("a cgroup that cannot be made is missing, and the other probes still run", async () => {
  const facts = {
    ...readHostFacts(),
    cgroupVersion: 1 as const,
    controllers: new Map([["pids", "/proc/no-such-mount"]]),
  };
  const findings = await examine({ facts, directory, cgroupParent: "/x" });
  const states = Object.fromEntries(findings.map(({ name, state }) => [name, state]));
  expect(states).toMatchObject({
    "cgroup v1": "missing",
    "cgroup controllers": "limited",
    IPv6: facts.hasIPv6 ? "ok" : "limited",
  });
});

test("an old kernel and a directory without overlay are told", async () => {
  const findings = await examine({
    facts: { ...readHostFacts(), kernelVersion: "5.4.0-1" },
    directory: "/proc",
    cgroupParent: `/berth-test-${process.pid}`,
  });
  expect(findings.find(({ name }) => name === "kernel")).toMatchObject({
    state: "missing",
    detail: expect.stringContaining("5.11"),
  });
  expect(findings.find(({ name }) => name === "overlayfs")?.state).toBe("limited");
});

test("the hello program is an executable of its own", async () => {
  const path = join(directory, "hello");
  writeHelloProgram(path, "hi there\n");
  const child = Bun.spawn([path], { stdout: "pipe", env: {} });
  expect(await new Response(child.stdout).text()).toBe("hi there\n");
  expect(await child.exited).toBe(0);
  rmSync(path);
});
