/**
 * Which Services have an address as an endpoint. Counted, because several slices, and one slice several times, may have the same address. Nearly all
 * of 150,000 endpoints are in one Service and counted once: for those only the name is kept.
 */
export class EndpointServices {
  readonly #byIp = new Map<string, string | Map<string, number>>();

  /** Adds the Services of an address to a set. */
  addTo(found: Set<string>, ip: string): void {
    const known = this.#byIp.get(ip);
    if (typeof known === 'string') found.add(known);
    else for (const key of known?.keys() ?? []) found.add(key);
  }

  add(ip: string, service: string): void {
    const known = this.#byIp.get(ip);
    if (known === undefined) {
      this.#byIp.set(ip, service);
      return;
    }
    const counts = typeof known === 'string' ? new Map([[known, 1]]) : known;
    this.#byIp.set(ip, counts.set(service, (counts.get(service) ?? 0) + 1));
  }

  remove(ip: string, service: string): void {
    const known = this.#byIp.get(ip);
    if (known === undefined || typeof known === 'string') {
      if (known === service) this.#byIp.delete(ip);
      return;
    }
    const count = (known.get(service) ?? 0) - 1;
    if (count > 0) known.set(service, count);
    else known.delete(service);
    if (known.size === 0) this.#byIp.delete(ip);
  }
}
