// The configuration of a committed image: the request's, completed by the container's, as Docker joins the two.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { completeConfig, toImageConfig } from "../../../../src/engine/containers/commit_config.ts";
import { ContainerConfig } from "../../../../src/schema/container.ts";

const container = toImageConfig(
  v.parse(ContainerConfig, {
    Hostname: "web",
    Env: ["A=1", "B=2"],
    Cmd: ["serve"],
    Entrypoint: ["/tool"],
    Labels: { a: "1", b: "2" },
    ExposedPorts: { "80/tcp": {} },
    Volumes: { "/data": {} },
    Healthcheck: { Test: ["CMD", "check"], Interval: 5_000_000_000 },
    User: "5",
  }),
);

test("an image carries its part of a container's configuration, and nothing that is empty", () => {
  expect(container).toEqual({
    Env: ["A=1", "B=2"],
    Cmd: ["serve"],
    Entrypoint: ["/tool"],
    Labels: { a: "1", b: "2" },
    ExposedPorts: { "80/tcp": {} },
    Volumes: { "/data": {} },
    Healthcheck: { Test: ["CMD", "check"], Interval: 5_000_000_000 },
    User: "5",
  });
});

test("the container's own configuration stays as it is", () => {
  expect(completeConfig(container, container)).toEqual(container);
});

test("lists and maps are joined, the request's values first", () => {
  const given = {
    Env: ["B=3", "C=4"],
    Labels: { b: "3" },
    ExposedPorts: { "90/tcp": {} },
    Volumes: { "/more": {} },
    User: "6",
  };
  expect(completeConfig(given, container)).toEqual({
    ...container,
    Env: ["B=3", "C=4", "A=1"],
    Labels: { a: "1", b: "3" },
    ExposedPorts: { "80/tcp": {}, "90/tcp": {} },
    Volumes: { "/data": {}, "/more": {} },
    User: "6",
  });
});

test("a given entrypoint drops the container's command, a given command keeps its entrypoint", () => {
  expect(completeConfig({ Entrypoint: ["/new"], Cmd: null }, container)).toMatchObject({ Entrypoint: ["/new"] });
  expect(completeConfig({ Entrypoint: ["/new"], Cmd: null }, container)).not.toHaveProperty("Cmd");
  expect(completeConfig({ Cmd: ["other"] }, container)).toMatchObject({ Entrypoint: ["/tool"], Cmd: ["other"] });
  expect(completeConfig({ Entrypoint: [] }, container)).toMatchObject({ Entrypoint: [], Cmd: ["serve"] });
});

test("a health check is completed field by field", () => {
  expect(completeConfig({ Healthcheck: { Retries: 2 } }, container).Healthcheck).toEqual({
    Test: ["CMD", "check"],
    Interval: 5_000_000_000,
    Retries: 2,
  });
});
