// Building blocks of the wire shapes. Go clients send null for empty lists and maps, and leave out what is zero, so every
// field of a request is `nullish` with Go's zero value, unless null and empty mean different things to the engine.
import * as v from "valibot";

export const text = () => v.nullish(v.string(), "");
export const flag = () => v.nullish(v.boolean(), false);
export const integer = () => v.nullish(v.pipe(v.number(), v.integer()), 0);
export const list = <S extends v.GenericSchema>(item: S) => v.nullish(v.array(item), []);
export const map = <S extends v.GenericSchema>(value: S) => v.nullish(v.record(v.string(), value), {});
export const textMap = () => map(v.nullish(v.string(), ""));
/** A set, as Go's API writes it: a map to empty objects. */
export const keySet = () => map(v.nullish(v.looseObject({}), {}));
/** null and empty are different things here; a missing field is null. */
export const orNull = <S extends v.GenericSchema>(schema: S) => v.nullish(schema, null);
/** Entrypoint and Cmd: a list, or one string that stands for a list of one. */
export const words = () =>
  v.nullish(
    v.union([
      v.array(v.string()),
      v.pipe(
        v.string(),
        v.transform((word) => [word]),
      ),
    ]),
    null,
  );

const PortBinding = v.object({ HostIp: text(), HostPort: text() });
/** `"80/tcp"` to where it is published. */
export const PortMap = map(v.nullish(v.array(PortBinding), []));
export type PortMap = v.InferOutput<typeof PortMap>;
