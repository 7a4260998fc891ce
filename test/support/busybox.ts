// The image of most tests, made of this machine's static busybox: `busybox:latest`, as a docker-archive. No registry needed.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, type TestDaemon } from "./daemon.ts";
import { directory, dockerArchive, file, imageOf, layerOf, symlink } from "./images.ts";

const BUSYBOX = "/bin/busybox";

/** Path of the archive; looked up or made once per process. */
let archive: Promise<string> | null = null;

/** `docker load` of the image into a test's daemon. */
export async function loadBusybox(daemon: TestDaemon): Promise<void> {
  await daemon.dockerOK("load", "-i", await busyboxArchive());
}

/** Path of the archive. Its one layer is <digest>/layer.tar in it. */
export function busyboxArchive(): Promise<string> {
  archive ??= makeArchive("busybox:latest", {});
  return archive;
}

/** The same under another name, with more of a configuration. */
export function busyboxWith(name: string, config: Record<string, unknown>): Promise<string> {
  return makeArchive(name, config);
}

async function makeArchive(name: string, config: Record<string, unknown>): Promise<string> {
  const applets = (await run([BUSYBOX, "--list"])).stdout.trim().split("\n");
  const directories = ["bin", "etc", "home", "mnt", "root", "usr", "usr/bin", "var", "www"];
  const layer = layerOf([
    ...directories.map((path) => directory(path)),
    directory("tmp", 0o1777),
    file("bin/busybox", readFileSync(BUSYBOX), 0o755),
    ...applets.filter((name) => name !== "busybox").map((name) => symlink(`bin/${name}`, "busybox")),
    file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n"),
    file("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"),
    file("www/index.html", "served by busybox\n"),
  ]);
  const image = imageOf([layer], {
    created: "2023-11-14T22:13:20Z",
    createdBy: "busybox",
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], WorkingDir: "", ...config },
  });
  // Named by what is in it, so that test processes share one, and an older one is not taken for it.
  const path = join(tmpdir(), `berth-busybox-${image.id.slice("sha256:".length, "sha256:".length + 12)}.tar`);
  if (existsSync(path)) return path;
  const making = `${path}.${process.pid}`;
  writeFileSync(making, dockerArchive(image, [name]));
  renameSync(making, path);
  return path;
}
