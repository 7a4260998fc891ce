// A container's changes to a layer: a real overlay is mounted and changed, its upper directory becomes a tar, and that tar,
// unpacked over the same layers, shows the same tree. A second reader (bsdtar or GNU tar) agrees on every entry.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { applyLayer } from "../../runtime/layer/apply.ts";
import { compressLayer } from "../../runtime/layer/compress.ts";
import { diffLayer } from "../../runtime/layer/diff.ts";
import { copyLowers } from "../../runtime/snapshot/copy.ts";
import { digestOf } from "../support/images.ts";

const base = mkdtempSync(`${tmpdir()}/berth-diff-`);
const hooks = { onRead: () => undefined, checkAborted: () => undefined };
let scripts = 0;
const isOverlayThere = sh(`mkdir -p ${base}/probe/{l,u,w,m} && ${inOverlay(`${base}/probe`, "l", "true")}`).code === 0;
let umask = 0;

beforeAll(() => {
  umask = process.umask(0);
});
afterAll(() => {
  process.umask(umask);
  rmSync(base, { recursive: true, force: true });
});

function sh(script: string): { code: number; out: string } {
  const { stdout, stderr, exitCode } = Bun.spawnSync(["bash", "-c", `set -e; umask 022; ${script}`], {
    env: { LC_ALL: "C.UTF-8", TZ: "UTC", PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
  });
  return { code: exitCode, out: stdout.toString() + (exitCode === 0 ? "" : stderr.toString()) };
}

function must(script: string): string {
  const { code, out } = sh(script);
  if (code !== 0) throw new Error(`${script}: ${out}`);
  return out;
}

/** A script that runs with an overlay of a place's `l…`, `u` and `w` at its `m`, in a mount namespace of its own. */
function inOverlay(place: string, lower: string, script: string): string {
  const options = `lowerdir=${lower
    .split(":")
    .map((name) => `${place}/${name}`)
    .join(":")},upperdir=${place}/u,workdir=${place}/w,index=off,redirect_dir=off,metacopy=off`;
  const file = `${base}/script${++scripts}`;
  writeFileSync(file, `set -e; mount -t overlay overlay -o ${options} ${place}/m; cd ${place}/m\n${script}\n`);
  return `unshare -m bash ${file}`;
}

/** Everything that a tree shows of itself: kind, mode, owner, size, times, links, contents and attributes. */
const LOOK =
  `find . -path ./proc -prune -o -printf '%p|%y|%m|%U|%G|%l|' \\( -type d -printf '\\n' -o -printf '%n|%s|%T@\\n' \\) | sort;` +
  `find . -type f -exec sha256sum {} + | sort -k2; find . -type b -o -type c | sort | xargs -r stat -c '%n %t:%T';` +
  `python3 ${base}/xattrs.py`;

const XATTRS = `
import os
for top, dirs, files in os.walk(b"."):
    for name in sorted([b"."] + dirs + files):
        path = os.path.join(top, name)
        for attribute in sorted(os.listxattr(path, follow_symlinks=False)):
            if attribute.startswith(("user.", "security.capability", "system.posix")):
                print(path, attribute, os.getxattr(path, attribute, follow_symlinks=False).hex())
`;
writeFileSync(`${base}/xattrs.py`, XATTRS);

const BASE_TREE = `
  mkdir -p a/deep/er b/gone c etc dir-to-file hidden; echo one > a/f; echo two > b/g; echo x > b/gone/x; ln a/f a/hard
  echo keep > c/keep; echo t > file-to-dir; echo h > hidden/h; echo secret > etc/passwd; echo u > dir-to-file/u`;

const CHANGES = `
  echo changed > a/f; rm -r b/gone; rm c/keep; rm -r hidden; mkdir hidden; echo new > hidden/new
  rm file-to-dir; mkdir file-to-dir; echo in > file-to-dir/in; rm -r dir-to-file; echo f > dir-to-file
  mkdir -m 1777 sticky; cp /bin/true suid; chmod 4755 suid; chmod 2755 a/deep; chown 100000:3000000 a/deep/er
  mkfifo -m 640 pipe; mknod -m 600 dev b 7 300; mknod -m 666 char c 1 3; ln -s /etc/passwd link; ln -s ${"x".repeat(150)} longlink
  mkdir -p d1 d2; echo shared > d1/h1; ln d1/h1 d2/h2; ln d1/h1 z-last
  ln suid a/suid-too; setcap cap_net_raw+ep suid
  python3 -c 'import os; os.setxattr("d1/h1", "user.note", "höre\\0x".encode()); os.setxattr("d1", "user.dir", b"1")'
  mkdir -p ${"n".repeat(120)}/${"m".repeat(120)}; echo long > ${"n".repeat(120)}/${"m".repeat(120)}/${"o".repeat(100)}
  echo utf > 'ümlaut ☃'; printf 'latin' > $'caf\\xe9'; truncate -s 5M sparse; printf end >> sparse; : > empty
  head -c 3000000 /dev/urandom > big; touch -d '2001-02-03 04:05:06.123456789' big; touch -d '1960-01-01 00:00:00.5' old
  touch -d '1999-09-09 09:09:09.000000001' d2; touch -h -d '2005-05-05' link; chown -h 7:8 link
  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'; rm sock
  mkdir -p proc dev2 etc; : > etc/hosts; : > etc/hostname; touch -d '2011-01-01' etc`;

interface Made {
  place: string;
  tar: string;
  diffID: string;
  entries: number;
}

let count = 0;
/** Lower layers by scripts (the lowest first), then changes, then the diff. */
function make(layers: readonly string[], changes: string): Made {
  const place = `${base}/t${++count}`;
  const names = layers.map((_, index) => `l${index}`).toReversed();
  must(`mkdir -p ${place}/{u,w,m} ${names.map((name) => `${place}/${name}`).join(" ")}`);
  for (const [index, script] of layers.entries()) must(`cd ${place}/l${index}; ${script}`);
  must(inOverlay(place, names.join(":"), changes));
  return { ...diff(place, names, `${place}/out.tar`), place };
}

function diff(place: string, lower: string[], target: string, kind: "overlay" | "directory" = "overlay"): Made {
  const mountPoints = ["proc", "etc/hosts", "etc/hostname"];
  const upper = `${place}/u`;
  const made = diffLayer({ kind, upper, layersDir: place, lower, mountPoints, target }, () => undefined);
  return { place, tar: target, ...made };
}

/** The diff as a layer of its own on top of the others: what that shows. */
async function showApplied({ place, tar, diffID }: Made, lower: string): Promise<string> {
  mkdirSync(`${place}/new`, { mode: 0o755 });
  await applyLayer({ blobPath: tar, target: `${place}/new`, digest: null, diffID }, hooks);
  return must(
    `mkdir ${place}/n; mkdir ${place}/n/{u,w,m}; ln -s ${place}/new ${place}/n/new; for l in ${lower.replaceAll(":", " ")}; do ln -s ${place}/$l ${place}/n/$l; done; ` +
      `chmod --reference=${place}/new ${place}/n/u; chown --reference=${place}/new ${place}/n/u; ` +
      inOverlay(`${place}/n`, `new:${lower}`, LOOK),
  );
}

/** The same as the container saw it, without what the engine has made. */
function showOriginal(place: string, lower: string): string {
  return must(
    inOverlay(place, lower, `rm -rf proc etc/hosts etc/hostname; [ ! -d etc ] || touch -d '2011-01-01' etc; ${LOOK}`),
  );
}

describe.if(isOverlayThere)("on an overlay", () => {
  test("every feature of a tree survives", async () => {
    const made = make([BASE_TREE], CHANGES);
    const applied = await showApplied(made, "l0");
    expect(applied).toBe(showOriginal(made.place, "l0"));
    expect(applied).toContain("security.capability");
  });

  test("GNU tar and bsdtar read the same entries", () => {
    const { tar } = make([BASE_TREE], CHANGES);
    const gnu = must(`tar -tf ${tar} --quoting-style=literal`).split("\n");
    for (const name of ["a/f", "b/.wh.gone", "c/.wh.keep", "hidden/.wh..wh..opq", "d2/h2", "pipe", "dev"])
      expect(gnu).toContain(name);
    expect(gnu).not.toContain("proc/");
    expect(gnu).not.toContain("etc/hosts");
    expect(must(`tar -tvf ${tar} --full-time d2/h2 | grep -c 'link to d1/h1'`)).toBe("1\n");
    expect(must(`tar -tvf ${tar} --full-time big`)).toContain("2001-02-03 04:05:06");
    expect(must(`tar -tvf ${tar} a/deep/er --numeric-owner`)).toContain("100000/3000000");
    expect(must(`bsdtar -tf ${tar} | wc -l`)).toBe(must(`tar -tf ${tar} | wc -l`));
    expect(must(`bsdtar -tvf ${tar} dev`)).toMatch(/^brw-------.* 7,300 /);
  });

  test("the same changes give the same bytes, and the same blob", async () => {
    const first = make([BASE_TREE], CHANGES);
    const again = diff(first.place, ["l0"], `${first.place}/again.tar`);
    expect(again.diffID).toBe(first.diffID);
    expect(digestOf(readFileSync(first.tar))).toBe(first.diffID);
    const blobs = ["a", "b"].map((name) => ({ source: first.tar, target: `${first.place}/${name}.gz` }));
    const [one, two] = await Promise.all(blobs.map((blob) => compressLayer(blob, () => undefined)));
    expect(one).toEqual(two as NonNullable<typeof two>);
    expect(digestOf(readFileSync(`${first.place}/a.gz`))).toBe(one?.digest ?? "");
    expect(must(`gunzip -c < ${first.place}/a.gz | sha256sum`)).toContain(first.diffID.slice("sha256:".length));
  });

  test("what the engine makes for its mounts is no change, nor is the directory that it lies in", () => {
    const untouched = make([BASE_TREE], "mkdir proc; : > etc/hosts; : > etc/hostname");
    expect(untouched.entries).toBe(0);
    expect(untouched.diffID).toBe("sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
    const changed = make([BASE_TREE], ": > etc/hosts; chmod 700 etc");
    expect(must(`tar -tf ${changed.tar}`)).toBe("etc/\n");
    const written = make([BASE_TREE], "echo mine > etc/hosts");
    expect(must(`tar -tf ${written.tar}`)).toBe("etc/\netc/hosts\n");
  });

  test("the root's own mode and owner go along when they have changed", async () => {
    const made = make([BASE_TREE], "chmod 750 .; chown 5:6 .");
    expect(must(`tar -tvf ${made.tar} --numeric-owner`)).toMatch(/^drwxr-x--- 5\/6 .* \.\/\n$/);
    expect(await showApplied(made, "l0")).toContain(".|d|750|5|6|");
  });

  test("a directory that replaces one of several layers hides both", async () => {
    const layers = ["mkdir -p d/x; echo 1 > d/x/one", "mkdir -p d/x; echo 2 > d/x/two"];
    const made = make(layers, "rm -r d/x; mkdir d/x; echo 3 > d/x/three");
    const applied = await showApplied(made, "l1:l0");
    expect(applied).toBe(showOriginal(made.place, "l1:l0"));
    expect(applied).not.toContain("d/x/one");
  });

  test("an aborted diff ends at its next entry", () => {
    const { place } = make([BASE_TREE], CHANGES);
    const request = { kind: "overlay", upper: `${place}/u`, layersDir: place, lower: ["l0"], mountPoints: [] } as const;
    const abort = (): void => {
      throw new Error("given up");
    };
    expect(() => diffLayer({ ...request, target: `${place}/none.tar` }, abort)).toThrow("given up");
  });
});

describe("where every container has a whole copy", () => {
  function copied(changes: string): Made {
    const place = `${base}/c${++count}`;
    must(
      `mkdir -p ${place}/{u,l0,l1}; cd ${place}/l0; ${BASE_TREE}; cd ${place}/l1; echo top > c/top 2>/dev/null || { mkdir c; echo top > c/top; }; mknod a c 0 0`,
    );
    copyLowers(place, ["l1", "l0"], `${place}/u`, () => undefined);
    must(`cd ${place}/u; ${changes}`);
    return diff(place, ["l1", "l0"], `${place}/out.tar`, "directory");
  }

  test("nothing has changed in a fresh one", () => {
    expect(must(`tar -tf ${copied("mkdir proc").tar}`)).toBe("");
  });

  test("only what differs from the layers is there", () => {
    const { tar } = copied(
      "echo more >> c/keep; rm b/g; rm -r hidden; ln -sfn elsewhere link; mkdir -m 700 fresh; echo 1 > fresh/1; chmod 600 etc/passwd",
    );
    expect(must(`tar -tf ${tar}`).trim().split("\n")).toEqual([
      "b/.wh.g",
      "c/keep",
      "etc/passwd",
      "fresh/",
      "fresh/1",
      ".wh.hidden",
      "link",
    ]);
  });
});

test("a file that is there already is not written over", () => {
  must(`mkdir -p ${base}/w/u`);
  writeFileSync(`${base}/w/taken`, "mine");
  const request = {
    kind: "directory",
    upper: `${base}/w/u`,
    layersDir: `${base}/w`,
    lower: [],
    mountPoints: [],
  } as const;
  expect(() => diffLayer({ ...request, target: `${base}/w/taken` }, () => undefined)).toThrow(/EEXIST/);
  expect(readFileSync(`${base}/w/taken`, "utf8")).toBe("mine");
});
