// Tags of logs: the templates people write, filled in as Docker does, and what is refused.
import { expect, test } from "bun:test";
import { parseTag, type TagFacts } from "../../../../src/engine/containers/log_tag.ts";

const facts: TagFacts = {
  containerID: "0123456789abcdef".repeat(4),
  name: "web",
  entrypoint: "sh",
  args: ["-c", "x"],
  imageID: "sha256:fedcba9876543210",
  imageName: "shop/web:1",
  createdAt: "2024-01-01T00:00:00Z",
  hostName: "host",
  env: ["A=b"],
  labels: { "com.example.app": "Shop", team: "x" },
  config: { tag: "t" },
  extra: { team: "x" },
};

test("templates name the container, its image and its labels", () => {
  const table: [template: string, expected: string][] = [
    ["plain", "plain"],
    ["{{.ID}}", "0123456789ab"],
    ["{{ .FullID }}", facts.containerID],
    ["{{.ImageName}}/{{.Name}}/{{.ID}}", "shop/web:1/web/0123456789ab"],
    ["{{.ImageID}} {{.ImageFullID}}", "sha256:fedcb sha256:fedcba9876543210"],
    ["{{.DaemonName}} {{.Hostname}} {{.Command}}", "docker host sh -c x"],
    ["{{.ContainerName}}", "/web"],
    ["{{.ExtraAttributes nil}}", "map[team:x]"],
    ['{{index .ContainerLabels "com.example.app"}}', "Shop"],
    ["{{.ContainerLabels.team}}", "x"],
    ['{{index .ContainerLabels "com.example.app" | lower}}', "shop"],
    ["{{.Name | upper}}{{upper .Name}}", "WEBWEB"],
    ["{{truncate .ImageName 4}}", "shop"],
    ['{{join .ContainerArgs ","}} {{json .ContainerEnv}} {{.ContainerArgs}}', '-c,x ["A=b"] [-c x]'],
    ['{{"text"}}', "text"],
    ['{{index .ContainerLabels "none"}}', ""],
  ];
  for (const [template, expected] of table) expect([template, parseTag(template)(facts)]).toEqual([template, expected]);
});

test("what is no field, no function or no action is refused", () => {
  expect(() => parseTag("{{.Nope}}")).toThrow("can't evaluate field Nope in type *logger.Info");
  expect(() => parseTag("{{nope .ID}}")).toThrow('function "nope" not defined');
  expect(() => parseTag("{{.ID | nope}}")).toThrow('function "nope" not defined');
  expect(() => parseTag("{{.ID")).toThrow("unclosed action");
  expect(() => parseTag("{{}}")).toThrow('function "" not defined');
});
