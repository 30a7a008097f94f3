import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { redact } from '../../../src/access/redact.ts';
import { RETENTION_MS } from '../../../src/event/gone.ts';
import type { PacketEvent, PodRef } from '../../../src/event/types.ts';
import { enrichPacket } from '../../../src/kube/enrich.ts';
import { podFact, serviceFact, sliceFact } from '../../../src/kube/index/facts.ts';
import { NamesIndex } from '../../../src/kube/index/names-index.ts';
import {
  capturedIndex,
  putNode,
  putPod,
  putService,
  putSlice,
  rawNode,
  rawPod,
  rawService,
  rawSlice,
  testClock,
} from '../build.ts';
import { captured } from '../fixtures.ts';

const T0 = Date.parse('2026-11-22T12:00:00Z');
const SECOND = 1000;

function podAt(index: NamesIndex, ip: string, timeMs: number): string | undefined {
  const owner = index.ownerOf(ip, timeMs);
  return owner?.kind === 'pod' ? owner.pod.name : owner?.kind;
}

function podRefAt(index: NamesIndex, ip: string, timeMs: number): PodRef | undefined {
  const owner = index.ownerOf(ip, timeMs);
  return owner?.kind === 'pod' ? owner.pod : undefined;
}

function start(maxEnded?: number) {
  const clock = testClock(T0);
  const index = new NamesIndex({ node: 'host1', now: clock.now, ...(maxEnded === undefined ? {} : { maxEnded }) });
  return { clock, index };
}

describe('an address whose pod is gone', () => {
  const GONE = new Date(T0 + SECOND).toISOString();
  const goneAt = (index: NamesIndex, ip: string, timeMs: number) => podRefAt(index, ip, timeMs)?.gone;

  it('is told as the pod that had it, with its end once its last packets must have come, until another gets it', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ips: ['10.0.0.1', 'fd00::1'], labels: { app: 'web' }, startMs: T0 - 60 * SECOND });
    clock.set(T0 + SECOND);
    index.dropPod('uid-a');
    clock.set(T0 + 20 * SECOND);
    putPod(index, { name: 'b', ip: '10.0.0.1', startMs: T0 + 20 * SECOND });
    for (const ip of ['10.0.0.1', 'fd00::1']) {
      assert.deepEqual(
        [T0, T0 + 3 * SECOND, T0 + 3001].map((at) => goneAt(index, ip, at)),
        [undefined, undefined, GONE],
      );
    }
    const [one, other] = [T0 + 4 * SECOND, T0 + 11 * SECOND].map((at) => podRefAt(index, '10.0.0.1', at));
    assert.deepEqual(one, { namespace: 'default', name: 'a', uid: 'uid-a', labels: { app: 'web' }, node: 'host1', gone: GONE });
    assert.equal(one, other, 'one object, as that of a pod that is there');
    assert.equal(goneAt(index, '10.0.0.1', T0 + 60 * SECOND), undefined);
    assert.equal(podAt(index, '10.0.0.1', T0 + 60 * SECOND), 'b');
    assert.equal(podAt(index, 'fd00::1', T0 + SECOND + RETENTION_MS), 'a');
    assert.equal(podAt(index, 'fd00::1', T0 + SECOND + RETENTION_MS + 1), undefined);
  });

  it('was a finished pod’s until its containers ended, and another node’s until no EndpointSlice named it', () => {
    const { clock, index } = start();
    putPod(index, { name: 'job', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    putSlice(index, rawSlice('s1', 'web', [{ ip: '10.1.0.7', pod: 'far', node: 'host2' }]));
    clock.set(T0 + SECOND);
    index.dropSlice('default', 's1');
    clock.set(T0 + 5 * SECOND);
    putPod(index, { name: 'job', ip: '10.0.0.1', phase: 'Succeeded', endedMs: T0 + SECOND });
    for (const ip of ['10.0.0.1', '10.1.0.7']) assert.equal(goneAt(index, ip, T0 + 9 * SECOND), GONE);
    clock.set(T0 + 10 * SECOND);
    putSlice(index, rawSlice('s1', 'web', [{ ip: '10.1.0.7', pod: 'far', node: 'host2' }]));
    assert.equal(podAt(index, '10.1.0.7', T0 + 11 * SECOND), 'far');
    assert.equal(goneAt(index, '10.1.0.7', T0 + 11 * SECOND), undefined, 'there again');
  });

  it('is its pod’s in a packet’s ends and translations, and withheld from who may not see the pod', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', namespace: 'shop', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    putPod(index, { name: 'client', ip: '10.0.0.2', startMs: T0 - 60 * SECOND });
    clock.set(T0 + SECOND);
    index.dropPod('uid-a');
    const packet: PacketEvent = {
      ...{
        v: 1,
        kind: 'packet',
        id: 'p',
        time: new Date(T0 + 11 * SECOND).toISOString(),
        nodes: ['host1'],
        proto: 'tcp',
        len: 60,
      },
      ...{ dir: 'request', src: { ip: '10.0.0.2', port: 1 }, dst: { ip: '10.0.0.1', port: 80 }, hops: [], verdict: 'forwarded' },
      nat: [{ kind: 'dnat', before: { ip: '10.0.0.1', port: 80 }, after: { ip: '10.0.0.1', port: 8080 }, seenBy: 'conntrack' }],
      fingerprint: 'f',
    } as PacketEvent;
    enrichPacket(packet, index, T0 + SECOND);
    assert.equal(packet.dst.pod?.gone, undefined);
    enrichPacket(packet, index, T0 + 11 * SECOND);
    const [translation] = packet.nat ?? [];
    for (const end of [packet.dst, translation?.before, translation?.after]) {
      assert.deepEqual([end?.pod?.name, end?.pod?.gone, end?.world], ['a', GONE, undefined]);
    }
    const seen = redact(packet, new Set(['default'])) as PacketEvent;
    assert.deepEqual(seen.dst, { ip: '10.0.0.1', port: 80 });
    assert.doesNotMatch(JSON.stringify(seen), /gone|shop/);
  });
});

describe('an address over time', () => {
  it('belongs to the pod that had it at the packet’s time, when it is given to another within seconds', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    clock.set(T0 + SECOND);
    index.dropPod('uid-a');
    clock.set(T0 + 3 * SECOND);
    putPod(index, { name: 'b', ip: '10.0.0.1', startMs: T0 + 2 * SECOND });
    assert.equal(podAt(index, '10.0.0.1', T0 + 500), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 1900), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 2100), 'b');
    assert.equal(podAt(index, '10.0.0.1', T0 + 5 * SECOND), 'b');
  });

  it('passes on when the new pod’s sandbox was made, though the old pod’s end is told later', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    putPod(index, { name: 'a', ip: '10.0.0.1', startMs: T0 - 60 * SECOND, endedMs: T0 + SECOND });
    clock.set(T0 + 6 * SECOND);
    index.dropPod('uid-a');
    putPod(index, { name: 'b', ip: '10.0.0.1', startMs: T0 - 30 * SECOND, readyMs: T0 + 4 * SECOND });
    assert.equal(podAt(index, '10.0.0.1', T0 + 2500), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 3500), 'b');
  });

  it('does not go back to the old pod when its deletion is told after the new pod', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    clock.set(T0 + 2 * SECOND);
    putPod(index, { name: 'b', ip: '10.0.0.1', readyMs: T0 + SECOND });
    clock.set(T0 + 3 * SECOND);
    index.dropPod('uid-a');
    assert.equal(podAt(index, '10.0.0.1', T0 - SECOND), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 10 * SECOND), 'b');
  });

  it('does not begin before the old pod’s last sign of life, though the new one waited long for its sandbox', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', startMs: T0 - 60 * SECOND });
    clock.set(T0 + 10 * SECOND);
    index.dropPod('uid-a');
    clock.set(T0 + 12 * SECOND);
    putPod(index, { name: 'b', ip: '10.0.0.1', startMs: T0 - 30 * SECOND });
    assert.equal(podAt(index, '10.0.0.1', T0 + 9 * SECOND), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 11 * SECOND), 'b');
  });

  it('is remembered for 15 minutes after a pod’s end, and forgotten then', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1' });
    clock.set(T0 + SECOND);
    index.dropPod('uid-a');
    clock.set(T0 + RETENTION_MS - SECOND);
    index.sweep();
    assert.equal(podAt(index, '10.0.0.1', T0), 'a');
    assert.equal(podAt(index, '10.0.0.1', clock.now()), 'a');
    clock.set(T0 + RETENTION_MS + 2 * SECOND);
    index.sweep();
    assert.equal(index.ownerOf('10.0.0.1', T0), undefined);
    assert.deepEqual([index.sizes().ended, index.sizes().pods], [0, 0]);
  });

  it('is given up by a finished pod', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1' });
    clock.set(T0 + 5 * SECOND);
    putPod(index, { name: 'a', ip: '10.0.0.1', phase: 'Succeeded', endedMs: T0 + 4 * SECOND });
    putPod(index, { name: 'b', ip: '10.0.0.1', readyMs: T0 + 6 * SECOND });
    clock.set(T0 + 20 * SECOND);
    putPod(index, { name: 'a', ip: '10.0.0.1', phase: 'Succeeded', endedMs: T0 + 4 * SECOND, labels: { changed: 'later' } });
    assert.equal(podAt(index, '10.0.0.1', T0 + 3 * SECOND), 'a');
    assert.equal(podAt(index, '10.0.0.1', T0 + 20 * SECOND), 'b');
    assert.deepEqual(
      [...index.ownPods()].map((pod) => pod.ips),
      [[], ['10.0.0.1']],
    );
  });

  it('of a pod that had ended when its address was told was its own until then, after who had it before', () => {
    const { clock, index } = start();
    putPod(index, { name: 'before', ip: '10.0.0.1' });
    clock.set(T0 + 2 * SECOND);
    index.dropPod('uid-before');
    clock.set(T0 + 10 * SECOND);
    putPod(index, { name: 'short' });
    clock.set(T0 + 13 * SECOND);
    putPod(index, { name: 'short', ip: '10.0.0.1', phase: 'Failed', readyMs: T0 + 11 * SECOND, endedMs: T0 + 12 * SECOND });
    assert.equal(podAt(index, '10.0.0.1', T0 + 11 * SECOND), 'short');
    assert.equal(podAt(index, '10.0.0.1', T0 + SECOND), 'before');
    const [short] = [...index.ownPods()];
    assert.deepEqual([short?.ips, short?.held], [[], { ips: ['10.0.0.1'], fromMs: T0 + 10 * SECOND }]);
  });

  it('of a finished pod in the first list is not taken from the pod that has it now, in either order', () => {
    for (const order of [0, 1]) {
      const { index } = start();
      const facts = [
        podFact(rawPod({ name: 'a', ip: '10.0.0.1', phase: 'Succeeded', startMs: T0 - 100 * SECOND, endedMs: T0 - 90 * SECOND })),
        podFact(rawPod({ name: 'b', ip: '10.0.0.1', readyMs: T0 - 50 * SECOND })),
      ].filter((fact) => fact !== undefined);
      index.replacePods(order === 0 ? facts : facts.toReversed());
      assert.equal(podAt(index, '10.0.0.1', T0), 'b');
    }
  });

  it('is forgotten early, and that is counted, when too much has ended', () => {
    const { clock, index } = start(10);
    for (let i = 0; i < 50; i += 1) {
      clock.set(T0 + i);
      putPod(index, { name: `p${i}`, ip: `10.0.0.${i}` });
      index.dropPod(`uid-p${i}`);
    }
    assert.ok(index.sizes().ended <= 10);
    assert.ok(index.sizes().forgottenEarly >= 40);
    assert.equal(index.ownerOf('10.0.0.1', T0 + 1), undefined);
    assert.equal(podAt(index, '10.0.0.49', T0 + 49), 'p49');
  });

  describe('in one namespace is remembered, whatever happens to the objects of another', () => {
    const MOST = 100;
    const [OWN, NAMED, CLUSTER, BALANCER] = ['10.0.0.1', '10.0.2.1', '10.96.0.1', '198.51.100.1'];
    const service = (name: string, namespace: string, ip: string, externalIPs: string[], port = 80) =>
      rawService(
        name,
        { clusterIP: ip, externalIPs, ports: [{ port, protocol: 'TCP' }] },
        namespace,
        namespace === 'evil' ? T0 + 3 * SECOND : 0,
      );
    /** What ends in `shop`, and the words for who had it. */
    const told = (index: NamesIndex) => [
      podAt(index, OWN, T0 + SECOND),
      podAt(index, NAMED, T0 + SECOND),
      ...[CLUSTER, BALANCER].map((ip) => {
        const { service: of } = index.servicePort(ip, 80, 'tcp', T0 + SECOND) ?? {};
        return `${podAt(index, ip, T0 + SECOND)} ${of?.namespace}/${of?.name}`;
      }),
    ];
    const ends = {
      'slices whose pods are others each time': (index: NamesIndex, round: number) => {
        const endpoints = Array.from({ length: MOST / 2 }, (_, i) => ({ ip: `10.9.0.${i}`, pod: `r${round}-${i}` }));
        putSlice(index, rawSlice('x', 'x', endpoints, 'evil'));
      },
      'slices that name the very addresses': (index: NamesIndex, round: number) => {
        const endpoints = [OWN, NAMED, CLUSTER, BALANCER].map((ip) => ({ ip, pod: `r${round}-${ip}` }));
        putSlice(index, rawSlice('x', 'x', round % 2 === 0 ? endpoints : [], 'evil'));
      },
      'Services with the very addresses as external ones': (index: NamesIndex, round: number) => {
        const [ips, port] = round % 2 === 0 ? [[OWN, NAMED, CLUSTER, BALANCER], 80] : [[], round];
        putService(index, service('x', 'evil', '10.96.0.66', ips, port));
      },
      'pods of this node': (index: NamesIndex, round: number) => {
        putPod(index, { name: `p${round}`, namespace: 'evil', ip: '10.0.0.66' });
        index.dropPod(`uid-p${round}`);
      },
    };
    for (const [what, end] of Object.entries(ends))
      it(what, () => {
        const { clock, index } = start(MOST);
        putPod(index, { name: 'own', namespace: 'shop', ip: OWN });
        putSlice(index, rawSlice('s-1', 's', [{ ip: NAMED, pod: 'named' }], 'shop'));
        putService(index, service('s', 'shop', CLUSTER, [BALANCER]));
        clock.set(T0 + 2 * SECOND);
        index.dropPod('uid-own');
        index.dropSlice('shop', 's-1');
        index.dropService('shop', 's');
        const before = told(index);
        assert.deepEqual(before, ['own', 'named', 'service shop/s', 'service shop/s']);
        for (let round = 0; round < 4 * MOST; round += 1) {
          clock.set(T0 + 3 * SECOND + 2 * round);
          end(index, round);
          assert.ok(index.sizes().ended <= MOST);
        }
        assert.deepEqual(told(index), before);
        assert.ok(index.sizes().forgottenEarly > MOST);
      });
  });

  it('keeps both addresses of a dual-stack pod, IPv6 in canonical text', () => {
    const { index } = start();
    putPod(index, { name: 'a', ips: ['10.0.0.1', 'FD00:0:0::1'] });
    assert.equal(podAt(index, '10.0.0.1', T0), 'a');
    assert.equal(podAt(index, 'fd00::1', T0), 'a');
  });
});

describe('a pod', () => {
  it('on the node’s network never owns the node’s address', () => {
    const { index } = start();
    putPod(index, { name: 'proxy', ip: '192.168.60.11', hostNetwork: true });
    assert.equal(index.ownerOf('192.168.60.11', T0), undefined);
    putNode(index, rawNode('host1', '192.168.60.11'));
    putNode(index, rawNode('host2', '192.168.60.12'));
    putSlice(index, rawSlice('s-1', 's', [{ ip: '192.168.60.12', pod: 'proxy-2', node: 'host2' }]));
    assert.deepEqual(index.ownerOf('192.168.60.11', T0), { kind: 'node', node: 'host1' });
    assert.deepEqual(index.ownerOf('192.168.60.12', T0), { kind: 'node', node: 'host2' });
  });

  it('is told with the labels that it had at the packet’s time', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', labels: { version: '1' } });
    clock.set(T0 + 5 * SECOND);
    putPod(index, { name: 'a', ip: '10.0.0.1', labels: { version: '2' } });
    const labelsAt = (ms: number) => podRefAt(index, '10.0.0.1', ms)?.labels;
    assert.deepEqual(labelsAt(T0 + SECOND), { version: '1' });
    assert.deepEqual(labelsAt(T0 + 6 * SECOND), { version: '2' });
  });

  it('is one shared object as long as nothing about it changes', () => {
    const { index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1', labels: { app: 'x' } });
    const before = podRefAt(index, '10.0.0.1', T0);
    putPod(index, { name: 'a', ip: '10.0.0.1', labels: { app: 'x' } });
    assert.ok(before);
    assert.equal(podRefAt(index, '10.0.0.1', T0), before);
  });

  it('of another node is named by its EndpointSlice, without labels, until no slice names it', () => {
    const { clock, index } = start();
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.1', pod: 'far' }]));
    putSlice(index, rawSlice('t-1', 't', [{ ip: '10.0.2.1', pod: 'far' }]));
    assert.deepEqual(index.ownerOf('10.0.2.1', T0), {
      kind: 'pod',
      pod: { namespace: 'default', name: 'far', uid: 'uid-far', node: 'host2' },
    });
    index.dropSlice('default', 's-1');
    putSlice(index, rawSlice('u-1', 'u', [{ ip: '10.0.2.1', pod: 'next' }]));
    assert.equal(podAt(index, '10.0.2.1', T0 + SECOND), 'next');
    clock.set(T0 + SECOND);
    index.dropSlice('default', 't-1');
    index.dropSlice('default', 'u-1');
    clock.set(T0 + 2 * RETENTION_MS);
    index.sweep();
    assert.deepEqual(index.sizes(), { pods: 0, services: 0, endpoints: 0, nodes: 0, ended: 0, forgottenEarly: 0 });
  });

  it('of another namespace is not named by an EndpointSlice', () => {
    const { index } = start();
    putSlice(index, rawSlice('s-1', 's', [{ ip: '203.0.113.6', pod: 'coredns', podNamespace: 'kube-system' }], 'a'));
    assert.equal(index.ownerOf('203.0.113.6', T0), undefined);
    assert.deepEqual([...index.endpointIps('a', 's')], ['203.0.113.6']);
  });

  it('of this node cannot be renamed by somebody’s EndpointSlice', () => {
    const { index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1' });
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.0.1', pod: 'liar', node: 'host2' }]));
    assert.equal(podAt(index, '10.0.0.1', T0 + SECOND), 'a');
  });
});

describe('a pod that a slice gave another’s address before it was this node’s', () => {
  /** Who may write pods and slices in a namespace lets a pod wait, names it at a foreign address, and lets it run here. */
  function waited(look: (index: NamesIndex) => void) {
    const { clock, index } = start();
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.5', pod: 'p' }], 'a'));
    look(index);
    clock.set(T0 + SECOND);
    putPod(index, { name: 'p', namespace: 'a', ip: '10.0.0.1', labels: { app: 'p' } });
    clock.set(T0 + 2 * SECOND);
    return { clock, index };
  }

  for (const [title, look] of [
    ['after somebody asked for the address', (index: NamesIndex) => void index.ownerOf('10.0.2.5', T0)],
    ['before anybody asked for the address', () => undefined],
  ] as const) {
    it(`is told there as the slice told it, never with its labels, ${title}`, () => {
      const { clock, index } = waited(look);
      const named: PodRef = { namespace: 'a', name: 'p', uid: 'uid-p', node: 'host2' };
      for (const ms of [T0, T0 + SECOND, T0 + 2 * SECOND]) assert.deepEqual(podRefAt(index, '10.0.2.5', ms), named);
      assert.deepEqual(podRefAt(index, '10.0.0.1', T0 + 2 * SECOND)?.labels, { app: 'p' });
      index.dropSlice('a', 's-1');
      clock.set(T0 + 3 * SECOND);
      assert.deepEqual(podRefAt(index, '10.0.2.5', clock.now()), named);
    });

    it(`makes nothing visible by it, ${title}`, () => {
      const { clock, index } = waited(look);
      const packet: PacketEvent = {
        v: 1,
        kind: 'packet',
        id: 'x',
        time: new Date(clock.now()).toISOString(),
        nodes: ['host1'],
        proto: 'tcp',
        len: 60,
        dir: 'request',
        src: { ip: '198.51.100.7', port: 40000 },
        dst: { ip: '10.0.2.5', port: 80 },
        hops: [],
        verdict: 'unknown',
        fingerprint: 'x',
      };
      enrichPacket(packet, index, clock.now());
      assert.equal(packet.dst.pod?.name, 'p');
      assert.equal(redact(packet, new Set(['a'])), undefined);
    });
  }

  it('of whose uid another namespace’s slice speaks keeps its name, and so does that one', () => {
    const { index } = start();
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.5', pod: 'p' }], 'a'));
    const stolen = rawSlice('s-1', 's', [{ ip: '10.0.2.6', pod: 'p' }], 'b');
    putSlice(index, stolen);
    assert.equal(podRefAt(index, '10.0.2.6', T0)?.namespace, 'b');
    assert.equal(podRefAt(index, '10.0.2.5', T0)?.namespace, 'a');
    index.dropSlice('b', 's-1');
    assert.equal(podRefAt(index, '10.0.2.5', T0)?.namespace, 'a');
  });
});

describe('a Service', () => {
  const spec = {
    type: 'NodePort',
    clusterIP: '10.96.0.5',
    clusterIPs: ['10.96.0.5', 'fd00:96::5'],
    externalIPs: ['198.51.100.7'],
    ports: [
      { name: 'web', port: 80, nodePort: 30080, protocol: 'TCP' },
      { name: 'dns', port: 53, protocol: 'UDP' },
    ],
  };

  it('answers under its cluster addresses, external addresses and its node port on every node address', () => {
    const { index } = start();
    putNode(index, rawNode('host1', '192.168.60.11'));
    putNode(index, rawNode('host2', '192.168.60.12'));
    index.setLocalAddresses(['10.244.0.1']);
    putService(index, rawService('s', spec));
    const via = (ip: string, port: number, proto: string) => {
      const found = index.servicePort(ip, port, proto, T0);
      return found && `${found.service.name}:${found.service.port} ${found.via}`;
    };
    assert.equal(via('10.96.0.5', 80, 'tcp'), 's:web cluster-ip');
    assert.equal(via('fd00:96::5', 53, 'udp'), 's:dns cluster-ip');
    assert.equal(via('198.51.100.7', 80, 'tcp'), 's:web external-ip');
    for (const ip of ['192.168.60.11', '192.168.60.12', '10.244.0.1']) assert.equal(via(ip, 30080, 'tcp'), 's:web node-port');
    for (const miss of [
      via('10.96.0.5', 80, 'udp'),
      via('10.96.0.5', 81, 'tcp'),
      via('10.9.9.9', 30080, 'tcp'),
      via('10.96.0.5', 80, 'icmp'),
    ]) {
      assert.equal(miss, undefined);
    }
    assert.deepEqual(index.ownerOf('10.96.0.5', T0), { kind: 'service', service: { namespace: 'default', name: 's', port: '' } });
  });

  it('is told as it was before a change and after its deletion', () => {
    const { clock, index } = start();
    putService(index, rawService('s', spec));
    clock.set(T0 + 10 * SECOND);
    putService(index, rawService('s', { ...spec, ports: [{ name: 'other', port: 80, protocol: 'TCP' }] }));
    clock.set(T0 + 20 * SECOND);
    index.dropService('default', 's');
    assert.equal(index.servicePort('10.96.0.5', 80, 'tcp', T0)?.service.port, 'web');
    assert.equal(index.servicePort('10.96.0.5', 80, 'tcp', T0 + 15 * SECOND)?.service.port, 'other');
    assert.equal(index.servicePort('10.96.0.5', 80, 'tcp', T0 + 30 * SECOND)?.service.port, 'other');
    clock.set(T0 + 2 * RETENTION_MS);
    index.sweep();
    assert.equal(index.servicePort('10.96.0.5', 80, 'tcp', T0), undefined);
    assert.equal(index.sizes().ended, 0);
  });
});

describe('a node', () => {
  it('of a flannel cluster owns the addresses of its tunnel and its bridge', () => {
    const index = capturedIndex('iptables', 'host1');
    for (const ip of ['192.168.60.12', '10.244.1.0', '10.244.1.1']) {
      assert.deepEqual(index.ownerOf(ip, Date.now()), { kind: 'node', node: 'host2' });
    }
  });

  it('lets its pods’ ranges be told from the world', () => {
    const index = capturedIndex('iptables', 'host1');
    assert.equal(index.isClusterAddress('10.244.2.200'), true);
    assert.equal(index.isClusterAddress('10.244.3.1'), false);
    assert.equal(index.isClusterAddress('8.8.8.8'), false);
  });
});

describe('an address that more than one claims', () => {
  const DNS = { clusterIP: '10.96.0.10', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] };
  const tunnel = (ip: string) => ({ 'projectcalico.org/IPv4VXLANTunnelAddr': ip });

  it('was a node’s and is a pod’s as soon as it has it, of this node or another', () => {
    for (const ofNode of ['host1', 'host2']) {
      const { clock, index } = start();
      putNode(index, rawNode('n1', '10.1.0.9'));
      clock.set(T0 + 10 * SECOND);
      index.dropNode('n1');
      clock.set(T0 + 30 * SECOND);
      if (ofNode === 'host1') putPod(index, { name: 'a', ip: '10.1.0.9', readyMs: T0 + 21 * SECOND });
      else putSlice(index, rawSlice('s-1', 's', [{ ip: '10.1.0.9', pod: 'a', node: ofNode }]));
      assert.equal(podAt(index, '10.1.0.9', T0 + 5 * SECOND), 'node', ofNode);
      assert.equal(podAt(index, '10.1.0.9', T0 + 12 * SECOND), 'node', ofNode);
      assert.equal(podAt(index, '10.1.0.9', T0 + 30 * SECOND), 'a', ofNode);
      clock.set(T0 + 40 * SECOND);
      index.dropPod('uid-a');
      index.dropSlice('default', 's-1');
      assert.equal(podAt(index, '10.1.0.9', T0 + 50 * SECOND), 'a', ofNode);
      assert.equal(podAt(index, '10.1.0.9', T0 + 5 * SECOND), 'node', ofNode);
    }
  });

  it('was a node’s or another node’s pod’s until their end, though the pod that has it now began to wait for it before', () => {
    const { clock, index } = start();
    putNode(index, rawNode('n1', '10.1.0.9'));
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.1.0.8', pod: 'far' }]));
    assert.equal(podAt(index, '10.1.0.8', T0), 'far');
    clock.set(T0 + 10 * SECOND);
    index.dropNode('n1');
    index.dropSlice('default', 's-1');
    clock.set(T0 + 20 * SECOND);
    putPod(index, { name: 'a', ips: ['10.1.0.9', '10.1.0.8'], startMs: T0 + 2 * SECOND });
    assert.equal(podAt(index, '10.1.0.9', T0 + 5 * SECOND), 'node');
    assert.equal(podAt(index, '10.1.0.8', T0 + 5 * SECOND), 'far');
    for (const ip of ['10.1.0.9', '10.1.0.8']) assert.equal(podAt(index, ip, T0 + 11 * SECOND), 'a');
  });

  it('was a pod’s and is a node’s', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.1.0.9' });
    clock.set(T0 + SECOND);
    index.dropPod('uid-a');
    clock.set(T0 + 10 * SECOND);
    putNode(index, rawNode('host1', '192.168.60.11'));
    putNode(index, rawNode('host1', '10.1.0.9'));
    assert.equal(podAt(index, '10.1.0.9', T0), 'a');
    assert.equal(podAt(index, '10.1.0.9', T0 + 11 * SECOND), 'node');
  });

  it('is the Service’s if it is its cluster IP, though an interface of the node has it', () => {
    for (const order of ['Service first', 'address first']) {
      const { clock, index } = start();
      if (order === 'address first') index.setLocalAddresses(['10.96.0.10']);
      putService(index, rawService('kube-dns', DNS));
      index.setLocalAddresses(['10.96.0.10']);
      const owner = { kind: 'service', service: { namespace: 'default', name: 'kube-dns', port: '' } };
      assert.deepEqual(index.ownerOf('10.96.0.10', T0), owner, order);
      assert.equal(index.isNodeAddress('10.96.0.10'), false);
      clock.set(T0 + SECOND);
      index.dropService('default', 'kube-dns');
      assert.deepEqual(index.ownerOf('10.96.0.10', T0), owner, order);
      assert.deepEqual(index.ownerOf('10.96.0.10', T0 + 2 * SECOND), { kind: 'node', node: 'host1' }, order);
      clock.set(T0 + 3 * SECOND);
      index.setLocalAddresses([]);
      assert.deepEqual(index.ownerOf('10.96.0.10', T0 + 4 * SECOND), { kind: 'node', node: 'host1' }, order);
    }
  });

  it('is the node’s, though a Service has it as external address or a slice as a pod’s', () => {
    const { index } = start();
    putNode(index, rawNode('host1', '192.168.60.11'));
    putNode(index, rawNode('host2', '192.168.60.12'));
    index.setLocalAddresses(['10.244.0.1']);
    for (const ip of ['192.168.60.11', '192.168.60.12', '10.244.0.1']) {
      putService(index, rawService(`lb-${ip}`, { clusterIP: 'None', externalIPs: [ip], ports: [{ port: 80 }] }));
      putSlice(index, rawSlice(`s-${ip}`, 's', [{ ip, pod: `liar-${ip}` }]));
      assert.equal(index.ownerOf(ip, T0)?.kind, 'node', ip);
      assert.equal(index.servicePort(ip, 80, 'tcp', T0)?.via, 'external-ip', ip);
    }
  });

  it('is the pod’s, of this node or another, though a node’s annotation says it is its own', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1' });
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.1', pod: 'far' }]));
    putNode(index, rawNode('evil', '192.168.60.66', undefined, undefined, tunnel('10.0.0.1')));
    putNode(index, rawNode('worse', '192.168.60.67', undefined, undefined, tunnel('10.0.2.1')));
    assert.equal(podAt(index, '10.0.0.1', T0), 'a');
    assert.equal(podAt(index, '10.0.2.1', T0), 'far');
    clock.set(T0 + SECOND);
    index.dropSlice('default', 's-1');
    clock.set(T0 + 2 * SECOND);
    assert.equal(podAt(index, '10.0.2.1', T0 + 2 * SECOND), 'node');
    index.dropNode('worse');
    assert.equal(podAt(index, '10.0.2.1', T0 + SECOND), 'far');
    assert.equal(podAt(index, '10.0.2.1', T0 + 3 * SECOND), 'node');
  });

  it('stays the node’s own when it is told of it in one way less', () => {
    const { clock, index } = start();
    putNode(index, rawNode('host1', '192.168.60.11'));
    index.setLocalAddresses(['192.168.60.11', '10.244.0.1']);
    clock.set(T0 + SECOND);
    index.setLocalAddresses(['10.244.0.1']);
    assert.equal(index.isNodeAddress('192.168.60.11'), true);
    index.setLocalAddresses(['192.168.60.11', '10.244.0.1']);
    putNode(index, rawNode('host1', '192.168.60.99'));
    assert.equal(index.isNodeAddress('192.168.60.11'), true);
    index.dropNode('host1');
    assert.deepEqual(
      ['192.168.60.11', '10.244.0.1', '192.168.60.99'].map((ip) => index.isNodeAddress(ip)),
      [true, true, false],
    );
  });

  it('is told of by a node port only while it is a node’s', () => {
    const { clock, index } = start();
    putService(
      index,
      rawService('s', { type: 'NodePort', clusterIP: '10.96.0.5', ports: [{ name: 'web', port: 80, nodePort: 30080 }] }),
    );
    putNode(index, rawNode('n1', '10.1.0.9'));
    clock.set(T0 + SECOND);
    index.dropNode('n1');
    putPod(index, { name: 'a', ip: '10.1.0.9', readyMs: T0 + 3 * SECOND });
    assert.equal(index.servicePort('10.1.0.9', 30080, 'tcp', T0)?.via, 'node-port');
    assert.equal(index.servicePort('10.1.0.9', 30080, 'tcp', T0 + 5 * SECOND), undefined);
  });
});

describe('an address that several Services, slices or nodes claim', () => {
  const SHARED = '203.0.113.80';
  const shared = (name: string, portName: string, port: number, over: { createdMs?: number; affinity?: string } = {}) => ({
    ...rawService(
      name,
      { type: 'LoadBalancer', ports: [{ name: portName, port }], sessionAffinity: over.affinity },
      'default',
      over.createdMs,
    ),
    status: { loadBalancer: { ingress: [{ ip: SHARED }] } },
  });
  const serviceAt = (index: NamesIndex, ip: string, timeMs: number) => {
    const owner = index.ownerOf(ip, timeMs);
    return owner?.kind === 'service' ? owner.service.name : owner?.kind;
  };
  const portAt = (index: NamesIndex, port: number, timeMs: number) =>
    index.servicePort(SHARED, port, 'tcp', timeMs)?.service.name;

  it('stays with the older Service, whatever is told of it or of the younger', () => {
    const { clock, index } = start();
    putService(index, shared('old', 'web', 80));
    clock.set(T0 + SECOND);
    for (const one of [
      shared('young', 'dns', 53),
      shared('old', 'web', 80, { affinity: 'ClientIP' }),
      shared('young', 'dns', 53, { affinity: 'ClientIP' }),
    ]) {
      putService(index, one);
      assert.equal(serviceAt(index, SHARED, T0 + SECOND), 'old');
      assert.deepEqual([portAt(index, 80, T0 + SECOND), portAt(index, 53, T0 + SECOND)], ['old', 'young']);
    }
    clock.set(T0 + 2 * SECOND);
    index.dropService('default', 'young');
    clock.set(T0 + 2 * RETENTION_MS);
    index.sweep();
    assert.equal(serviceAt(index, SHARED, clock.now()), 'old');
    assert.deepEqual([portAt(index, 80, clock.now()), portAt(index, 53, clock.now())], ['old', undefined]);
  });

  it('goes to the younger Service when the older is gone or gives it up, its ports alike', () => {
    for (const how of ['gone', 'given up']) {
      const { clock, index } = start();
      putService(index, shared('old', 'web', 80));
      putService(index, shared('young', 'web', 80));
      putService(index, shared('young', 'other', 80));
      clock.set(T0 + SECOND);
      if (how === 'gone') index.dropService('default', 'old');
      else putService(index, rawService('old', { ports: [{ name: 'web', port: 80 }] }));
      assert.deepEqual([serviceAt(index, SHARED, T0), portAt(index, 80, T0)], ['old', 'old'], how);
      assert.deepEqual([serviceAt(index, SHARED, T0 + 2 * SECOND), portAt(index, 80, T0 + 2 * SECOND)], ['young', 'young'], how);
      assert.equal(index.servicePort(SHARED, 80, 'tcp', T0 + 2 * SECOND)?.service.port, 'other');
      index.dropService('default', 'young');
      index.dropService('default', 'old');
      clock.set(T0 + 2 * RETENTION_MS);
      index.sweep();
      assert.equal(serviceAt(index, SHARED, T0), undefined);
      assert.equal(index.sizes().ended, 0);
    }
  });

  it('is the older one’s wherever it stands in a list', () => {
    for (const order of [0, 1]) {
      const inOrder = <T>(old: T, young: T): T[] => (order === 0 ? [old, young] : [young, old]);
      const { index } = start();
      const services = inOrder(
        shared('old', 'web', 80, { createdMs: T0 - 9 * SECOND }),
        shared('young', 'web', 80, { createdMs: T0 - SECOND }),
      );
      index.replaceServices(services.map(serviceFact).filter((one) => one !== undefined));
      assert.equal(serviceAt(index, SHARED, T0), 'old');
      const slices = inOrder(['old', T0 - 9 * SECOND], ['young', T0 - SECOND] as const).map(([name, createdMs]) => {
        const raw = rawSlice('s', 's', [{ ip: '10.0.2.5', pod: `${name}` }], `of-${name}`);
        raw.metadata.creationTimestamp = new Date(createdMs).toISOString();
        return sliceFact(raw);
      });
      index.replaceSlices(slices.filter((one) => one !== undefined));
      assert.equal(podAt(index, '10.0.2.5', T0), 'old');
    }
  });

  for (const isAsked of [true, false]) {
    it(`stays with the pod that one namespace’s slice names, and is another’s after its end (${isAsked ? 'asked for' : 'not asked for'})`, () => {
      const { clock, index } = start();
      const look = () => isAsked && index.ownerOf('10.0.2.5', clock.now());
      putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.5', pod: 'theirs' }], 'b'));
      look();
      clock.set(T0 + 10 * SECOND);
      putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.5', pod: 'liar' }], 'a'));
      look();
      assert.equal(podAt(index, '10.0.2.5', T0 + 10 * SECOND), 'theirs');
      clock.set(T0 + 20 * SECOND);
      index.dropSlice('b', 's-1');
      assert.equal(podAt(index, '10.0.2.5', T0 + 15 * SECOND), 'theirs');
      assert.equal(podAt(index, '10.0.2.5', T0 + 21 * SECOND), 'liar');
      clock.set(T0 + 30 * SECOND);
      index.dropSlice('a', 's-1');
      clock.set(T0 + 2 * RETENTION_MS);
      index.sweep();
      assert.deepEqual([index.sizes().pods, index.sizes().ended], [0, 0]);
    });
  }

  it('stays with the node that was told first, and is the other’s after its end; but this node’s own at once', () => {
    const { clock, index } = start();
    putNode(index, rawNode('n0', '192.168.60.11'));
    index.setLocalAddresses(['192.168.60.11']);
    assert.deepEqual(index.ownerOf('192.168.60.11', T0), { kind: 'node', node: 'host1' });
    putNode(index, rawNode('n1', '10.1.0.9'));
    putNode(index, rawNode('n2', '10.1.0.9'));
    assert.deepEqual(index.ownerOf('10.1.0.9', T0), { kind: 'node', node: 'n1' });
    clock.set(T0 + SECOND);
    index.dropNode('n1');
    assert.deepEqual(index.ownerOf('10.1.0.9', T0 + 2 * SECOND), { kind: 'node', node: 'n2' });
  });
});

describe('replacing a whole list', () => {
  it('takes away what is not in it and keeps what is, in one step', () => {
    const { clock, index } = start();
    putPod(index, { name: 'a', ip: '10.0.0.1' });
    putPod(index, { name: 'b', ip: '10.0.0.2' });
    putSlice(index, rawSlice('s-1', 's', [{ ip: '10.0.2.1', pod: 'far' }]));
    const kept = podRefAt(index, '10.0.0.2', T0);
    let seen = 0;
    index.onChange(() => {
      seen += 1;
      assert.equal(podAt(index, '10.0.0.2', clock.now()), 'b');
    });
    clock.set(T0 + SECOND);
    index.replacePods(
      [
        podFact(rawPod({ name: 'b', ip: '10.0.0.2' })),
        podFact(rawPod({ name: 'c', ip: '10.0.0.1', readyMs: T0 + SECOND })),
      ].filter((one) => one !== undefined),
    );
    index.replaceSlices([]);
    assert.equal(seen, 2);
    assert.equal(podRefAt(index, '10.0.0.2', clock.now()), kept);
    assert.deepEqual(
      [...index.ownPods()].map((pod) => pod.version.owner.pod.name),
      ['b', 'c'],
    );
    assert.equal(podAt(index, '10.0.0.1', T0 + 2 * SECOND), 'c');
    assert.equal(index.sizes().endpoints, 0);
  });
});

describe('the workload of a pod', () => {
  it('is the one that the owner references lead to, for every pod of the real cluster', () => {
    const { Pod, ReplicaSet } = captured('iptables');
    const checked = new Set<string>();
    for (const pod of Pod) {
      const [owner] = pod.metadata.ownerReferences;
      const set = ReplicaSet.find((one) => one.metadata.uid === owner.uid);
      const top = set ? set.metadata.ownerReferences[0] : owner;
      assert.equal(podFact(pod)?.owner, `${top.kind}/${top.name}`);
      checked.add(top.kind);
    }
    assert.deepEqual([...checked].sort(), ['DaemonSet', 'Deployment', 'Job', 'StatefulSet']);
  });

  it('is the ReplicaSet itself when no Deployment made it', () => {
    const bare = podFact(rawPod({ name: 'a', owner: { kind: 'ReplicaSet', name: 'lonely-1' } }));
    assert.equal(bare?.owner, 'ReplicaSet/lonely-1');
    assert.equal(podFact(rawPod({ name: 'a' }))?.owner, undefined);
  });
});
