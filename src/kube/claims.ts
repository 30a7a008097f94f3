/** That something (an address, a port) belonged to a holder from one time to another; newest first. Unix milliseconds. */
export interface Claim<H> {
  holder: H;
  fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
  older: Claim<H> | undefined;
}

/** How long the last holder is still told after its end, when nobody else came. */
export const RETENTION_MS = 15 * 60_000;

/**
 * How much earlier than its first known moment a first holder is told: the API server tells of an address a moment after
 * it is in use, and whole seconds are its clock.
 */
const EARLY_MS = 10_000;

/** Who held it at a time: the one whose time it was, else the last one before, while it is remembered. */
export function holderAt<H>(newest: Claim<H> | undefined, timeMs: number): H | undefined {
  return claimAt(newest, timeMs)?.holder;
}

/** The claim by which {@link holderAt} tells. */
export function claimAt<H>(newest: Claim<H> | undefined, timeMs: number): Claim<H> | undefined {
  let claim = newest;
  while (claim) {
    if (timeMs >= claim.fromMs) return timeMs <= claim.toMs + RETENTION_MS ? claim : undefined;
    if (!claim.older) return timeMs >= claim.fromMs - EARLY_MS ? claim : undefined;
    claim = claim.older;
  }
  return undefined;
}

/** The one whose time it was, and nobody before or after. */
export function coveringHolder<H>(newest: Claim<H> | undefined, timeMs: number): H | undefined {
  let claim = newest;
  while (claim && timeMs < claim.fromMs) claim = claim.older;
  return claim && timeMs <= claim.toMs ? claim.holder : undefined;
}

/** When the last claim ended; 0 while it lasts, and where there is none. */
export function endOf(newest: Claim<unknown> | undefined): number {
  return newest && newest.toMs !== Number.POSITIVE_INFINITY ? newest.toMs : 0;
}

/** The holder of now: of a claim that lasts. */
export function currentHolder<H>(newest: Claim<H> | undefined): H | undefined {
  return newest?.toMs === Number.POSITIVE_INFINITY ? newest.holder : undefined;
}

/**
 * A new claim on top of the chain; one that still lasts ends with its beginning. The holder of before goes on where it left.
 * @param fromMs moved forward where it would begin before the one below it
 */
export function claim<H>(newest: Claim<H> | undefined, holder: H, fromMs: number): Claim<H> {
  if (newest?.holder === holder) {
    newest.toMs = Number.POSITIVE_INFINITY;
    return newest;
  }
  const start = newest ? Math.max(fromMs, newest.fromMs) : fromMs;
  if (newest && newest.toMs > start) newest.toMs = start;
  return { holder, fromMs: start, toMs: Number.POSITIVE_INFINITY, older: shortened(newest, start - RETENTION_MS) };
}

/** Ends the holder's claim if it still lasts. Returns whether it did. */
export function release<H>(newest: Claim<H> | undefined, holder: H, atMs: number): boolean {
  if (newest?.holder !== holder || newest.toMs !== Number.POSITIVE_INFINITY) return false;
  newest.toMs = Math.max(atMs, newest.fromMs);
  return true;
}

/** The chain without what ended at or before a time. */
export function forget<H>(newest: Claim<H> | undefined, beforeMs: number): Claim<H> | undefined {
  if (!newest || newest.toMs <= beforeMs) return undefined;
  for (let claim = newest; claim.older; claim = claim.older) {
    if (claim.older.toMs <= beforeMs) {
      claim.older = undefined;
      break;
    }
  }
  return newest;
}

/** An address that is passed on all the time keeps this many of its holders. */
const MAX_OLDER = 32;

function shortened<H>(newest: Claim<H> | undefined, beforeMs: number): Claim<H> | undefined {
  const kept = forget(newest, beforeMs);
  let last = kept;
  for (let i = 1; last && i < MAX_OLDER; i += 1) last = last.older;
  if (last) last.older = undefined;
  return kept;
}
