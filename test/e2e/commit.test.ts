// docker commit of running, stopped and paused containers: what the image holds, what its configuration says, what the
// client is told.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

interface Inspected {
  Id: string;
  RepoTags: string[];
  Author: string;
  Comment: string;
  Config: { Cmd: string[]; Env: string[] };
  RootFS: { Layers: string[] };
}

const inspect = async (name: string): Promise<Inspected> =>
  JSON.parse(await berth.dockerOK("image", "inspect", name))[0];

const refusal = async (path: string): Promise<unknown> => await (await berth.request("POST", path)).json();

test("a stopped container's changes become a layer, with author, comment and changes", async () => {
  const script =
    "echo hi > /f; ln /f /home/g; rm /etc/group; rm -r /www; mkdir /www; echo n > /www/new; chmod 600 /etc/passwd";
  await berth.dockerOK("run", "--name", "stopped", "-e", "FROM_RUN=1", "busybox", "sh", "-c", script);
  const id = await berth.dockerOK(
    "commit",
    "-a",
    "me",
    "-m",
    "what changed",
    "-c",
    "CMD cat /f",
    "-c",
    'ENV A="1 2"',
    "stopped",
    "made:1",
  );
  const image = await inspect("made:1");
  expect(image).toMatchObject({
    Id: id,
    RepoTags: ["made:1"],
    Author: "me",
    Comment: "what changed",
    Config: { Cmd: ["/bin/sh", "-c", "cat /f"] },
  });
  expect(image.Config.Env).toEqual(expect.arrayContaining(["FROM_RUN=1", "A=1 2"]));
  expect(image.RootFS.Layers).toHaveLength(2);
  expect(await berth.dockerOK("run", "--rm", "made:1")).toBe("hi");
  const look = "cat /home/g; ls /etc /www; stat -c %a /etc/passwd";
  expect(await berth.dockerOK("run", "--rm", "made:1", "sh", "-c", look)).toBe(
    ["hi", "/etc:", "hostname", "hosts", "passwd", "resolv.conf", "", "/www:", "new", "600"].join("\n"),
  );
  const history = await berth.dockerOK("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1");
  expect(history.split("\n")).toEqual([`sh -c ${script}|what changed`, "busybox|"]);
  await berth.dockerOK("rm", "stopped");
});

test("a container that has changed nothing gives an image without a layer of its own", async () => {
  await berth.dockerOK("run", "--name", "untouched", "busybox", "true");
  await berth.dockerOK("commit", "untouched", "same");
  const [same, base] = [await inspect("same"), await inspect("busybox")];
  expect(same.RootFS.Layers).toEqual(base.RootFS.Layers);
  expect(same.Id).not.toBe(base.Id);
  expect(await berth.dockerOK("run", "--rm", "same", "echo", "runs")).toBe("runs");
  await berth.dockerOK("rm", "untouched");
});

test("a running container stands still meanwhile and runs on afterwards; the events tell it", async () => {
  await berth.dockerOK("run", "-d", "--name", "running", "busybox", "sh", "-c", "echo 1 > /one; sleep 1000");
  const since = String(Date.now() / 1000);
  const image = await berth.dockerOK("commit", "-m", "live", "running", "live:1");
  expect(await berth.dockerOK("inspect", "-f", "{{.State.Status}}", "running")).toBe("running");
  const soon = String(Date.now() / 1000 + 0.1);
  const events = await berth.dockerOK("events", "--since", since, "--until", soon, "--format", "{{.Type}} {{.Action}}");
  expect(events.split("\n")).toEqual(["container pause", "container unpause", "image tag", "container commit"]);
  const [last = ""] = (
    await berth.dockerOK(
      "events",
      "--since",
      since,
      "--until",
      soon,
      "--filter",
      "event=commit",
      "--format",
      "{{json .}}",
    )
  ).split("\n");
  expect(JSON.parse(last)).toMatchObject({
    Actor: { Attributes: { comment: "live", imageID: image, imageRef: "live:1", name: "running" } },
  });
  await berth.dockerOK("commit", "--pause=false", "running", "live:2");
  await berth.dockerOK("pause", "running");
  await berth.dockerOK("commit", "running", "live:3");
  expect(await berth.dockerOK("inspect", "-f", "{{.State.Status}}", "running")).toBe("paused");
  await berth.dockerOK("rm", "-f", "running");
  for (const tag of ["1", "2", "3"])
    expect(await berth.dockerOK("run", "--rm", `live:${tag}`, "cat", "/one")).toBe("1");
  // The same changes are one layer, kept once.
  const layers = await Promise.all(["1", "2", "3"].map(async (tag) => (await inspect(`live:${tag}`)).RootFS.Layers));
  expect(new Set(layers.map((each) => each.join())).size).toBe(1);
});

test("an image without a name, and images on top of each other", async () => {
  await berth.dockerOK("run", "--name", "first", "busybox", "sh", "-c", "echo 1 > /1; echo x > /x");
  const bare = await berth.dockerOK("commit", "first");
  expect((await inspect(bare)).RepoTags).toEqual([]);
  await berth.dockerOK("run", "--name", "second", bare, "sh", "-c", "echo 2 > /2; rm /x");
  await berth.dockerOK("commit", "second", "second");
  expect(await berth.dockerOK("run", "--rm", "second", "sh", "-c", "cat /1 /2; test -e /x || echo gone")).toBe(
    "1\n2\ngone",
  );
  await berth.dockerOK("rm", "first", "second");
});

test("what is refused, is refused as Docker does, and leaves nothing behind", async () => {
  await berth.dockerOK("create", "--name", "made", "busybox", "sh");
  const before = await berth.dockerOK("images", "-aq");
  const told = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await berth.docker(["commit", ...args]);
    expect(code).toBe(1);
    return stderr.trim().replace("Error response from daemon: ", "");
  };
  expect(await told("nope")).toBe("No such container: nope");
  expect(await told("-c", "RUN ls", "made")).toBe("RUN is not a valid change command");
  expect(await told("-c", "ENV foo", "made")).toBe("ENV must have two arguments");
  expect(await refusal(`/commit?container=made&repo=x@sha256:${"a".repeat(64)}`)).toEqual({
    message: "cannot import digest reference",
  });
  expect(await refusal("/commit?container=made&repo=x&tag=b:d")).toEqual({
    message: "invalid tag format",
  });
  expect(await berth.dockerOK("images", "-aq")).toBe(before);
  await berth.dockerOK("rm", "made");
});
