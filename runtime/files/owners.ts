// Files of a running container in a user namespace, touched from outside: its IDs are others here, and what is made there
// has to be made by an ID that it knows, or the kernel refuses it (EOVERFLOW).
import type { OciIDMapping } from "../bundle.ts";
import { hostID } from "../launch/namespaces.ts";
import { LayerError } from "../layer/layer_error.ts";
import type { IDMaps } from "../mod.ts";
import { runBatch } from "../program/batch.ts";
import { Calls } from "../program/calls.ts";
import { Label, Load, type Ref } from "../program/program.ts";
import { hostArch } from "../sys/arch.ts";
import { Fd } from "../sys/fd.ts";
import { O } from "../sys/file.ts";
import {
  deviceNumber,
  makeDirectoryEntry,
  makeNodeEntry,
  makeSymlinkEntry,
  openEntry,
  type RawName,
} from "../sys/tree.ts";

/** What an ID that no map knows is inside: /proc/sys/kernel/overflowuid, which nobody changes. */
const NOBODY = 65534;
const PR_GET_SECUREBITS = 27,
  PR_SET_SECUREBITS = 28;

export interface Owner {
  uid: number;
  gid: number;
}

/** As the container sees it. */
export function ownerInside({ uid, gid }: Owner, maps: IDMaps | null): Owner {
  if (maps === null) return { uid, gid };
  return { uid: inside(uid, maps.uidMappings), gid: inside(gid, maps.gidMappings) };
}

function inside(id: number, mappings: readonly OciIDMapping[]): number {
  const found = mappings.find(({ hostID: first, size }) => id >= first && id < first + size);
  return found ? found.containerID + (id - found.hostID) : NOBODY;
}

/** As the host sees it. Throws LayerError for one that the container cannot have. */
export function ownerOutside({ uid, gid }: Owner, maps: IDMaps | null): Owner {
  if (maps === null) return { uid, gid };
  try {
    return { uid: hostID(uid, maps.uidMappings), gid: hostID(gid, maps.gidMappings) };
  } catch (cause) {
    throw new LayerError(`the owner ${uid}:${gid} cannot be had in the container's user namespace`, { cause });
  }
}

/** What makes files: for an owner other than ourselves, by IDs that are taken for that one call. */
export interface Maker {
  directory(parent: Fd, name: RawName, mode: number): void;
  node(parent: Fd, name: RawName, mode: number, major: number, minor: number): void;
  symlink(parent: Fd, name: RawName, target: RawName): void;
  /** O_EXCL. */
  file(parent: Fd, name: RawName, mode: number): Fd;
}

const CREATE = O.WRONLY | O.CREAT | O.EXCL;

const PLAIN: Maker = {
  directory: makeDirectoryEntry,
  node: makeNodeEntry,
  symlink: makeSymlinkEntry,
  file: (parent, name, mode) => openEntry(parent, name, CREATE, mode),
};

export function makerOf(maps: IDMaps | null): Maker {
  if (maps === null) return PLAIN;
  const root = ownerOutside({ uid: 0, gid: 0 }, maps);
  const make = (add: (calls: Calls, made: Ref, back: Label) => void): number => asOwner(root, add);
  return {
    directory(parent, name, mode) {
      make((calls, _made, error) => calls.step("mkdirat", [parent.number, name, mode], { error, title: "mkdirat" }));
    },
    node(parent, name, mode, major, minor) {
      const device = deviceNumber(major, minor);
      make((calls, _made, error) =>
        calls.step("mknodat", [parent.number, name, mode, device], { error, title: "mknodat" }),
      );
    },
    symlink(parent, name, target) {
      make((calls, _made, error) =>
        calls.step("symlinkat", [target, parent.number, name], { error, title: "symlinkat" }),
      );
    },
    file(parent, name, mode) {
      const flags = CREATE | O.NOFOLLOW | O.CLOEXEC;
      return new Fd(
        make((calls, out, error) =>
          calls.step("openat", [parent.number, name, flags, mode], { out, error, title: "openat" }),
        ),
      );
    },
  };
}

/**
 * One call with the file IDs of `owner` and all rights. INVARIANT: one batch, as with namespaces (runtime/program/batch.ts):
 * a thread that Bun starts in between would keep them for good. The way back is taken on an error too.
 */
function asOwner(owner: Owner, add: (calls: Calls, made: Ref, back: Label) => void): number {
  const calls = new Calls(hostArch());
  const [made, bits, uid, gid] = [calls.slot(), calls.slot(), calls.slot(), calls.slot()];
  const back = new Label("be ourselves again");
  calls.step("prctl", [PR_GET_SECUREBITS, 0, 0, 0, 0], { out: bits, title: "PR_GET_SECUREBITS" });
  calls.setFileIDs(owner, { uid, gid });
  add(calls, made, back);
  calls.mark(back);
  calls.step("setfsuid", [new Load(uid)]);
  calls.step("setfsgid", [new Load(gid)]);
  calls.step("prctl", [PR_SET_SECUREBITS, new Load(bits), 0, 0, 0], { error: 1, title: "PR_SET_SECUREBITS" });
  calls.mark(calls.failure);
  calls.end();
  return runBatch(calls)(made);
}
