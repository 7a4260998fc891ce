// Which berth this is. compile.ts puts the three names in; run from source there are none.

declare const BERTH_VERSION: string;
declare const BERTH_COMMIT: string;
declare const BERTH_BUILD_TIME: string;

/** A plain semantic version: clients parse it. */
export const VERSION = typeof BERTH_VERSION === "string" ? BERTH_VERSION : "0.0.0-dev";
export const COMMIT = typeof BERTH_COMMIT === "string" ? BERTH_COMMIT : "source";
/** ISO 8601, the time of the commit; "" from source. */
export const BUILD_TIME = typeof BERTH_BUILD_TIME === "string" ? BERTH_BUILD_TIME : "";
