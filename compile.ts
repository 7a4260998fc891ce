// The one build: `bun compile.ts [--target linux-x64|linux-arm64|linux-x64-musl|linux-arm64-musl]` makes dist/berth, or
// dist/berth-<target> for another machine. One executable with the runtime, every Worker, the migrations and the assets
// inside, and no native addon. The same sources give the same bytes: nothing of the time or place of the build goes in but
// the version, the commit and the commit's date.
import { spawnSync } from "node:child_process";
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import manifest from "./package.json" with { type: "json" };

/** Environment variables that would turn the daemon back into a plain bun, or load code into it. No flag turns them off. */
const FOREIGN_VARIABLES = ["BUN_BE_BUN", "BUN_OPTIONS", "BUN_INSPECT"];

const host = `linux-${process.arch}`;
const { values } = parseArgs({ options: { target: { type: "string", default: host } } });
const target = values.target.replace(/^bun-/, "");
const outfile = target === host ? "dist/berth" : `dist/berth-${target}`;

const built = await Bun.build({
  // A Worker's file lies beside main.ts and is an entry point of its own: Bun resolves it from there in the executable.
  entrypoints: ["src/main.ts", "src/layer_worker.ts"],
  target: "bun",
  format: "esm",
  minify: true,
  bytecode: true,
  sourcemap: "linked",
  define: {
    BERTH_VERSION: JSON.stringify(manifest.version),
    BERTH_COMMIT: JSON.stringify(git("rev-parse", "--short=12", "HEAD")),
    BERTH_BUILD_TIME: JSON.stringify(git("log", "-1", "--format=%cI")),
  },
  compile: {
    target: `bun-${target}` as Bun.Build.CompileTarget,
    outfile,
    assets: ["src/db/migrations"],
    // A root daemon reads nothing from the directory it happens to start in.
    autoloadDotenv: false,
    autoloadBunfig: false,
  },
});
if (!built.success) throw new AggregateError(built.logs, `cannot build ${outfile}`);
rmSync(`${outfile}.map`, { force: true });

const executable = readFileSync(outfile);
for (const name of FOREIGN_VARIABLES) blank(executable, name);
// WHY a new file: the kernel refuses to overwrite an executable that runs (ETXTBSY).
writeFileSync(`${outfile}.new`, executable);
chmodSync(`${outfile}.new`, 0o755);
renameSync(`${outfile}.new`, outfile);
console.log(`${outfile} ${(executable.length / 1e6).toFixed(1)} MB`);

/** Makes every place that spells the variable's name spell one that no environment holds. */
function blank(bytes: Buffer, name: string): void {
  let found = 0;
  for (let at = bytes.indexOf(name); at >= 0; at = bytes.indexOf(name, at + 1), found++) bytes[at + 2] = 0x01;
  if (found === 0) throw new Error(`${name} is not in this bun: look again at what it reads from the environment`);
}

/** One line from git; `unknown` outside a checkout, so that a source archive builds too. */
function git(...args: string[]): string {
  const done = spawnSync("git", args, { encoding: "utf8" });
  return done.status === 0 ? done.stdout.trim() : "unknown";
}
