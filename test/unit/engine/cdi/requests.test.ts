// Which CDI devices a device request means, and how several become one set of edits.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { createCdiRegistry } from "../../../../src/engine/cdi/registry.ts";
import { editsFor } from "../../../../src/engine/cdi/requests.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-cdi-"));
afterAll(() => rmSync(directory, { recursive: true }));
const spec = (kind: string, names: string[]): void =>
  writeFileSync(
    join(directory, `${kind.replace("/", "-")}.json`),
    JSON.stringify({
      cdiVersion: "1.0.0",
      kind,
      containerEdits: { env: [`KIND=${kind}`] },
      devices: names.map((name) => ({ name, containerEdits: { env: [`NAME=${name}`], additionalGids: [0, 5, 5] } })),
    }),
  );
spec("nvidia.com/gpu", ["all", "0", "1"]);
spec("amd.com/gpu", ["0"]);

const registry = createCdiRegistry();
const ask = (...requests: object[]) =>
  editsFor(v.parse(HostConfig, { DeviceRequests: requests }).DeviceRequests, registry, [directory]);
const gpu = (fields: object = {}) => ({ Capabilities: [["gpu"]], ...fields });

describe("a request for graphics cards", () => {
  test.each([
    ["all", { Count: -1 }, ["KIND=nvidia.com/gpu", "NAME=all"]],
    ["a number of them", { Count: 2 }, ["KIND=nvidia.com/gpu", "NAME=0", "NAME=1"]],
    ["one by name", { DeviceIDs: ["1"] }, ["KIND=nvidia.com/gpu", "NAME=1"]],
    ["another maker's by driver", { Driver: "amd", DeviceIDs: ["0"] }, ["KIND=amd.com/gpu", "NAME=0"]],
    ["another maker's by capability", { Capabilities: [["gpu", "amd"]], Count: 1 }, ["KIND=amd.com/gpu", "NAME=0"]],
  ])("%s", (_, fields, env) => {
    expect(ask(gpu(fields))?.env).toEqual(env);
  });

  test.each([
    [{ Driver: "x", Count: -1 }, 'could not select device driver "x" with capabilities: [[gpu]]'],
    [{ Capabilities: [["gpu", "tpu"]] }, 'could not select device driver "" with capabilities: [[gpu tpu]]'],
    [{ Count: 1, DeviceIDs: ["0"] }, "cannot set both Count and DeviceIDs on device request"],
    [{ Count: 3 }, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=2"],
  ])("%j is refused", (fields, message) => {
    expect(() => ask(gpu(fields))).toThrow(message);
  });
});

test("several devices are one set of edits: that of a specification once, groups once and never root's", () => {
  const edits = ask(
    { Driver: "cdi", DeviceIDs: ["nvidia.com/gpu=0", "amd.com/gpu=0"] },
    { Driver: "cdi", DeviceIDs: ["nvidia.com/gpu=1", "nvidia.com/gpu=0"] },
  );
  expect(edits?.env).toEqual(["KIND=nvidia.com/gpu", "NAME=0", "KIND=amd.com/gpu", "NAME=0", "NAME=1"]);
  expect(edits?.additionalGids).toEqual([5]);
  expect(ask()).toBeNull();
});

test("without directories there is no CDI", () => {
  const requests = v.parse(HostConfig, { DeviceRequests: [{ Driver: "cdi", DeviceIDs: ["a.b/c=d"] }] }).DeviceRequests;
  expect(() => editsFor(requests, registry, [])).toThrow("no CDI specification directories specified");
});
