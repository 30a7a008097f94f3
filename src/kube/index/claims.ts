import { RETENTION_MS } from '../../event/gone.ts';

/** That something (an address, a port) belonged to a holder from one time to another; newest first. Unix milliseconds. */
export interface Claim<H> {
  holder: H;
  fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
  older: Claim<H> | undefined;
  /** Who claims it, too, and holds it when this one ends; the next one first. Nearly always nobody. */
  waiting: H[] | undefined;
}

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
  return coveringClaim(newest, timeMs)?.holder;
}

/** The claim by which {@link coveringHolder} tells. */
export function coveringClaim<H>(newest: Claim<H> | undefined, timeMs: number): Claim<H> | undefined {
  let claim = newest;
  while (claim && timeMs < claim.fromMs) claim = claim.older;
  return claim && timeMs <= claim.toMs ? claim : undefined;
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
 * @param displaces whom it takes the place of, the holder's or in waiting; behind others it waits until they end
 */
export function claim<H>(newest: Claim<H> | undefined, holder: H, fromMs: number, displaces: (other: H) => boolean): Claim<H> {
  if (newest?.holder === holder) {
    newest.toMs = Number.POSITIVE_INFINITY;
    return newest;
  }
  const current = currentHolder(newest);
  if (newest && current !== undefined && !displaces(current)) {
    newest.waiting ??= [];
    const place = newest.waiting.findIndex((one) => one === holder || displaces(one));
    newest.waiting[place === -1 ? newest.waiting.length : place] = holder;
    return newest;
  }
  return onTop(newest, holder, fromMs);
}

/** For {@link claim}. */
export const everybody = (): boolean => true;
export const nobody = (): boolean => false;

/** Ends the holder's claim if it still lasts, and its waiting. Returns whether it did hold it; {@link next} is to follow then. */
export function release<H>(newest: Claim<H> | undefined, holder: H, atMs: number): boolean {
  if (!newest || newest.toMs !== Number.POSITIVE_INFINITY) return false;
  if (newest.holder !== holder) {
    newest.waiting = newest.waiting?.filter((one) => one !== holder);
    return false;
  }
  newest.toMs = Math.max(atMs, newest.fromMs);
  return true;
}

/** The chain after the end of its newest claim: with the one on top that waited for it, if one did. */
export function next<H>(newest: Claim<H>): Claim<H> {
  const holder = newest.waiting?.shift();
  return holder === undefined ? newest : onTop(newest, holder, newest.toMs);
}

function onTop<H>(newest: Claim<H> | undefined, holder: H, fromMs: number): Claim<H> {
  const start = newest ? Math.max(fromMs, newest.fromMs) : fromMs;
  if (newest && newest.toMs > start) newest.toMs = start;
  const waiting = newest?.waiting;
  if (newest) newest.waiting = undefined;
  return { holder, fromMs: start, toMs: Number.POSITIVE_INFINITY, older: forget(newest, start - RETENTION_MS), waiting };
}

/** The chain without what ended at or before a time, of these holders. */
export function forget<H>(
  newest: Claim<H> | undefined,
  beforeMs: number,
  isMeant: (holder: H) => boolean = everybody,
): Claim<H> | undefined {
  const isOver = ({ toMs, holder }: Claim<H>): boolean => toMs <= beforeMs && isMeant(holder);
  let first = newest;
  while (first && isOver(first)) first = first.older;
  for (let claim = first; claim?.older; ) {
    if (isOver(claim.older)) claim.older = claim.older.older;
    else claim = claim.older;
  }
  return first;
}

/** An address that is passed on all the time keeps this many of its holders. */
const MAX_OLDER = 32;

/** A chain that has become too long without its oldest claim of these holders, else without its oldest. */
export function shortened<H>(newest: Claim<H>, isMeant: (holder: H) => boolean): Claim<H> {
  let length = 0;
  let before = newest;
  let beforeMeant: Claim<H> | undefined;
  for (let claim = newest; claim.older; claim = claim.older) {
    length += 1;
    before = claim;
    if (isMeant(claim.older.holder)) beforeMeant = claim;
  }
  if (length <= MAX_OLDER) return newest;
  const last = beforeMeant ?? before;
  last.older = last.older?.older;
  return newest;
}
