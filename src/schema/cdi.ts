// A specification of the Container Device Interface as vendors write it, versions 0.3.0 to 1.1.0: what a device brings into
// a container. Source: SPEC.md and schema/ of tags.cncf.io/container-device-interface.
import * as v from "valibot";

const whole = v.pipe(v.number(), v.integer(), v.minValue(0));
/** CDI's libraries look for an `=` that has a name before it. */
const Env = v.array(v.pipe(v.string(), v.regex(/^[^=]/, "a variable needs a name"), v.includes("=")));

const DeviceNode = v.object({
  path: v.pipe(v.string(), v.startsWith("/")),
  hostPath: v.optional(v.string(), ""),
  type: v.optional(v.picklist(["", "b", "c", "u", "p"]), ""),
  major: v.optional(whole),
  minor: v.optional(whole),
  fileMode: v.optional(whole),
  permissions: v.optional(v.pipe(v.string(), v.regex(/^([rwm]{0,3}|none)$/, "permissions are of r, w and m")), ""),
  uid: v.optional(whole),
  gid: v.optional(whole),
});

const Mount = v.object({
  hostPath: v.pipe(v.string(), v.nonEmpty()),
  containerPath: v.pipe(v.string(), v.startsWith("/")),
  type: v.optional(v.string(), ""),
  options: v.optional(v.array(v.string()), []),
});

const HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;
const Hook = v.object({
  hookName: v.picklist(HOOKS),
  path: v.pipe(v.string(), v.startsWith("/")),
  args: v.optional(v.array(v.string()), []),
  env: v.optional(Env, []),
  timeout: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
});

export const ContainerEdits = v.object({
  env: v.optional(Env, []),
  deviceNodes: v.optional(v.array(DeviceNode), []),
  netDevices: v.optional(v.array(v.looseObject({})), []),
  mounts: v.optional(v.array(Mount), []),
  hooks: v.optional(v.array(Hook), []),
  additionalGids: v.optional(v.array(whole), []),
  intelRdt: v.nullish(v.looseObject({})),
});
export type ContainerEdits = v.InferOutput<typeof ContainerEdits>;

const VERSIONS = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"] as const;
/** A letter, then letters, digits, `-`, `_` and (in a vendor's domain) `.`; the last is a letter or a digit. */
const KIND = /^[a-zA-Z]([\w.-]*[a-zA-Z0-9])?\/[a-zA-Z]([\w-]*[a-zA-Z0-9])?$/;
const DEVICE = /^[a-zA-Z0-9]([\w.:-]*[a-zA-Z0-9])?$/;

export const CdiSpec = v.object({
  cdiVersion: v.picklist(VERSIONS),
  kind: v.pipe(v.string(), v.regex(KIND, "a kind is vendor/class")),
  annotations: v.optional(v.record(v.string(), v.string()), {}),
  containerEdits: v.optional(ContainerEdits, {}),
  devices: v.pipe(
    v.array(
      v.object({
        name: v.pipe(v.string(), v.regex(DEVICE, "a device's name is of letters, digits and . : _ -")),
        annotations: v.optional(v.record(v.string(), v.string()), {}),
        containerEdits: ContainerEdits,
      }),
    ),
    v.minLength(1),
  ),
});
export type CdiSpec = v.InferOutput<typeof CdiSpec>;
