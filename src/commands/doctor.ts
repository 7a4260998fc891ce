// `berth doctor`: what this machine offers, feature by feature, and a container run on it. Answers whether berth can serve.
import { existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { cgroupParent } from "../../runtime/cgroup/place.ts";
import { examine, type Finding, readHostFacts } from "../../runtime/doctor.ts";
import type { Runtime } from "../../runtime/mod.ts";
import { openRuntime } from "../../runtime/open.ts";
import type { Config } from "../config.ts";
import { runSelfTest } from "../selftest.ts";
import { COMMIT, VERSION } from "../version.ts";
import { formatFindings } from "./finding_table.ts";

/** Less than this on the data root's file system is worth a word before the first pull. */
const LOW_SPACE_BYTES = 1 << 30;

/** Prints the table. True when nothing that berth needs is missing. */
export async function doctor(config: Config, print: (text: string) => void): Promise<boolean> {
  print(`berth ${VERSION} (${COMMIT})\n\n`);
  if (process.getuid?.() !== 0) {
    print(
      "berth needs root: it mounts file systems and makes namespaces, cgroups and bridges. Try: sudo berth doctor\n",
    );
    return false;
  }
  const findings: Finding[] = [dataRootFinding(config.dataRoot)];
  if (findings[0]?.state !== "missing") {
    const directory = mkdtempSync(join(existingParent(config.dataRoot), ".berth-doctor-"));
    try {
      const facts = readHostFacts();
      const place = {
        directory,
        cgroupParent: cgroupParent(facts, config.cgroupParent, config.isCgroupParentExplicit),
      };
      findings.push(...(await examine({ facts, ...place })));
      findings.push(await containerFinding(openRuntime({ imageDir: directory, facts }), place, findings));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }
  print(formatFindings(findings));
  const missing = findings.filter((finding) => finding.state === "missing");
  print(
    missing.length === 0
      ? "\nThis machine runs containers.\n"
      : `\nMissing on this machine: ${missing.map((finding) => finding.name).join(", ")}.\n`,
  );
  return missing.length === 0;
}

/** The data root, or what it will be made in. */
function existingParent(path: string): string {
  return existsSync(path) || path === "/" ? path : existingParent(dirname(path));
}

function dataRootFinding(dataRoot: string): Finding {
  const place = existingParent(dataRoot);
  const base = { name: "data root", neededFor: "images, containers, volumes" };
  try {
    rmSync(mkdtempSync(join(place, ".berth-doctor-")), { recursive: true });
    const { bavail, bsize } = statfsSync(place);
    const gib = ((bavail * bsize) / 2 ** 30).toFixed(1);
    const isLow = bavail * bsize < LOW_SPACE_BYTES;
    return { ...base, state: isLow ? "limited" : "ok", detail: `${dataRoot}, ${gib} GiB free` };
  } catch (error) {
    return { ...base, state: "missing", detail: error instanceof Error ? error.message : String(error) };
  }
}

async function containerFinding(
  runtime: Runtime,
  place: { directory: string; cgroupParent: string },
  findings: readonly Finding[],
): Promise<Finding> {
  const base = { name: "container", neededFor: "everything" };
  const hasOverlay = findings.some(({ name, state }) => name === "overlayfs" && state === "ok");
  try {
    const output = await runSelfTest(runtime, { ...place, hasOverlay });
    return { ...base, state: "ok", detail: output };
  } catch (error) {
    return { ...base, state: "missing", detail: error instanceof Error ? error.message : String(error) };
  }
}
