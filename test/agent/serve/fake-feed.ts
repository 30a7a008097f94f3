import type { Scope } from '../../../src/access/scope.ts';
import type { Feed, Follower, Sink } from '../../../src/agent/pipeline/feed.ts';
import type { HookReport, NodeReport } from '../../../src/event/node-report.ts';
import type { Resolved, Subscription } from '../../../src/event/target.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import type { Counter } from '../../../src/util/counter.ts';

interface FakeFollower {
  subscription: Subscription;
  allowed: Scope;
  sink: Sink;
}

/** A pipeline without a kernel: tells every follower of the packets whose source's namespace it follows. */
export class FakeFeed implements Feed {
  readonly node = 'host1';
  readonly instance: string;
  readonly followers = new Set<FakeFollower>();
  why: string | undefined;

  constructor(instance = 'first') {
    this.instance = instance;
  }

  hooks(): HookReport[] {
    return [{ name: 'tc', backend: 'tcx', state: 'on' }];
  }

  report(): NodeReport {
    return {
      v: 1,
      node: this.node,
      version: '0.1.0',
      kernel: { release: '6.18.0', arch: 'x64', btf: true },
      capabilities: [{ name: 'BPF', has: true, for: 'loading programs' }],
      hooks: this.hooks(),
      interfaces: [{ name: 'veth1', kind: 'pod', attached: true }],
      lacks: [],
      works: true,
    };
  }

  nowNs(): bigint {
    return BigInt(Date.now()) * 1_000_000n;
  }

  vxlanPort(): number | undefined {
    return 8472;
  }

  follow(subscription: Subscription, sink: Sink, allowed: Scope): Follower {
    const follower = { subscription, sink, allowed };
    this.followers.add(follower);
    sink.resolved(resolvedOf(subscription));
    return {
      update: (next, nowAllowed) => {
        follower.subscription = next;
        follower.allowed = nowAllowed;
        sink.resolved(resolvedOf(next));
      },
      close: () => void this.followers.delete(follower),
    };
  }

  publish(event: KtraceEvent, captured?: readonly Uint8Array[]): void {
    for (const { subscription, sink } of this.followers) {
      if (subscription.targets.some((target) => isMeant(target, event))) sink.event(event, captured);
    }
  }

  notReady(): string | undefined {
    return this.why;
  }

  counters(): Counter[] {
    return [
      { name: 'ktrace_sightings_total', help: 'Sightings.', type: 'counter', values: [{ labels: { hook: 'tc' }, value: 7 }] },
    ];
  }
}

/** A packet of a pod in a namespace; `number` is in its id and its time. */
export function packet(number: number, namespace = 'default'): PacketEvent {
  return {
    v: 1,
    kind: 'packet',
    id: `${namespace}-${number}`,
    time: `2026-11-22T08:45:00.${String(number).padStart(9, '0')}Z`,
    nodes: ['host1'],
    proto: 'tcp',
    len: 60,
    dir: 'request',
    src: { ip: '10.244.1.2', port: 41512, pod: { namespace, name: 'frontend', uid: 'u1' } },
    dst: { ip: '10.244.3.2', port: 6379 },
    hops: [{ node: 'host1', if: 'veth1', dir: 'in', atNs: 0 }],
    verdict: 'forwarded',
    fingerprint: String(number),
  };
}

/** An ICMP error to a pod that may be seen, about a flow that may not. */
export function aboutSecret(): { event: PacketEvent; bytes: Uint8Array } {
  const about = { proto: 'tcp', src: { ip: '10.244.9.9', port: 1 }, dst: { ip: '10.244.9.8', port: 6379 } };
  const event: PacketEvent = {
    ...packet(1, 'a'),
    proto: 'icmp',
    src: { ip: '10.0.0.1', world: true },
    dst: { ip: '10.244.1.2', pod: { namespace: 'a', name: 'mine', uid: 'u1', labels: {} } },
    icmp: { type: 3, code: 3, name: 'port-unreachable', about },
  };
  const head = [0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 1, 10, 244, 1, 2];
  const quote = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 244, 9, 9, 10, 244, 9, 8, 0, 1, 0x18, 0xeb, 0, 0, 0, 0];
  return { event, bytes: Uint8Array.from([...head, 3, 3, 0, 0, 0, 0, 0, 0, ...quote]) };
}

function isMeant(target: Subscription['targets'][number], event: KtraceEvent): boolean {
  if (target.kind === 'all' || event.kind !== 'packet') return true;
  return target.kind === 'namespace' && event.src.pod?.namespace === target.name;
}

function resolvedOf({ targets }: Subscription): Resolved {
  return { pods: [], addresses: targets.map((_, index) => `10.0.0.${index + 1}`) };
}
