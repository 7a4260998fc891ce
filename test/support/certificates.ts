// Certificates for tests, made by openssl: an authority of its own, a server's and a client's, as PEM.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestCertificates {
  authority: string;
  /** For the names given. */
  server: { cert: string; key: string };
  client: { cert: string; key: string };
}

/** `names` as subjectAltName has them: `DNS:registry.test`, `IP:127.0.0.1`. */
export function makeCertificates(names: readonly string[]): TestCertificates {
  const directory = mkdtempSync(join(tmpdir(), "berth-certificates-"));
  const openssl = (...args: string[]): void => {
    const ran = Bun.spawnSync(["openssl", ...args], { cwd: directory });
    if (ran.exitCode !== 0) throw new Error(ran.stderr.toString());
  };
  const read = (name: string): string => readFileSync(join(directory, name), "utf8");
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const pair = (name: string, extension: string) => {
    openssl("req", ...key, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    Bun.spawnSync(["sh", "-c", `printf '%s' "$1" > "$2"`, "sh", extension, join(directory, `${name}.ext`)]);
    const by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", `${name}.ext`];
    openssl("x509", "-req", "-in", `${name}.csr`, ...by, "-out", `${name}.crt`);
    return { cert: read(`${name}.crt`), key: read(`${name}.key`) };
  };
  try {
    openssl("req", "-x509", ...key, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt");
    return {
      authority: read("ca.crt"),
      server: pair("server", `subjectAltName=${names.join(",")}`),
      client: pair("client", "extendedKeyUsage=clientAuth"),
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}
