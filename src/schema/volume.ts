// Volumes as clients send them. Source: VolumeCreateRequest in v1.55.yaml.
import * as v from "valibot";
import { text, textMap } from "./common.ts";

export const VolumeCreate = v.object({ Name: text(), Driver: text(), DriverOpts: textMap(), Labels: textMap() });
export type VolumeCreate = v.InferOutput<typeof VolumeCreate>;
