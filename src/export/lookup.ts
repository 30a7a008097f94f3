import { type LookupAddress, lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';

/** A name is asked for once in this time at most: the questions cross the network that is watched. */
const KEEP_MS = 60_000;

/**
 * `dns.lookup` for connections to one host; the answer is remembered until it is forgotten.
 * @param onAddress is told every address before it is connected to
 */
export function rememberedLookup(onAddress: (ip: string) => void): { lookup: LookupFunction; forget(): void } {
  let known: { addresses: LookupAddress[]; untilMs: number } | undefined;
  return {
    lookup(host, options, callback) {
      const answer = (addresses: LookupAddress[]): void => {
        const [first] = addresses;
        if (options.all === true) callback(null, addresses);
        else callback(null, first?.address ?? '', first?.family);
      };
      if (known !== undefined && performance.now() < known.untilMs) {
        answer(known.addresses);
        return;
      }
      lookup(host, { ...options, all: true }, (error, addresses) => {
        if (error !== null) {
          callback(error, '');
          return;
        }
        known = { addresses, untilMs: performance.now() + KEEP_MS };
        for (const { address } of addresses) onAddress(address);
        answer(addresses);
      });
    },
    forget() {
      known = undefined;
    },
  };
}
