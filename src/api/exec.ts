// Routes of exec sessions: commands in running containers.
import { Hono } from "hono";
import type { Engine, ExecRecord } from "../engine/mod.ts";
import type { Log } from "../log.ts";
import { ExecCreate, ExecStart } from "../schema/exec.ts";
import type { AppEnv } from "./app_env.ts";
import { readJSON } from "./body.ts";
import { cellsParam } from "./params.ts";
import { joinRawStream } from "./raw_stream.ts";
import { empty, json } from "./reply.ts";

export function execApi({ exec }: Engine, { log }: { log: Log }): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  app.post("/containers/:id{.+}/exec", async (c) => {
    const { id } = await exec.create(c.req.param("id"), await readJSON(c, ExecCreate));
    return json({ Id: id }, 201);
  });

  app.post("/exec/:id/start", async (c) => {
    const options = await readJSON(c, ExecStart);
    if (!options.Detach) return await joinRawStream(c, await exec.startAttached(c.req.param("id"), options), log);
    await exec.startDetached(c.req.param("id"), options);
    return empty(200);
  });

  app.post("/exec/:id/resize", async (c) => {
    const rows = cellsParam(c, "h");
    await exec.resize(c.req.param("id"), rows, cellsParam(c, "w"));
    return empty(200);
  });

  app.get("/exec/:id/json", (c) => json(execView(exec.get(c.req.param("id")))));
  return app;
}

function execView({ config, containerID, exitCode, id, isRunning, pid }: ExecRecord): object {
  const [entrypoint = "", ...args] = config.Cmd ?? [];
  return {
    ID: id,
    Running: isRunning,
    // null while it runs: the CLI reads it once the stream has ended.
    ExitCode: isRunning ? null : exitCode,
    ProcessConfig: {
      tty: config.Tty,
      entrypoint,
      arguments: args,
      privileged: config.Privileged,
      ...(config.User === "" ? {} : { user: config.User }),
    },
    OpenStdin: config.AttachStdin,
    OpenStderr: config.AttachStderr,
    OpenStdout: config.AttachStdout,
    CanRemove: !isRunning && exitCode !== null,
    ContainerID: containerID,
    DetachKeys: config.DetachKeys,
    Pid: pid,
  };
}
