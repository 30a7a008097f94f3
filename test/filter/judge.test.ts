import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Endpoint, FlowEvent, PacketEvent } from '../../src/event/types.ts';
import { compileFilter } from '../../src/filter/compile/compile.ts';
import { decide } from '../../src/filter/compile/run.ts';
import { LiveFilter } from '../../src/filter/evaluate/judge.ts';
import { judgedText, parseJudged, union } from '../../src/filter/evaluate/judged.ts';
import { combine } from '../../src/filter/evaluate/terms.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { flow, hop, packet, pod } from '../client/events.ts';
import { SEED } from '../support/seed.ts';
import { randomFilter } from './support/expressions.ts';
import { randomOf } from './support/random.ts';
import { frame } from './support/traffic.ts';

const frontend = pod('frontend', '10.244.1.2', 'host1', 41512, { app: 'guestbook' });
const service: Endpoint = { ip: '10.96.0.10', port: 6379, service: { namespace: 'default', name: 'redis-master', port: '' } };
const redis = pod('redis-0', '10.244.3.2', 'host3', 6380, { app: 'redis' });
const tunnel = { kind: 'vxlan', vni: 1, src: '172.18.0.1', dst: '172.18.0.3' } as const;

/** A SYN to a Service, sent on to another node's pod. */
function syn(fields: Partial<PacketEvent> = {}): PacketEvent {
  return packet({
    id: 'a',
    src: frontend,
    dst: service,
    nat: [{ kind: 'dnat', before: service, after: redis, service: 'default/redis-master', seenBy: 'conntrack' }],
    hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'flannel.1', 'out', 30_000, tunnel)],
    tcp: { flags: 'S', seq: 1, ack: 0 },
    ...fields,
  });
}

/** Its bytes as the first hook captured them. */
const SYN_BYTES = Uint8Array.from([
  0x45, 0, 0, 60, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 244, 1, 2, 10, 96, 0, 10, 0xa2, 0x28, 0x18, 0xeb, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0,
  2, 0xff, 0xff, 0, 0, 0, 0,
]);

function ask(
  text: string,
  told: PacketEvent | FlowEvent = syn(),
  captured: Uint8Array[] = told.kind === 'packet' ? [SYN_BYTES] : [],
) {
  return new LiveFilter(text).judge(told, { captured, vxlanPort: 8472, isWhole: true }).outcome;
}

describe('a filter asks of a Geneve tunnel what a record has of it', () => {
  const inGeneve = syn({ hops: [hop('host1', 'eth0', 'out', 0, { ...tunnel, kind: 'geneve' })] });
  for (const [text, outcome] of [
    ['outer udp and inner tcp', 'match'],
    ['outer host 172.18.0.3', 'match'],
    ['inner udp', 'mismatch'],
    ['outer tcp', 'mismatch'],
    // Neither its port nor the length of its options is known.
    ['outer udp port 6081', 'mismatch'],
    ['outer len = 110', 'mismatch'],
    ['outer ip[2:2] = 110', 'mismatch'],
  ] as const)
    test(text, () => assert.equal(ask(text, inGeneve), outcome));
});

describe('a filter asks a packet in every view', () => {
  for (const [text, outcome] of [
    ['host 10.96.0.10', 'match'],
    ['host 10.244.3.2', 'match'],
    ['not host 10.96.0.10', 'mismatch'],
    ['dst host 10.244.3.2 and src host 10.244.1.2', 'match'],
    ['src host 10.244.3.2', 'mismatch'],
    ['port 6379', 'match'],
    ['tcp dst port 6380', 'match'],
    ['src port 6380', 'mismatch'],
    ['host 172.18.0.3', 'match'],
    ['src host 172.18.0.1', 'match'],
    ['outer host 172.18.0.3', 'match'],
    ['inner host 172.18.0.3', 'mismatch'],
    ['outer host 10.244.1.2', 'mismatch'],
    ['inner host 10.244.3.2', 'match'],
    ['udp port 8472', 'match'],
    ['outer udp dst port 8472 and inner tcp', 'match'],
    ['inner udp', 'mismatch'],
    ['outer src port 40000', 'mismatch'],
    ['tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn', 'match'],
    ['ip[8] = 64', 'match'],
    ['outer ip[8] = 64', 'mismatch'],
    ['len = 60', 'match'],
    ['outer len = 110', 'match'],
    ['greater 110 and less 60', 'match'],
    ['net 10.96.0.0/12 and net 10.244.3.0/24', 'match'],
    ['tcp[20:4] = 1', 'match'],
    ['tcp[24] = 1', 'beyond'],
    ['not tcp[24] = 1', 'beyond'],
    ['tcp or tcp[24] = 1', 'match'],
    ['udp port 99 and tcp[24] = 1', 'mismatch'],
    ['icmp', 'mismatch'],
    ['ip6', 'mismatch'],
    ['portrange 6000-6400', 'match'],
  ] as const) {
    // Its acknowledgement number is where tcp[20] would be without options, which were not captured.
    const expected = text === 'tcp[20:4] = 1' ? 'beyond' : outcome;
    test(`${text}: ${expected}`, () => assert.equal(ask(text), expected));
  }

  for (const [text, wantsBytes] of [
    // The packet has 60 bytes, of which 40 were captured.
    ['tcp[24] = 1', 45],
    ['tcp[20:4] = 1 or tcp[36:4] = 1', 60],
    ['tcp[36:4] = 1 and tcp[1000] = 1', 60],
    ['tcp[40] = 1', undefined],
    ['tcp[12] = 1', undefined],
    ['outer udp[40] = 1', undefined],
    ['udp[24] = 1', undefined],
    ['1 / (tcp[0] - tcp[0]) = 1', undefined],
  ] as const)
    test(`${text} wants ${wantsBytes ?? 'no'} bytes more than were captured`, () => {
      const judged = new LiveFilter(text).judge(syn(), { captured: [SYN_BYTES], vxlanPort: 8472, isWhole: true });
      assert.equal(judged.wantsBytes, wantsBytes);
    });

  test('the length is that of the packet as the kernel handled it, however many it is on the wire', () => {
    const joined = syn({ len: 14_520, segments: 10 });
    assert.equal(ask('greater 14520 and less 14520', joined), 'match');
    assert.equal(ask('len <= 1500', joined), 'mismatch');
  });

  test('of a packet of which no bytes are known none were captured too short', () => {
    assert.equal(new LiveFilter('tcp[24] = 1').judge(syn(), { captured: [], isWhole: true }).wantsBytes, undefined);
  });

  test('of a reply the source is the end that is translated', () => {
    const reply = syn({
      dir: 'reply',
      src: redis,
      dst: frontend,
      nat: [{ kind: 'dnat', before: redis, after: service, service: 'default/redis-master', seenBy: 'conntrack' }],
    });
    const bytes = Uint8Array.from(SYN_BYTES);
    bytes.set([10, 244, 3, 2, 10, 244, 1, 2, 0x18, 0xec, 0xa2, 0x28], 12);
    assert.equal(ask('src host 10.96.0.10 and src port 6379', reply, [bytes]), 'match');
    assert.equal(ask('dst host 10.96.0.10', reply, [bytes]), 'mismatch');
    assert.equal(ask('src svc redis-master and not dst svc redis-master', reply, [bytes]), 'match');
  });

  test('a packet that was seen behind its translation alone is known before it, too', () => {
    const bytes = Uint8Array.from(SYN_BYTES);
    bytes.set([10, 244, 3, 2, 0xa2, 0x28, 0x18, 0xec], 16);
    assert.equal(ask('dst host 10.96.0.10 and dst port 6379', syn(), [bytes]), 'match');
  });
});

describe("the cluster's words ask the record", () => {
  for (const [text, outcome] of [
    ['pod frontend', 'match'],
    ['src pod default/frontend', 'match'],
    ['dst pod frontend', 'mismatch'],
    ['pod shop/frontend', 'mismatch'],
    ['dst pod redis-0', 'match'],
    ['svc redis-master', 'match'],
    ['dst svc default/redis-master', 'match'],
    ['src svc redis-master', 'mismatch'],
    ['ns default and not ns kube-system', 'match'],
    ['src node host1 and dst node host3', 'match'],
    ['label app=redis and src label app=guestbook', 'match'],
    ['src label app=redis', 'mismatch'],
    ['label constructor=x', 'mismatch'],
    ['iface flannel* and iface veth1', 'match'],
    ['iface eth?', 'mismatch'],
    ['dropped', 'mismatch'],
    ['translated', 'match'],
  ] as const) {
    test(`${text}: ${outcome}`, () => assert.equal(ask(text), outcome));
  }

  test('a drop has a reason and an interface', () => {
    const lost = syn({ verdict: 'dropped', drop: { reason: 'NETFILTER_DROP', at: 'nft_do_chain', if: 'cni0' } });
    assert.equal(ask('dropped and reason netfilter_drop and iface cni0', lost), 'match');
    assert.equal(ask('reason NO_SOCKET', lost), 'mismatch');
  });

  test('a conversation is asked for its ends, its protocol and its names; for more it says that it cannot tell', () => {
    const told = flow({
      id: 'f',
      node: 'host1',
      src: frontend,
      dst: service,
      ...(syn().nat === undefined ? {} : { nat: syn().nat ?? [] }),
    });
    for (const text of [
      'tcp port 6379',
      'host 10.244.3.2 and dst port 6380',
      'svc redis-master',
      'not dropped',
      'src pod frontend',
    ]) {
      assert.equal(ask(text, told), 'match', text);
    }
    for (const text of ['udp', 'dropped', 'iface *', 'icmp']) assert.equal(ask(text, told), 'mismatch', text);
    for (const text of ['len > 100', 'tcp[tcpflags] & tcp-syn != 0', 'ip[8] < 3']) assert.equal(ask(text, told), 'beyond', text);
  });
});

describe('what one node knows', () => {
  const first = syn({
    nat: [],
    hops: [hop('host3', 'flannel.1', 'in', 0, tunnel)],
    dst: redis,
    src: { ip: frontend.ip, port: 41512 },
  });
  const bytes = Uint8Array.from(SYN_BYTES);
  bytes.set([10, 244, 3, 2, 0xa2, 0x28, 0x18, 0xec], 16);
  const part = (text: string) => new LiveFilter(text).judge(first, { captured: [bytes], isWhole: false });

  test('leaves open what another node may know, and ends what none can', () => {
    for (const text of ['host 10.96.0.10', 'not host 10.96.0.10', 'dropped', 'port 6379', 'label app=guestbook', 'len > 1000']) {
      assert.equal(part(text).outcome, 'open', text);
    }
    for (const text of ['icmp', 'tcp[13] & 1 != 0', 'not inner tcp', 'icmp and dropped', 'ip proto 132']) {
      assert.equal(part(text).outcome, 'mismatch', text);
    }
    for (const text of ['tcp or dropped', 'udp', 'outer udp and inner tcp']) assert.equal(part(text).outcome, 'match', text);
  });

  test('is joined with what the others know: a term is true when it is true of any part', () => {
    const filter = new LiveFilter('host 10.96.0.10 and dst label app=redis and not dropped');
    const here = filter.judge(first, { captured: [bytes], isWhole: false }).answers;
    const there = filter.judge(syn({ dst: service, nat: [] }), { captured: [SYN_BYTES], isWhole: false }).answers;
    const texts = [here, there].map((answers) => judgedText(3, answers));
    assert.deepEqual(texts, ['3:010', '3:100']);
    const parts = texts.map((text) => parseJudged(text)?.answers ?? []);
    assert.equal(combine(filter.formula, union(parts)), 'match');
    assert.equal(combine(filter.formula, union(parts.slice(1))), 'mismatch');
  });

  test('is read back only as it was written', () => {
    assert.equal(parseJudged('3:01y'), undefined);
    assert.equal(parseJudged('x:01'), undefined);
    assert.deepEqual(parseJudged('7:1x0'), { revision: 7, answers: ['yes', 'beyond', 'never'] });
  });
});

test(`where there is one view the answer is that of tcpdump's program (2,000 filters, seed ${SEED})`, () => {
  const random = randomOf(SEED);
  const frames = Array.from({ length: 60 }, () => frame(random, 'raw', true));
  let compared = 0;
  for (let count = 0; count < 2000; count++) {
    const text = randomFilter(random);
    const both = prepared(text);
    if (both === undefined) continue;
    for (const { bytes, wireBytes } of frames) {
      if (bytes.length === 0) continue;
      const told = packet({ id: 'p', src: { ip: '1.1.1.1' }, dst: { ip: '2.2.2.2' }, hops: [], len: wireBytes });
      const { outcome } = both.live.judge(told, { captured: [bytes], isWhole: true });
      const expected: boolean =
        decide(both.program, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), wireBytes, []) === true;
      assert.equal(outcome === 'match', expected, text);
      compared += 1;
    }
  }
  assert.ok(compared > 20_000, `only ${compared} answers were compared`);
});

/** Undefined for a filter that has no meaning on live packets. */
function prepared(text: string) {
  try {
    return { live: new LiveFilter(text), program: compileFilter(parseFilter(text), 'raw') };
  } catch (error) {
    assert.ok(error instanceof KtraceError, String(error));
    return undefined;
  }
}

test('a filter for packets as they go is bounded, and looks up no names', () => {
  const many = Array.from({ length: 300 }, (_, port) => `port ${port + 1}`).join(' or ');
  assert.throws(() => new LiveFilter(many), /at most 256 different terms, got 300/);
  assert.throws(() => new LiveFilter('host web.example'), /Expected an address, got the name web.example/);
  assert.throws(() => new LiveFilter('  '), /Expected a filter/);
  assert.equal(new LiveFilter('tcp or tcp or (tcp and udp)').size, 2);
});
