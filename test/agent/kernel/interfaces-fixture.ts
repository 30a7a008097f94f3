import type { TestContext } from 'node:test';
import { Interfaces } from '../../../src/agent/kernel/interfaces.ts';
import type { Schedule } from '../../../src/agent/kernel/reread.ts';
import type { Tracer } from '../../../src/agent/kernel/tracer.ts';
import type { Address, Link, LinkChange, NativeModule } from '../../../src/native/types.ts';
import { quiet } from '../serve/server-fixture.ts';

export function link(more: Partial<Link> & { ifindex: number; name: string }): Link {
  return {
    kind: 'veth',
    up: true,
    mtu: 1500,
    link: 2,
    linkNetnsId: 0,
    master: 0,
    vxlanPort: 0,
    genevePort: 0,
    arpType: 1,
    ...more,
  };
}

/** A kernel whose answers a test decides. */
export interface FakeKernel {
  links: Link[];
  addresses: Address[];
  routes: number[];
  /** Thrown by the next so many reads of addresses. */
  busy: number;
  /** Of the node's own namespace. */
  dumps: number;
  /** Why an interface cannot be attached. */
  refusals: Map<number, string>;
  attached: Map<number, string>;
  /** Interfaces that cannot be detached. */
  stuck: Set<number>;
  attaches: number;
  /** Namespaces behind interfaces, and those that the kernel side was told of. */
  netns: Map<number, number>;
  podNetns: Set<number>;
  tell(change: LinkChange): void;
}

/** A clock that stands until it is told to go on. */
export class Clock {
  nowMs = 0;
  #waiting: { atMs: number; work: () => void }[] = [];

  readonly schedule: Schedule = (work, delayMs) => {
    const one = { atMs: this.nowMs + delayMs, work };
    this.#waiting.push(one);
    return () => {
      this.#waiting = this.#waiting.filter((other) => other !== one);
    };
  };

  advance(ms: number): void {
    const endMs = this.nowMs + ms;
    for (;;) {
      const [next] = this.#waiting.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#waiting = this.#waiting.filter((other) => other !== next);
      this.nowMs = next.atMs;
      next.work();
    }
    this.nowMs = endMs;
  }
}

export function openInterfaces(
  t: TestContext,
  more: Partial<FakeKernel> = {},
): { interfaces: Interfaces; kernel: FakeKernel; clock: Clock } {
  const clock = new Clock();
  const kernel: FakeKernel = {
    links: [],
    addresses: [],
    routes: [],
    busy: 0,
    dumps: 0,
    refusals: new Map(),
    attached: new Map(),
    stuck: new Set(),
    attaches: 0,
    netns: new Map(),
    podNetns: new Set(),
    tell: () => undefined,
    ...more,
  };
  const native = {
    watchLinks(onChange: (change: LinkChange) => void) {
      kernel.tell = onChange;
      return { links: () => kernel.links, close: () => undefined };
    },
    addresses(netnsId?: number) {
      if (netnsId !== undefined) return [];
      kernel.dumps += 1;
      if (kernel.busy > 0) {
        kernel.busy -= 1;
        throw Object.assign(new Error('list addresses: Resource temporarily unavailable'), { code: 'EAGAIN' });
      }
      return kernel.addresses;
    },
    defaultRouteInterfaces: () => kernel.routes,
  } as unknown as NativeModule;
  const tracer = {
    isAttached: (ifindex: number) => kernel.attached.has(ifindex),
    attach(ifindex: number, kind: string) {
      kernel.attaches += 1;
      const refusal = kernel.refusals.get(ifindex);
      if (refusal !== undefined) throw Object.assign(new Error(refusal), { code: refusal });
      kernel.attached.set(ifindex, kind);
    },
    detach(ifindex: number) {
      if (kernel.stuck.has(ifindex)) throw new Error('EBUSY');
      kernel.attached.delete(ifindex);
    },
    expedite: (work: () => void) => work(),
    attachStack: () => undefined,
    detachStack: () => undefined,
    peerNetns: (ifindex: number) => kernel.netns.get(ifindex) ?? 0,
    setPodNetns: (netns: number, isOurs: boolean) => void (isOurs ? kernel.podNetns.add(netns) : kernel.podNetns.delete(netns)),
    setVxlanPorts: () => undefined,
    setGenevePorts: () => undefined,
    setUplinks: () => undefined,
    setIpTunnels: () => undefined,
  } as unknown as Tracer;
  const interfaces = new Interfaces({ native, tracer, log: quiet, schedule: clock.schedule, nowMs: () => clock.nowMs });
  t.after(() => interfaces.close());
  return { interfaces, kernel, clock };
}
