// What a volume driver can do: the local one (local.ts), and those of plugins (plugin_driver.ts).

export interface DriverVolume {
  /** Where its files lie, as far as the driver can say while it is not mounted; "" if not. */
  mountpoint: string;
  /** RFC 3339; "" where the driver does not know. */
  createdAt: string;
  /** What the driver says of it, for inspect. */
  status: Readonly<Record<string, unknown>>;
}

export interface VolumeDriver {
  readonly name: string;
  /** `local`: a volume is of this machine; `global`: the same name is the same volume on every machine. */
  readonly scope: string;
  /** Throws `invalid` for a name or options that cannot be. Nothing is made. */
  check(name: string, options: Readonly<Record<string, string>>): void;
  create(name: string, options: Readonly<Record<string, string>>): Promise<void>;
  remove(name: string): Promise<void>;
  /** Throws notFound. */
  get(name: string): Promise<DriverVolume>;
  list(): Promise<string[]>;
  /** Makes its files reachable on behalf of a user; each user once. Returns where. */
  mount(name: string, options: Readonly<Record<string, string>>, user: string): Promise<string>;
  /** The user's time is over. Whether it is still mounted for others is the driver's to know. */
  unmount(name: string, user: string): Promise<void>;
}
