// The volumes of a plugin: the protocol `VolumeDriver` of legacy plugins, one POST for each question.
import * as v from "valibot";
import { internal, notFound } from "../../errors.ts";
import { type Plugin, PluginRefusal } from "../plugins.ts";
import type { DriverVolume, VolumeDriver } from "./driver.ts";

export const VOLUME_CAPABILITY = "VolumeDriver";

const Volume = v.object({
  Name: v.string(),
  Mountpoint: v.optional(v.string(), ""),
  CreatedAt: v.optional(v.string(), ""),
  Status: v.optional(v.nullable(v.record(v.string(), v.unknown())), null),
});
const Got = v.object({ Volume });
const Listed = v.object({ Volumes: v.optional(v.nullable(v.array(Volume)), null) });
const Mounted = v.object({ Mountpoint: v.string() });
const Capable = v.object({ Capabilities: v.object({ Scope: v.optional(v.string(), "") }) });

export async function createPluginDriver(plugin: Plugin): Promise<VolumeDriver> {
  const ask = async <T>(method: string, body: object, schema: v.GenericSchema<unknown, T>): Promise<T> => {
    const reply = v.safeParse(schema, await plugin.call(`VolumeDriver.${method}`, body));
    if (reply.success) return reply.output;
    throw internal(`VolumeDriver.${method}: the plugin ${plugin.name} answered something else than was asked`);
  };
  const tell = async (method: string, body: object): Promise<void> => {
    await plugin.call(`VolumeDriver.${method}`, body);
  };
  return {
    name: plugin.name,
    scope: await scopeOf(ask),
    check: () => undefined,
    create: (name, options) => tell("Create", { Name: name, Opts: options }),
    remove: (name) => tell("Remove", { Name: name }),
    async get(name): Promise<DriverVolume> {
      let found;
      try {
        found = await ask("Get", { Name: name }, Got);
      } catch (error) {
        // It says in its own words that there is none; that it does not answer, or in another form, is another matter.
        if (error instanceof PluginRefusal) throw notFound(`get ${name}: ${error.message}`, { cause: error });
        throw error;
      }
      const { Mountpoint, CreatedAt, Status } = found.Volume;
      return { mountpoint: Mountpoint, createdAt: CreatedAt, status: Status ?? {} };
    },
    async list() {
      const { Volumes } = await ask("List", {}, Listed);
      return (Volumes ?? []).map(({ Name }) => Name);
    },
    async mount(name, _options, user) {
      const { Mountpoint } = await ask("Mount", { Name: name, ID: user }, Mounted);
      if (!Mountpoint.startsWith("/")) {
        throw internal(`VolumeDriver.Mount: the plugin ${plugin.name} names no path for ${name}`);
      }
      return Mountpoint;
    },
    unmount: (name, user) => tell("Unmount", { Name: name, ID: user }),
  };
}

/** A plugin of the first protocol knows no capabilities: its volumes are this machine's. */
async function scopeOf(
  ask: <T>(method: string, body: object, schema: v.GenericSchema<unknown, T>) => Promise<T>,
): Promise<string> {
  try {
    const { Capabilities } = await ask("Capabilities", {}, Capable);
    return Capabilities.Scope === "global" ? "global" : "local";
  } catch {
    return "local";
  }
}
