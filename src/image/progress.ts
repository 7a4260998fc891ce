// The messages that the docker CLI draws its bars from (jsonmessage): made here for pull, push and load alike.
import type { Progress } from "../engine/mod.ts";
import { PROGRESS_INTERVAL_MS } from "../limits.ts";

/**
 * Turns byte counts into progress messages of one layer: at most one every PROGRESS_INTERVAL_MS, the last one always.
 * `id` is the layer's short ID, whose line on the terminal is drawn anew; "": what is drawn has none.
 */
export function meter(
  progress: Progress,
  now: () => number,
  id: string,
  status: string,
  total: number,
): (bytes: number) => void {
  let lastMs = 0;
  return (current) => {
    const nowMs = now();
    if (nowMs - lastMs < PROGRESS_INTERVAL_MS && current < total) return;
    lastMs = nowMs;
    progress({
      status,
      progressDetail: { current, total },
      progress: bar(current, total),
      ...(id === "" ? {} : { id }),
    });
  };
}

/** `[=====>     ]  1.2MB/3.4MB`: the text that clients without a renderer of their own print. */
function bar(current: number, total: number): string {
  const filled = Math.min(50, Math.floor((current / Math.max(total, 1)) * 50));
  const arrow = filled < 50 ? `${"=".repeat(filled)}>${" ".repeat(49 - filled)}` : "=".repeat(50);
  return `[${arrow}]  ${sizeText(current)}/${sizeText(total)}`;
}

/** Powers of a thousand and four digits, as Docker writes sizes: `1.234MB`. */
function sizeText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}
