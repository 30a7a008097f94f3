import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { redact } from '../../src/access/redact.ts';
import type { Endpoint, FlowEvent, KtraceEvent, LostStage, PacketEvent, Translation } from '../../src/event/types.ts';
import { fc } from '../support/fast-check.ts';

const ALLOWED = new Set(['mine', 'ours']);

/** Whatever is somebody else's carries this, so that it can be looked for in the text of what is shown. */
const FOREIGN = 'FOREIGN';

const word = fc.string({ minLength: 1, maxLength: 12 });
const foreignWord = word.map((text) => `${FOREIGN}${text}`);
const ip = fc.ipV4();

function endIn(namespace: fc.Arbitrary<string>, name: fc.Arbitrary<string>): fc.Arbitrary<Endpoint> {
  const pod = fc.record(
    {
      namespace,
      name,
      uid: name,
      labels: fc.dictionary(name, name, { maxKeys: 3 }),
      owner: name.map((text) => `Deployment/${text}`),
      node: name,
    },
    { requiredKeys: ['namespace', 'name', 'uid'] },
  );
  const service = fc.record({ namespace, name, port: name });
  return fc.oneof(
    fc.record({ ip, port: fc.nat(65535), pod }),
    fc.record({ ip, pod }),
    fc.record({ ip, port: fc.nat(65535), service }),
  );
}

const foreignEnd = endIn(foreignWord, foreignWord);
const ownEnd = endIn(fc.constantFrom(...ALLOWED), word);
const nobodysEnd: fc.Arbitrary<Endpoint> = fc.oneof(
  ip.map((ip): Endpoint => ({ ip, world: true })),
  ip.map((ip): Endpoint => ({ ip, node: 'host1' })),
  ip.map((ip): Endpoint => ({ ip })),
);
const anyEnd = fc.oneof(foreignEnd, ownEnd, nobodysEnd);

const foreignService = fc.tuple(foreignWord, foreignWord).map(([namespace, name]) => `${namespace}/${name}`);
/** A translation is of a Service of the namespace that its translated end is in. */
const translation: fc.Arbitrary<Translation> = fc.oneof(
  fc.record(
    {
      kind: fc.constantFrom('dnat', 'snat'),
      before: anyEnd,
      after: anyEnd,
      service: foreignService,
      chains: fc.array(foreignWord),
      seenBy: fc.constant('conntrack'),
    },
    { requiredKeys: ['kind', 'before', 'after', 'service', 'seenBy'] },
  ),
  fc.record({ kind: fc.constantFrom('dnat', 'snat'), before: anyEnd, after: anyEnd, seenBy: fc.constant('conntrack') }),
) as fc.Arbitrary<Translation>;

const about = fc.record(
  {
    proto: fc.constant('udp'),
    src: anyEnd,
    dst: anyEnd,
    nat: fc.array(
      fc.record({ kind: fc.constant('dnat' as const), before: anyEnd, after: anyEnd, seenBy: fc.constant('kprobe' as const) }),
      {
        maxLength: 2,
      },
    ),
  },
  { requiredKeys: ['proto', 'src', 'dst'] },
);
const icmp = fc.option(about, { nil: undefined }).map((quoted) => ({
  type: 3,
  code: 3,
  name: 'port-unreachable',
  ...(quoted === undefined ? {} : { about: quoted }),
}));
const packet = fc
  .record({ src: anyEnd, dst: anyEnd, nat: fc.array(translation, { maxLength: 3 }), icmp }, { requiredKeys: ['src', 'dst'] })
  .map((parts) => ({ ...example(), ...parts }) as PacketEvent);
const flow = fc
  .record({ src: anyEnd, dst: anyEnd, nat: fc.array(translation, { maxLength: 3 }) }, { requiredKeys: ['src', 'dst'] })
  .map(
    ({ src, dst, nat }): FlowEvent => ({
      v: 1,
      kind: 'flow',
      id: 'f',
      state: 'open',
      node: 'host1',
      proto: 'tcp',
      src,
      dst,
      ...(nat === undefined ? {} : { nat }),
      packets: { request: 1, reply: 1 },
      bytes: { request: 1, reply: 1 },
      startTime: 's',
      endTime: 'e',
    }),
  );
const event: fc.Arbitrary<PacketEvent | FlowEvent> = fc.oneof(packet, flow);

function endsOf(event: PacketEvent | FlowEvent): Endpoint[] {
  const about = event.kind === 'packet' ? event.icmp?.about : undefined;
  return [
    event.src,
    event.dst,
    ...(event.nat ?? []).flatMap(({ before, after }) => [before, after]),
    ...(about ? [about.src, about.dst, ...(about.nat ?? []).flatMap(({ before, after }) => [before, after])] : []),
  ];
}

function isOwn({ pod, service }: Endpoint): boolean {
  if (pod) return ALLOWED.has(pod.namespace) && pod.labels !== undefined;
  return service !== undefined && ALLOWED.has(service.namespace);
}

describe('what somebody may see', () => {
  it('holds no string of a pod, Service or namespace that is not theirs', () => {
    let shown = 0;
    fc.assert(
      fc.property(event, (one) => {
        const seen = redact(one, ALLOWED);
        if (seen === undefined) return;
        shown += 1;
        assert.ok(!JSON.stringify(seen).includes(FOREIGN), JSON.stringify(seen));
      }),
      { numRuns: 2000 },
    );
    assert.ok(shown > 500, `${shown} of 2000 were shown`);
  });

  it('is a record exactly if one of its ends is theirs', () => {
    fc.assert(
      fc.property(event, (one) => {
        assert.equal(redact(one, ALLOWED) !== undefined, endsOf(one).some(isOwn));
      }),
    );
  });

  it('keeps all addresses, ports and own names, and the event itself as it was', () => {
    fc.assert(
      fc.property(event, (one) => {
        const before = JSON.stringify(one);
        const seen = redact(one, ALLOWED) as PacketEvent | FlowEvent | undefined;
        assert.equal(JSON.stringify(one), before);
        if (seen === undefined) return;
        for (const side of ['src', 'dst'] as const) {
          assert.deepEqual([seen[side].ip, seen[side].port], [one[side].ip, one[side].port]);
          if (isOwn(one[side])) assert.deepEqual(seen[side], one[side]);
        }
        assert.equal(seen.nat?.length, one.nat?.length);
      }),
    );
  });

  it('is everything, untouched, for who may see everything', () => {
    fc.assert(fc.property(event, (one) => assert.equal(redact(one, 'all'), one)));
  });

  it('is nothing of packets and flows for who may see no namespace', () => {
    fc.assert(fc.property(event, (one) => assert.equal(redact(one, new Set()), undefined)));
  });

  it('names the Service and chains of a namespace that is theirs', () => {
    const nat: Translation = {
      kind: 'dnat',
      before: { ip: '10.96.0.9', port: 80, service: { namespace: 'mine', name: 'web', port: '' } },
      after: { ip: '10.244.1.2', port: 80 },
      service: 'mine/web',
      chains: ['KUBE-SVC-A', 'KUBE-SEP-B'],
      seenBy: 'conntrack',
    };
    const seen = redact({ ...example(), nat: [nat] }, ALLOWED) as PacketEvent;
    assert.deepEqual(seen.nat, [nat]);
  });

  it('does not begin with a pod that an EndpointSlice alone claims', () => {
    const claimed: Endpoint = { ip: '10.244.9.9', pod: { namespace: 'mine', name: 'claimed', uid: 'u' } };
    assert.equal(redact({ ...example(), dst: claimed }, ALLOWED), undefined);
    const own = { ip: '10.244.9.8', pod: { namespace: 'mine', name: 'own', uid: 'v', labels: {} } };
    assert.notEqual(redact({ ...example(), src: own, dst: claimed }, ALLOWED), undefined);
  });

  it('has the quoted flow of an error only with an end of theirs, and else not its bytes', () => {
    const mine: Endpoint = { ip: '10.244.1.1', pod: { namespace: 'mine', name: 'a', uid: 'u', labels: {} } };
    const about = { proto: 'udp', src: { ip: '10.244.7.7' }, dst: { ip: '10.244.8.8' } };
    const one: PacketEvent = {
      ...example(),
      src: mine,
      icmp: { type: 3, code: 3, name: 'port-unreachable', about },
      hops: [{ node: 'host1', if: 'veth1', dir: 'in', atNs: 0, data: 'AAAA' }],
    };
    const seen = redact(one, ALLOWED) as PacketEvent;
    assert.equal(seen.icmp?.about, undefined);
    assert.equal(seen.hops[0]?.data, undefined);
    const theirs = { ...one, icmp: { type: 3, code: 3, name: 'x', about: { ...about, src: mine } } };
    assert.deepEqual((redact(theirs, ALLOWED) as PacketEvent).icmp?.about?.src, mine);
  });

  it('withholds the name of an interface that leads to a pod of another namespace, or to one that is not known', () => {
    const [ours, theirs, unknown] = ['mine/a', 'elsewhere/b', ''].map((pod, at) => ({ if: `veth${at}`, pod }));
    const bridge = { if: 'cni0' };
    const withheld = { if: 'pod' };
    const by = { node: 'host1', seenBy: 'kprobe' as const };
    const at = (place: { if: string; pod?: string }): PacketEvent => ({
      ...example(),
      src: { ip: '10.244.1.1', pod: { namespace: 'mine', name: 'a', uid: 'u', labels: {} } },
      hops: [ours!, bridge, place].map((one) => ({ node: 'host1', dir: 'in', atNs: 0, ...one })),
      drop: { reason: 'NO_SOCKET', at: 'tcp_v4_rcv', ...place },
      icmp: { type: 3, code: 3, name: 'port-unreachable', by: { ...by, ...place } },
    });
    for (const place of [theirs!, unknown!]) assert.deepEqual(redact(at(place), ALLOWED), at(withheld));
    for (const place of [ours!, bridge]) assert.deepEqual(redact(at(place), ALLOWED), at(place));
    assert.equal((redact(at(theirs!), 'all') as PacketEvent).hops[2]?.if, 'veth1');
  });

  it('leaves notices, which name nobody, as they are', () => {
    const notice: KtraceEvent = { v: 1, kind: 'notice', level: 'warn', code: 'KTRACE_N_API_UNREACHABLE', text: 'x' };
    assert.equal(redact(notice, ALLOWED), notice);
  });

  it('withholds the names of pods’ interfaces that a notice is about', () => {
    const notice: KtraceEvent = { v: 1, kind: 'notice', level: 'warn', code: 'KTRACE_N_REATTACHED', text: '1 pod’s interface' };
    const full: KtraceEvent = { ...notice, interfaces: ['veth1'] };
    assert.deepEqual([redact(full, ALLOWED), redact(full, 'all')], [notice, full]);
  });

  // By stage: whether who may not see everything is told of a loss without a pod. A new stage has to say so.
  const isToldToAll: Record<LostStage, boolean> = {
    'kernel-ring': true,
    'flow-table': true,
    'pod-rate': false,
    'kernel-recursion': true,
    'client-socket': true,
    recorder: true,
    'recorder-share': false,
  };
  for (const [stage, isTold] of Object.entries(isToldToAll) as [LostStage, boolean][]) {
    it(`tells a loss (${stage}) of a pod to those alone who may see the pod, and ${isTold ? 'one of a node to all' : 'without a pod to who may see everything'}`, () => {
      const lost: KtraceEvent = { v: 1, kind: 'lost', node: 'host1', stage, count: 3, from: 'a', to: 'b' };
      const [ours, theirs] = ['mine', 'elsewhere'].map((namespace) => ({ namespace, name: 'noisy', uid: 'u', labels: {} }));
      const seen: KtraceEvent = { ...lost, pod: ours! };
      assert.equal(redact(seen, ALLOWED), seen);
      assert.equal(redact({ ...lost, pod: theirs! }, ALLOWED), undefined);
      const { labels: _, ...bySlice } = ours!;
      assert.equal(redact({ ...lost, pod: bySlice }, ALLOWED), undefined, 'an EndpointSlice may say so of any address');
      assert.equal(redact(lost, ALLOWED), isTold ? lost : undefined);
      for (const event of [lost, seen]) assert.equal(redact(event, 'all'), event);
    });
  }

  it('is nothing of a loss whose stage is not known', () => {
    const lost = { v: 1, kind: 'lost', node: 'host1', stage: 'of-a-newer-agent', count: 3, from: 'a', to: 'b' };
    assert.equal(redact(lost as unknown as KtraceEvent, ALLOWED), undefined);
  });
});

function example(): PacketEvent {
  return {
    v: 1,
    kind: 'packet',
    id: 'i',
    time: 't',
    nodes: ['host1'],
    proto: 'tcp',
    len: 60,
    dir: 'request',
    src: { ip: '10.244.1.3' },
    dst: { ip: '10.244.1.4' },
    hops: [],
    verdict: 'forwarded',
    fingerprint: 'f',
  };
}
