// Run under `unshare --mount`: binds a shared directory into containers with each propagation, mounts below it on this
// side while they run, and prints what they see. For test/root/launch/propagation.test.ts.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { ContainerRoom, readStreams } from "./container_room.ts";
import { writeAll } from "../../runtime/sys/file.ts";

await using room = new ContainerRoom("propagation");
const seen: Record<string, string> = {};
for (const word of ["rprivate", "rslave", "rshared"]) {
  const source = join(room.directory, word);
  mkdirSync(source);
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", source]);
  execFileSync("mount", ["--make-shared", source]);
  mkdirSync(join(source, "late"));
  const script =
    "read x; ls /p/late; grep ' /p ' /proc/self/mountinfo | cut -d' ' -f7 | cut -d: -f1; " +
    "mkdir /p/own && mount -t tmpfs t /p/own && touch /p/own/x";
  const capabilities = ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"];
  const sets = {
    bounding: capabilities,
    effective: capabilities,
    permitted: capabilities,
    inheritable: [],
    ambient: [],
  };
  const bundle = room.bundle(["sh", "-c", script], {
    process: { capabilities: sets },
    mounts: [{ destination: "/p", type: "bind", source, options: ["rbind", word] }],
    linux: { seccomp: { defaultAction: "SCMP_ACT_ALLOW", syscalls: [] } },
  });
  const task = await room.launch(bundle, { hasStdin: true });
  const output = readStreams(task.streams);
  execFileSync("mount", ["-t", "tmpfs", "tmpfs", join(source, "late")]);
  execFileSync("touch", [join(source, "late/mounted")]);
  if (task.streams.stdin) writeAll(task.streams.stdin, Buffer.from("go\n"));
  task.dropStdin();
  await task.exited;
  const { stdout } = await output;
  const here = execFileSync("ls", [join(source, "own")], { encoding: "utf8" });
  seen[word] = [...stdout.trim().split("\n"), here.trim() === "" ? "" : "came back"].join(" ");
  await room.finish(task);
  execFileSync("umount", ["-R", source]);
}
process.stdout.write(`${JSON.stringify(seen)}\n`);
