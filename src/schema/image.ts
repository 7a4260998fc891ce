// Platforms as clients send them in queries. Source: OCIPlatform in v1.55.yaml.
import * as v from "valibot";
import { text } from "./common.ts";

/** `{"os":"linux","architecture":"arm64","variant":"v8"}`. */
export const Platform = v.object({ os: text(), architecture: text(), variant: text() });
export type Platform = v.InferOutput<typeof Platform>;
