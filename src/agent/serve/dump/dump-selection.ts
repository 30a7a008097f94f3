import { endsOf } from '../../../event/ends.ts';
import type { RecordedService } from '../../../event/service.ts';
import type { AddressOwner, Target } from '../../../event/target.ts';
import type { Endpoint, FlowEvent, PacketEvent, PodRef } from '../../../event/types.ts';
import { isOwnedBy } from '../../../kube/owned-by.ts';
import { parseSelector, selects } from '../../../util/label-selector.ts';

/** Which of the records are of the targets. */
export interface DumpSelection {
  isOf(event: PacketEvent | FlowEvent, timeMs: number): boolean;
  /** Is it one of the targets' pods? */
  isPod(pod: PodRef): boolean;
  /** Is it one of the targets' Services, or one that any of these pods was behind? */
  isService(service: RecordedService, isTargetsPod: (uid: string) => boolean): boolean;
  /** Whether a record's line may be of one, or of a loss, by the names and addresses in it: much cheaper than to parse it. */
  mayBeIn(line: string): boolean;
  /** What a block holds that has such a record; undefined: any may. */
  keys: readonly string[] | undefined;
}

/** Beyond so many keys nearly every block may hold one. */
const MAX_KEYS = 64;
/** To look for more words takes as long as to parse the line. */
const MAX_WORDS = 8;

/**
 * A target of a dump means pods by the names that they had. An end that its node could name is judged by that name; one that it could not (a pod of
 * another node) by who had the address then, as the other nodes' recordings say (`owners`).
 */
export function dumpSelection(targets: readonly Target[], owners: readonly AddressOwner[]): DumpSelection {
  const tests = targets.map(endTest);
  const byIp = new Map<string, AddressOwner[]>();
  for (const owner of owners) byIp.set(owner.ip, [...(byIp.get(owner.ip) ?? []), owner]);
  const uids = new Set(owners.map(({ uid }) => uid));
  const isWanted = (end: Endpoint, timeMs: number): boolean => {
    if (tests.some((test) => test(end))) return true;
    if (end.pod !== undefined) return uids.has(end.pod.uid);
    return byIp.get(end.ip)?.some(({ fromMs, toMs }) => timeMs >= fromMs && (toMs === undefined || timeMs <= toMs)) === true;
  };
  const services = targets.flatMap((target) => (target.kind === 'service' ? [`${target.namespace}/${target.name}`] : []));
  const keys = keysOf(targets, owners, services);
  const words = wordsOf(keys);
  return {
    mayBeIn: (line) => words === undefined || words.some((word) => line.includes(word)) || line.includes('"kind":"lost"'),
    isOf(event, timeMs) {
      if (endsOf(event).some((end) => isWanted(end, timeMs))) return true;
      return event.nat?.some(({ service }) => services.includes(service?.split(':')[0] ?? '')) === true;
    },
    isPod: (pod) => tests.some((test) => test({ ip: '', pod })),
    isService: ({ namespace, name, endpoints }, isTargetsPod) =>
      targets.some((target) => isServiceOf(target, namespace, name)) ||
      endpoints.some(({ pod }) => pod !== undefined && isTargetsPod(pod.uid)),
    keys,
  };
}

function isServiceOf(target: Target, namespace: string, name: string): boolean {
  if (target.kind === 'all') return true;
  if (target.kind === 'namespace') return target.name === namespace;
  return target.kind === 'service' && target.namespace === namespace && target.name === name;
}

/** Pods by name, and in `owners` by uid and address; Services by name; what else a target may mean is not in the index. */
function keysOf(targets: readonly Target[], owners: readonly AddressOwner[], services: string[]): string[] | undefined {
  if (targets.some(({ kind }) => kind !== 'pod' && kind !== 'service')) return undefined;
  const pods = targets.flatMap((target) => (target.kind === 'pod' ? [`pod ${target.namespace}/${target.name}`] : []));
  const keys = [...new Set([...pods, ...owners.flatMap(({ ip, uid }) => [ip, uid]), ...services.map((name) => `svc ${name}`)])];
  return keys.length > MAX_KEYS ? undefined : keys;
}

/** What stands in every record that has one of these keys; undefined: anything may. */
function wordsOf(keys: readonly string[] | undefined): readonly string[] | undefined {
  if (keys === undefined) return undefined;
  const words = new Set(keys.map((key) => key.replace(/^(pod|svc) .*\//, '')));
  return words.size > MAX_WORDS ? undefined : [...words];
}

function endTest(target: Target): (end: Endpoint) => boolean {
  switch (target.kind) {
    case 'all':
      return () => true;
    case 'node':
      return ({ pod, node }) => node === target.name || pod?.node === target.name;
    case 'namespace':
      return ({ pod, service }) => (pod ?? service)?.namespace === target.name;
    case 'service':
      return ({ service }) => service?.namespace === target.namespace && service.name === target.name;
    case 'pod':
      return ({ pod }) => pod?.namespace === target.namespace && pod.name === target.name;
    case 'selector': {
      const requirements = parseSelector(target.selector);
      return ({ pod }) =>
        pod?.labels !== undefined &&
        (target.namespace === undefined || pod.namespace === target.namespace) &&
        selects(requirements, pod.labels);
    }
    default:
      return ({ pod }) => pod !== undefined && isOwnedBy(target, pod);
  }
}
