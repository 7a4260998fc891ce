// The order in which containers come up: what they share, compose's hints, and circles.
import { describe, expect, test } from "bun:test";
import { bootOrder } from "../../../../src/engine/containers/boot_order.ts";
import type { ContainerRecord } from "../../../../src/engine/containers/container.ts";
import { fakeRecord } from "../../../support/fake_engine.ts";

let serial = 0;
function container(
  name: string,
  host: Partial<ContainerRecord["hostConfig"]> = {},
  labels: Record<string, string> = {},
) {
  const record = fakeRecord({ name });
  const id = (++serial).toString(16).padStart(12, "a").padEnd(64, "0") as ContainerRecord["id"];
  return {
    ...record,
    id,
    hostConfig: { ...record.hostConfig, ...host },
    config: { ...record.config, Labels: labels },
  };
}

function compose(service: string, dependsOn: string, project = "p"): Record<string, string> {
  return {
    "com.docker.compose.project": project,
    "com.docker.compose.service": service,
    "com.docker.compose.depends_on": dependsOn,
  };
}

/** `name: dependency condition …` of each container. */
function told(records: ContainerRecord[]): string[] {
  const names = new Map(records.map(({ id, name }) => [id as string, name]));
  return [...bootOrder(records).order].map(
    ([id, deps]) =>
      `${names.get(id)}:${deps.map((each) => ` ${names.get(each.id)}/${each.condition}${each.isHard ? "!" : ""}`).join("")}`,
  );
}

describe("a container comes after", () => {
  test("those whose network, ipc or pid namespace, volumes or names it takes, by name or ID", () => {
    const base = container("base");
    const records = [
      base,
      container("net", { NetworkMode: "container:base" }),
      container("ipc", { IpcMode: `container:${base.id}` }),
      container("pid", { PidMode: `container:${base.id.slice(0, 12)}` }),
      container("volumes", { VolumesFrom: ["base:ro"] }),
      container("links", { Links: ["/base:/links/db"] }),
      container("other", { NetworkMode: "container:gone" }),
    ];
    expect(told(records)).toEqual([
      "base:",
      "net: base/started!",
      "ipc: base/started!",
      "pid: base/started!",
      "volumes: base/started!",
      "links: base/started!",
      "other:",
    ]);
  });
  test("what compose's label names in the same project", () => {
    const records = [
      container("web", {}, compose("web", "db:service_healthy:false,job:service_completed_successfully:true,cache")),
      container("db1", {}, compose("db", "")),
      container("db2", {}, compose("db", "")),
      container("job", {}, compose("job", "")),
      container("cache", {}, compose("cache", "")),
      container("stranger", {}, compose("db", "", "q")),
    ];
    expect(told(records)[0]).toBe("web: db1/healthy db2/healthy job/completed cache/started");
  });
});

test("a circle is cut at a hint, and told", () => {
  const records = [
    container("a", { NetworkMode: "container:b" }, compose("a", "")),
    container("b", {}, compose("b", "c:service_started:true")),
    container("c", {}, compose("c", "a:service_started:true")),
  ];
  const { broken } = bootOrder(records);
  expect(broken).toHaveLength(1);
  expect(broken[0]?.toSorted()).toEqual(["a", "b", "c"]);
  expect(told(records)).toContain("a: b/started!");
});

test("a circle of what cannot wait is cut too, and a long chain is no circle", () => {
  const circle = [container("x", { NetworkMode: "container:y" }), container("y", { IpcMode: "container:x" })];
  expect(bootOrder(circle).broken).toHaveLength(1);
  const chain = Array.from({ length: 300 }, (_, at) =>
    container(`link${at}`, at === 0 ? {} : { VolumesFrom: [`link${at - 1}`] }),
  );
  expect(bootOrder(chain).broken).toEqual([]);
});
