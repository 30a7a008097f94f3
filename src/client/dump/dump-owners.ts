import { RETENTION_MS } from '../../event/gone.ts';
import type { AddressOwner, Target } from '../../event/target.ts';
import { MAX_CLIENT_FRAME_BYTES } from '../../protocol/constants.ts';
import type { RecordedAnswer } from '../wire/node-question.ts';
import type { Recordings } from './dump-nodes.ts';
import { endpointOwners } from './services.ts';

export interface OwnersWanted {
  targets: readonly Target[];
  sinceMs: number;
  untilMs: number;
  /** This pod's alone. */
  uid?: string | undefined;
}

/** What an agent takes with one question: so many, and so many bytes of them; the rest is for the targets and the filter. */
const MOST_OWNERS = 65_536;
const MOST_BYTES = (MAX_CLIENT_FRAME_BYTES * 3) / 4;

/**
 * Who of the targets had which address at that time, on all nodes: by this a node knows the other end of what it saw. Of more than agents take, the latest;
 * `left` counts the others. Where everything is asked for nobody has to be known.
 */
export function ownersOf(
  { asked, answers }: Recordings,
  { targets, sinceMs, untilMs, uid }: OwnersWanted,
): { owners: AddressOwner[]; left: number } {
  if (uid === undefined && targets.some(({ kind }) => kind === 'all')) return { owners: [], left: 0 };
  // What was sent to a pod that had just gone is its.
  const all = [...podOwners(answers, uid), ...endpointOwners({ asked }, targets)]
    .filter(({ fromMs, toMs = Infinity }) => fromMs <= untilMs && toMs + RETENTION_MS >= sinceMs)
    .sort((a, b) => a.fromMs - b.fromMs);
  const owners = latest(all);
  return { owners, left: all.length - owners.length };
}

function latest(all: readonly AddressOwner[]): AddressOwner[] {
  let from = all.length;
  for (let bytes = 0; from > 0 && all.length - from < MOST_OWNERS; from -= 1) {
    bytes += JSON.stringify(all[from - 1]).length + 1;
    if (bytes > MOST_BYTES) break;
  }
  return all.slice(from);
}

function podOwners(answers: readonly RecordedAnswer[], only: string | undefined): AddressOwner[] {
  return answers.flatMap(({ pods }) =>
    pods
      .filter(({ uid }) => only === undefined || uid === only)
      .flatMap(({ uid, ips, fromMs, toMs }) => ips.map((ip) => ({ ip, uid, fromMs, ...(toMs === undefined ? {} : { toMs }) }))),
  );
}
