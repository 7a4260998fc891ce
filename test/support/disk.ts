// Directories on a file system that can show its owners through a user namespace. Where the usual place for temporary files
// cannot (tmpfs before Linux 6.3), BERTH_TEST_DISK names one that can.
import process from "node:process";

/** What `make` puts below tmpdir() when it is called lies there. */
export function onDisk<Made>(make: () => Made): Made {
  const usual = process.env["TMPDIR"];
  const disk = process.env["BERTH_TEST_DISK"];
  if (disk !== undefined) process.env["TMPDIR"] = disk;
  try {
    return make();
  } finally {
    if (usual === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = usual;
  }
}
