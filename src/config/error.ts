// What is wrong with a command line, a configuration file or the place we are started in, in words for the person who wrote
// it. main.ts prints the message, with its cause, and exits with 1.
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
