// A process that starts a container and is then killed: `bun launch_child.ts <room name> <request in JSON>` prints the
// task's record as one line, and waits. For test/root/launch/regain.test.ts.
import process from "node:process";
import type { LaunchRequest } from "../../runtime/mod.ts";
import { openRuntime } from "../../runtime/open.ts";

const [imageDir = "", text = ""] = process.argv.slice(2);
const request = JSON.parse(text) as LaunchRequest;
const task = await openRuntime({ imageDir }).launch(request);
process.stdout.write(`${JSON.stringify(task.record)}\n`);
// Holds the task, with its descriptors, for as long as this process is let live.
await new Promise(() => setInterval(() => task.pid, 60_000));
