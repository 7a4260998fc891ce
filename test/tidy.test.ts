// The house rules as a test: who may import whom, one importer for what is dangerous, a header in each file, line width,
// nothing left to do later, and nothing that names the machine it was written on.
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = join(import.meta.dir, "..");
const LINE_WIDTH = 140;
const FILE_LINES = 600;

interface Source {
  path: string;
  text: string;
  /** Paths from the root for our own files; bare names for packages. */
  imports: string[];
}

const sources = ["src", "runtime", "test", "bench"]
  .flatMap((folder) => filesBelow(join(ROOT, folder)))
  .filter((path) => path.endsWith(".ts") && !path.includes("/migrations/"))
  .map(read);
const product = sources.filter(({ path }) => path.startsWith("src/") || path.startsWith("runtime/"));

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

function read(path: string): Source {
  const text = readFileSync(path, "utf8");
  const specifiers = [
    ...text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^;'"]*?from\s+["']([^"']+)["']|import\(["']([^"']+)["']\)/g),
  ];
  const imports = specifiers
    .map(([, one, other]) => one ?? other ?? "")
    .map((name) => (name.startsWith(".") ? relative(ROOT, resolve(dirname(path), name)) : name));
  return { path: relative(ROOT, path), text, imports };
}

/** `file imports x` for each import that a rule forbids. */
function offenders(files: Source[], forbidden: (source: Source, name: string) => boolean): string[] {
  return files.flatMap((source) =>
    source.imports.filter((name) => forbidden(source, name)).map((name) => `${source.path} imports ${name}`),
  );
}

test("runtime/ never imports src/", () => {
  expect(
    offenders(
      product.filter(({ path }) => path.startsWith("runtime/")),
      (_, name) => name.startsWith("src/"),
    ),
  ).toEqual([]);
});

test("src/ enters runtime/ through its doors", () => {
  // mod.ts is the door of the runtime; a subsystem with an interface of its own has one each, and Workers enter by theirs.
  const doors =
    /^runtime\/((mod|open|errors|bundle|facts|doctor|host)|(layer|snapshot|stdio|log|net|cgroup|launch|program|sys)\/\w+)\.ts$/;
  const engine = product.filter(({ path }) => path.startsWith("src/"));
  expect(offenders(engine, (_, name) => name.startsWith("runtime/") && !doors.test(name))).toEqual([]);
});

test("layers import downward only: main, daemon, api, engine, image and db, schema", () => {
  const rank = (path: string): number => {
    if (/^src\/(main|commands|daemon)/.test(path)) return 6;
    if (path.startsWith("src/api/")) return 5;
    if (path.startsWith("src/engine/")) return 4;
    if (path.startsWith("src/image/") || path.startsWith("src/db/")) return 3;
    return 1;
  };
  const engine = product.filter(({ path }) => /^src\/(api|engine|image|db|http|schema)\//.test(path));
  // src/engine/mod.ts holds the services' types; naming them is not calling upward.
  const typesOnly = (source: Source, name: string): boolean =>
    new RegExp(`import type [^;]*${name.split("/").at(-1)?.replace(".", "\\.")}`).test(source.text);
  expect(
    offenders(
      engine,
      (source, name) => name.startsWith("src/") && rank(name) > rank(source.path) && !typesOnly(source, name),
    ),
  ).toEqual([]);
});

test("the transport knows nothing of containers", () => {
  const http = product.filter(({ path }) => path.startsWith("src/http/"));
  expect(
    offenders(
      http,
      (source, name) =>
        /^src\/(api|db|image)\//.test(name) || (name.startsWith("src/engine/") && !source.text.includes(`import type`)),
    ),
  ).toEqual([]);
});

test("what is dangerous or heavy has one importer", () => {
  const only: [name: RegExp, allowed: RegExp][] = [
    [/^bun:ffi$/, /^runtime\/sys\/ffi\.ts$/],
    [/^(drizzle-orm|@libsql)/, /^src\/db\//],
    [/^hono/, /^src\/api\//],
    [/^node:sqlite$/, /^src\/db\/local\.ts$/],
  ];
  const wrong = only.flatMap(([name, allowed]) =>
    offenders(product, (source, imported) => name.test(imported) && !allowed.test(source.path)),
  );
  expect(wrong).toEqual([]);
});

test("argv and the environment are read in one place", () => {
  const wrong = product.filter(
    ({ path, text }) =>
      /process\.(argv|env)\b|(Bun|Deno)\.env\b|\b(argv|env)\b[^;]* from "node:process"/.test(text) &&
      !/^src\/(config|main|notify|config\/.*)\.ts$|^runtime\/deno\//.test(path),
  );
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

test("every file of the product is reached from an entry", () => {
  const reached = new Set<string>();
  // main.ts is the executable; its Worker is named by a URL, and Deno's adapters by the import map in deno.json.
  const entries = /^src\/(main|layer_worker)\.ts$|^runtime\/deno\//;
  const queue = product.map(({ path }) => path).filter((path) => entries.test(path));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    queue.push(...(product.find((source) => source.path === path)?.imports ?? []));
  }
  expect(product.map(({ path }) => path).filter((path) => !reached.has(path))).toEqual([]);
});

test("every unit test lies where its source does", () => {
  // A second test of one source has the source's name first: service_races.test.ts.
  const homes = (path: string): string[] => {
    const place = path.replace(/^test\/unit\//, "").replace(/\.test\.ts$/, "");
    const names = place.split("_").map((_, index, parts) => parts.slice(0, index + 1).join("_"));
    return names.flatMap((name) => [`src/${name}.ts`, `${name}.ts`, `test/${name}.ts`]);
  };
  const paths = new Set(sources.map(({ path }) => path));
  const unit = sources.map(({ path }) => path).filter((path) => path.startsWith("test/unit/"));
  expect(unit.filter((path) => !homes(path).some((home) => paths.has(home)))).toEqual([]);
});

test("every file opens with what it is for", () => {
  expect(
    sources
      .filter(({ text }) => !text.startsWith("//") && !text.startsWith("/**") && !text.startsWith("#!"))
      .map(({ path }) => path),
  ).toEqual([]);
});

test("no line is too wide and no file too long to read", () => {
  const wide = sources.flatMap(({ path, text }) =>
    text
      .split("\n")
      .flatMap((line, index) =>
        line.length > LINE_WIDTH && !/https?:|"sha256:|`/.test(line) ? [`${path}:${index + 1}`] : [],
      ),
  );
  // Tables of constants are data; they may be long.
  const long = product
    .filter(
      ({ path, text }) => text.split("\n").length > FILE_LINES && !/syscall_numbers|arch|seccomp_default/.test(path),
    )
    .map(({ path }) => path);
  expect({ wide, long }).toEqual({ wide: [], long: [] });
});

test("nothing is left for later, and no check is switched off", () => {
  const marks = new RegExp(
    [
      "TO" + "DO",
      "FIX" + "ME",
      "X" + "XX",
      "@ts-ig" + "nore",
      "@ts-no" + "check",
      "expect\\(tr" + "ue\\)",
      "\\.on" + "ly\\(",
    ].join("|"),
  );
  expect(
    sources.flatMap(({ path, text }) =>
      text.split("\n").flatMap((line, index) => (marks.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
    ),
  ).toEqual([]);
});

test("no default exports", () => {
  expect(product.filter(({ text }) => /^export default/m.test(text)).map(({ path }) => path)).toEqual([]);
});

test("nothing names the machine it was written on", () => {
  const marks = new RegExp(["/wo" + "rk/", "/tmp/h" + "-", "registry\\.npm" + "js", "deb\\.deb" + "ian"].join("|"));
  expect(sources.filter(({ text }) => marks.test(text)).map(({ path }) => path)).toEqual([]);
});
