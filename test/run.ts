// The README's second command: installs what the tests need, then runs every check and every kind of test, one after the
// other, and ends with `N passed, N failed`. `bun test/run.ts unit api` runs just those.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";

interface Outcome {
  passed: number;
  failed: number;
}

/** A stage is a command; tests report their own counts, a check counts as one. */
interface Stage {
  name: string;
  command: string[];
  counts: "bun" | "deno" | "one";
  timeoutMin: number;
}

const bunTest = (name: string, ...paths: string[]): Stage => ({
  name,
  command: ["bun", "test", "--timeout", "60000", ...paths],
  counts: "bun",
  timeoutMin: 8,
});
const check = (name: string, ...command: string[]): Stage => ({ name, command, counts: "one", timeoutMin: 3 });

/** What `bun fmt` keeps in form: the code. Data, such as the API's description, stays as its source has it. */
const FORMATTED = ["src", "runtime", "test", "bench", "compile.ts", "drizzle.config.ts"];

/** What differs between kernels and cgroup versions, in one boot of some five minutes. */
const IN_VM: readonly string[] = [
  "./test/vm",
  "./test/root/launch",
  "./test/root/runtime",
  "./test/root/net.test.ts",
  "./test/e2e/settings.test.ts",
  "./test/e2e/limits.test.ts",
  "./test/e2e/cdi.test.ts",
  "./test/e2e/quota.test.ts",
  "./test/e2e/run.test.ts",
  "./test/e2e/stats.test.ts",
  "./test/e2e/userns_remap.test.ts",
];

const STAGES: readonly Stage[] = [
  { ...check("prerequisites", "test/prerequisites.sh"), timeoutMin: 8 },
  check("types", "bun", "check", "--no-script"),
  check("format", "bun", "fmt", "--check", ...FORMATTED, "--ignore-pattern", "*.json", "--ignore-pattern", "*.yaml"),
  check("lint", "bunx", "oxlint", "--type-aware", "--deny-warnings"),
  check("dead code", "bunx", "knip"),
  check("build", "bun", "compile.ts"),
  bunTest("tidy", "./test/tidy.test.ts"),
  bunTest("unit", "./test/unit"),
  bunTest("api", "./test/api"),
  bunTest("root", "./test/root"),
  bunTest("e2e", "./test/e2e"),
  check("deno types", "bunx", "deno", "check", "src", "runtime"),
  {
    name: "deno unit",
    command: ["bunx", "deno", "test", "-A", "--no-check", "test/unit"],
    counts: "deno",
    timeoutMin: 5,
  },
  // A few; a soak asks test/vm/power_cut.ts for a hundred.
  { ...check("power cut", "bun", "test/vm/power_cut.ts", "2"), timeoutMin: 6 },
  {
    name: "cgroup v2",
    command: ["test/vm/run.sh", `bun test --timeout 120000 ${IN_VM.join(" ")} 2>&1`],
    counts: "bun",
    timeoutMin: 11,
  },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !STAGES.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.log(`no stage ${unknown.join(", ")}; there are ${STAGES.map(({ name }) => name).join(", ")}`);
  process.exit(1);
}
const total: Outcome = { passed: 0, failed: 0 };
for (const stage of STAGES) {
  if (wanted.length > 0 && !wanted.includes(stage.name)) continue;
  const started = performance.now();
  console.log(`--- ${stage.name}`);
  const outcome = await runStage(stage);
  total.passed += outcome.passed;
  total.failed += outcome.failed;
  console.log(
    `--- ${stage.name}: ${outcome.passed} passed, ${outcome.failed} failed in ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);

async function runStage(stage: Stage): Promise<Outcome> {
  const [command = "", ...args] = stage.command;
  const { code, output } = await run(existsSync(command) ? `./${command}` : command, args, stage.timeoutMin * 60_000);
  if (stage.counts === "one") return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  const counted = count(stage, output);
  // A stage that dies, or that ran nothing at all, has failed, whatever it counted before.
  if (code !== 0 && counted.failed === 0) return { ...counted, failed: 1 };
  return counted.passed + counted.failed === 0 ? { passed: 0, failed: 1 } : counted;
}

function count(stage: Stage, output: string): Outcome {
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "").replaceAll("\r", "");
  const last = (pattern: RegExp): number => Number([...plain.matchAll(pattern)].at(-1)?.[1] ?? 0);
  if (stage.counts === "bun") return { passed: last(/^\s*(\d+) pass$/gm), failed: last(/^\s*(\d+) fail$/gm) };
  return { passed: last(/(\d+) passed/g), failed: last(/(\d+) failed/g) };
}

function run(command: string, args: string[], timeoutMs: number): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const keep = (chunk: Buffer): void => {
      process.stdout.write(chunk);
      output += chunk.toString("utf8");
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const timer = setTimeout(() => {
      console.log(`stopped after ${timeoutMs / 60_000} minutes`);
      child.kill("SIGKILL");
    }, timeoutMs);
    child.on("error", (error) => resolve({ code: 1, output: String(error) }));
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? 1, output });
    });
  });
}
