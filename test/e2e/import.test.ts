// docker import: a tar of a file system as an image, in every compression, from the client and from a URL.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { run, TestDaemon, until } from "../support/daemon.ts";
import { directory, file, symlink, tarOf } from "../support/images.ts";

let berth: TestDaemon;
const tar = tarOf([
  directory("bin"),
  file("bin/busybox", readFileSync("/bin/busybox"), 0o755),
  symlink("bin/sh", "busybox"),
  symlink("bin/cat", "busybox"),
  directory("etc"),
  file("etc/motd", "imported\n"),
]);
beforeAll(async () => {
  berth = await TestDaemon.start();
  writeFileSync(join(berth.directory, "root.tar"), tar);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const FORMS: Readonly<Record<string, () => Uint8Array>> = {
  plain: () => tar,
  gzip: () => gzipSync(tar),
  zstd: () => zstdCompressSync(tar),
  xz: () => Bun.spawnSync(["xz", "-1", "-c"], { stdin: tar }).stdout,
  bzip2: () => Bun.spawnSync(["bzip2", "-1", "-c"], { stdin: tar }).stdout,
};

test.each(Object.keys(FORMS))("a tar in %s runs, and is the same layer as in all the others", async (form) => {
  const path = join(berth.directory, `root.${form}`);
  writeFileSync(path, FORMS[form]?.() ?? "");
  const id = await berth.dockerOK("import", "-m", "by hand", "-c", 'CMD ["cat", "/etc/motd"]', path, `made:${form}`);
  expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(await berth.dockerOK("run", "--rm", `made:${form}`)).toBe("imported");
  const shown = "{{.Id}} {{.RootFS.Layers}} {{.Comment}} {{.Os}}";
  const [shownID = "", layers] = (await berth.dockerOK("image", "inspect", `made:${form}`, "-f", shown)).split(" ");
  expect([shownID, layers]).toEqual([id, `[sha256:${new Bun.CryptoHasher("sha256").update(tar).digest("hex")}]`]);
  expect(await berth.dockerOK("history", `made:${form}`, "--format", "{{.CreatedBy}}|{{.Comment}}")).toBe("|by hand");
});

test("the events are those of Docker: a tag, and an import under the image's ID", async () => {
  const since = String(Date.now() / 1000);
  const path = join(berth.directory, "root.tar");
  const id = await berth.dockerOK("import", path, "told:1");
  const until = String(Date.now() / 1000 + 0.1);
  const format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}";
  const events = await berth.dockerOK("events", "--since", since, "--until", until, "--format", format);
  expect(events.split("\n")).toEqual([`tag ${id} told:1`, `import ${id} ${id}`]);
  expect(await berth.dockerOK("history", "told:1", "--format", "{{.Comment}}")).toBe("Imported from -");
});

test("a URL is fetched by the engine, and what goes wrong there is told", async () => {
  const serve = ["busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", berth.directory];
  const server = Bun.spawn(["nsenter", "-t", String(berth.holderPID), "-n", ...serve], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    const probe = ["curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:8080/root.tar"];
    await until("the server answers", async () => (await berth.inside(probe)).code === 0);
    const printed = await berth.dockerOK(
      "import",
      "-c",
      "CMD cat /etc/motd",
      "http://127.0.0.1:8080/root.tar",
      "fetched",
    );
    expect(printed).toContain("Downloading from http://127.0.0.1:8080/root.tar");
    expect(await berth.dockerOK("run", "--rm", "fetched")).toBe("imported");
    const missing = await berth.docker(["import", "http://127.0.0.1:8080/none.tar", "x"]);
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringContaining("failed to GET http://127.0.0.1:8080/none.tar with status 404"),
    ]);
  } finally {
    server.kill("SIGKILL");
    await server.exited;
  }
  const gone = await berth.docker(["import", "http://127.0.0.1:8080/root.tar", "x"]);
  expect(gone.stderr).toContain('Get "http://127.0.0.1:8080/root.tar": connect: connection refused');
  const scheme = await berth.request("POST", "/images/create?fromSrc=ftp://example.test/x&repo=x");
  expect(await scheme.json()).toEqual({ message: 'Get "ftp://example.test/x": unsupported protocol scheme "ftp"' });
});

test("what is no archive, or no change, is refused and leaves nothing behind", async () => {
  const before = await berth.dockerOK("images", "-aq");
  const send = async (bytes: Uint8Array, ...args: string[]): Promise<string> => {
    const path = join(berth.directory, "bad");
    writeFileSync(path, bytes);
    const { code, stderr } = await berth.docker(["import", ...args, path, "bad:1"]);
    expect(code).toBe(1);
    return stderr;
  };
  expect(await send(Buffer.from("rubbish".repeat(500)))).toContain("not a tar archive");
  expect(await send(gzipSync(tar).subarray(0, 100_000))).toContain("the gzip data is damaged");
  expect(await send(tar.subarray(0, 200_000))).toContain("truncated");
  expect(await send(tar, "-c", "RUN ls")).toContain("RUN is not a valid change command");
  expect(await send(tar, "--platform", "windows/amd64")).toContain("is not supported");
  expect(await berth.dockerOK("images", "-aq")).toBe(before);
  const left = await run(["ls", join(berth.dataRoot, "ingest"), join(berth.dataRoot, "tmp")]);
  expect(left.stdout).not.toMatch(/new-|layer-/);
});

test("an empty archive is an image without a layer", async () => {
  const path = join(berth.directory, "empty");
  writeFileSync(path, "");
  const id = await berth.dockerOK("import", path);
  expect(await berth.dockerOK("image", "inspect", id, "-f", "{{.RootFS.Layers}} {{.Size}}")).toBe("[] 0");
});
