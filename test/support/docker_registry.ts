// Debian's docker-registry on loopback inside a test daemon's network namespace: plain, with TLS, or with htpasswd.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run, type TestDaemon, until } from "./daemon.ts";

export interface RegistryOptions {
  port: number;
  tls?: boolean;
  /** Instead of a certificate of its own making. */
  certificate?: { cert: string; key: string };
  /** Where it listens; 127.0.0.1 when not said. */
  address?: string;
  /** What clients call it; localhost when not said. */
  name?: string;
  /** Ends the connection of each client that brings no token of this issuer. */
  tokens?: { realm: string; service: string; issuer: string; certificate: string };
  /** user and password for htpasswd. */
  login?: { username: string; password: string };
}

export class DockerRegistry implements AsyncDisposable {
  private constructor(
    readonly host: string,
    private readonly process: Bun.Subprocess,
  ) {}

  static async start(daemon: TestDaemon, options: RegistryOptions): Promise<DockerRegistry> {
    const directory = join(daemon.directory, `registry-${options.port}`);
    mkdirSync(directory, { recursive: true });
    const lines = [
      "version: 0.1",
      "log: {level: error, accesslog: {disabled: true}}",
      `storage: {filesystem: {rootdirectory: ${join(directory, "data")}}, delete: {enabled: true}}`,
      "http:",
      `  addr: ${options.address ?? "127.0.0.1"}:${options.port}`,
    ];
    if (options.certificate) {
      const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
      writeFileSync(key, options.certificate.key);
      writeFileSync(certificate, options.certificate.cert);
      lines.push(`  tls: {certificate: ${certificate}, key: ${key}}`);
    } else if (options.tls) {
      const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
      const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
      await must([
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        key,
        "-out",
        certificate,
        ...subject,
      ]);
      lines.push(`  tls: {certificate: ${certificate}, key: ${key}}`);
    }
    if (options.login) {
      const made = await run(["htpasswd", "-Bbn", options.login.username, options.login.password]);
      writeFileSync(join(directory, "htpasswd"), made.stdout);
      lines.push(`auth: {htpasswd: {realm: test, path: ${join(directory, "htpasswd")}}}`);
    }
    if (options.tokens) {
      const { realm, service, issuer, certificate } = options.tokens;
      const bundle = join(directory, "issuer.pem");
      writeFileSync(bundle, certificate);
      lines.push(`auth: {token: {realm: ${realm}, service: ${service}, issuer: ${issuer}, rootcertbundle: ${bundle}}}`);
    }
    writeFileSync(join(directory, "config.yml"), `${lines.join("\n")}\n`);
    const process = Bun.spawn(
      ["nsenter", "-t", String(daemon.holderPID), "-n", "docker-registry", "serve", join(directory, "config.yml")],
      {
        stdio: ["ignore", "ignore", "ignore"],
      },
    );
    const scheme = options.tls || options.certificate ? "https" : "http";
    await until("the registry answers", async () => {
      const answer = await daemon.inside([
        "curl",
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        `${scheme}://${options.address ?? "127.0.0.1"}:${options.port}/v2/`,
      ]);
      return answer.stdout === "200" || answer.stdout === "401";
    });
    return new DockerRegistry(`${options.name ?? "localhost"}:${options.port}`, process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.exited;
  }
}

async function must(command: string[]): Promise<void> {
  const ran = await run(command);
  if (ran.code !== 0) throw new Error(`${command.join(" ")}: ${ran.stderr}`);
}
