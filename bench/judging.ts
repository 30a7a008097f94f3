import type { Endpoint, PacketEvent } from '../src/event/types.ts';
import { LiveFilter } from '../src/filter/evaluate/judge.ts';
import { interleaved, type Spread, spread } from './stats.ts';

/** Nanoseconds that an agent takes to ask one record whether a follower's filter takes it; none of the terms is true. */
export interface JudgingCost {
  oneTerm: Spread;
  twentyTerms: Spread;
}

const CALLS = 20_000;
const TWENTY = Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? `host 10.9.9.${at}` : `svc shop/none-${at}`)).join(' or ');

/** What user space decides by itself: addresses and names, of a packet that was translated and went through a tunnel. */
export function measureJudging({ rounds }: { rounds: number }): JudgingCost {
  const filters = { oneTerm: new LiveFilter('host 10.9.9.9'), twentyTerms: new LiveFilter(TWENTY) };
  const names = Object.keys(filters) as (keyof JudgingCost)[];
  const samples: Record<keyof JudgingCost, number[]> = { oneTerm: [], twentyTerms: [] };
  const evidence = { captured: [BYTES], vxlanPort: 8472, isWhole: true };
  for (let round = 0; round < rounds; round++) {
    for (const at of interleaved(names.length, round)) {
      const name = names[at] as keyof JudgingCost;
      const began = process.hrtime.bigint();
      for (let call = 0; call < CALLS; call++)
        if (filters[name].judge(RECORD, evidence).outcome !== 'mismatch') throw new RangeError('Expected no match');
      samples[name].push(Number(process.hrtime.bigint() - began) / CALLS);
    }
  }
  return { oneTerm: spread(samples.oneTerm), twentyTerms: spread(samples.twentyTerms) };
}

const POD = { namespace: 'shop', uid: '', node: 'host1' };
const SERVICE: Endpoint = { ip: '10.96.0.10', port: 6379, service: { namespace: 'shop', name: 'redis', port: '' } };
const REDIS: Endpoint = { ip: '10.244.3.2', port: 6380, pod: { ...POD, name: 'redis-0', node: 'host3' } };
const TUNNEL = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;
const RECORD: PacketEvent = {
  v: 1,
  kind: 'packet',
  id: '1',
  time: '2026-11-22T08:45:00.000000000Z',
  nodes: ['host1'],
  proto: 'tcp',
  len: 60,
  dir: 'request',
  src: { ip: '10.244.1.2', port: 41_512, pod: { ...POD, name: 'web' } },
  dst: SERVICE,
  nat: [{ kind: 'dnat', before: SERVICE, after: REDIS, service: 'shop/redis', seenBy: 'conntrack' }],
  hops: [
    { node: 'host1', if: 'veth1', dir: 'in', atNs: 0 },
    { node: 'host1', if: 'flannel.1', dir: 'out', atNs: 30_000, tunnel: TUNNEL },
  ],
  verdict: 'forwarded',
  fingerprint: 'f',
};
const BYTES = Buffer.from('4500003c00074000400600000af401020a60000aa22818eb00000001000000005002ffff00000000', 'hex');
