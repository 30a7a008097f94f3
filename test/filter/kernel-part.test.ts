import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { protocolName } from '../../src/event/names.ts';
import type { Endpoint, FlowEvent, PacketEvent } from '../../src/event/types.ts';
import { decide } from '../../src/filter/compile/run.ts';
import { LiveFilter } from '../../src/filter/evaluate/judge.ts';
import { kernelPart, kernelPartText, protocolPart, unionOf } from '../../src/filter/evaluate/kernel-part.ts';
import { kernelCode, kernelProgram } from '../../src/filter/evaluate/kernel-program.ts';
import type { Expression } from '../../src/filter/language/ast.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { addressText } from '../../src/util/address.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { flow, hop, packet } from '../client/events.ts';
import { SEED } from '../support/seed.ts';
import { randomLiveFilter } from './support/live-expressions.ts';
import { type Random, randomOf } from './support/random.ts';
import { frame } from './support/traffic.ts';

const VXLAN_PORT = 8472;
const FILTERS = 2500;
const PACKETS = 150;

describe('the part of a filter that the kernel decides', () => {
  for (const [text, part] of [
    ['icmp', 'icmp'],
    ['not icmp', 'not icmp'],
    ['tcp port 6379 and svc redis-master', 'tcp'],
    ['tcp port 80 or tcp port 443', 'tcp'],
    ['host 10.0.0.1 and tcp', 'tcp'],
    ['udp port 53', 'inner udp'],
    ['port 53', 'inner (tcp or udp or sctp)'],
    ['inner udp or icmp', 'inner (udp or icmp)'],
    ['inner host 10.0.0.1 and less 80', 'inner ip'],
    ['inner net fe80::/10', 'inner ip6'],
    ['tcp[tcpflags] & tcp-rst != 0', 'tcp[13] & 4 != 0'],
    ['tcp[0:2] = 80', 'tcp'],
    ['icmp[icmptype] = icmp-unreach', 'icmp[0] = 3 or icmp[0] = 8 or icmp[0] = 0'],
    ['not (tcp or host 1.2.3.4)', 'not tcp'],
    ['dropped and sctp', 'sctp'],
    ['proto 6', 'inner proto 6'],
    // Whatever is seen here, it may be true elsewhere.
    ['host 10.0.0.1', undefined],
    ['not port 80', undefined],
    ['not host 10.0.0.1', undefined],
    ['udp', undefined],
    ['ip6', undefined],
    ['port 8472', undefined],
    ['udp dst portrange 8000-9000', undefined],
    ['outer udp', undefined],
    ['dropped', undefined],
    ['icmp or pod frontend', undefined],
    ['less 80', undefined],
    ['tcp[20:2] = 1 or udp[8] = 1', undefined],
    // Read of any packet: the right side asks for no protocol of its own.
    ['1 + tcp[13] = 3', undefined],
  ] as const) {
    test(`of ${text} is ${part ?? 'nothing'}`, () => {
      const found = kernelPart(parseFilter(text, 'live') as Expression, [VXLAN_PORT]);
      assert.equal(found === undefined ? undefined : kernelPartText(found), part);
    });
  }

  test('of several filters is what none of them can take, and nothing when one can take all', () => {
    const parts = ['icmp', 'tcp port 80', 'tcp port 443 or icmp'].map((text) =>
      kernelPart(parseFilter(text, 'live') as Expression, []),
    );
    assert.equal(kernelPartText(unionOf(parts) as Expression), 'icmp or tcp');
    assert.equal(unionOf([...parts, undefined]), undefined);
    assert.equal(unionOf([]), undefined);
  });

  test('is nothing when its program would be longer than the kernel is given', () => {
    const terms = Array.from({ length: 900 }, (_, value) => `tcp[14:2] = ${value}`);
    const parts = terms.map((text) => kernelPart(parseFilter(text, 'live') as Expression, []));
    assert.ok(kernelProgram(unionOf(parts.slice(0, 100)) as Expression));
    assert.equal(kernelProgram(unionOf(parts) as Expression), undefined);
  });

  test(`leaves out no packet, at no hook, that the filter takes in any view, and none of a conversation it takes (seed ${SEED})`, () => {
    const random = randomOf(SEED);
    const packets = Array.from({ length: PACKETS }, () => seen(random));
    let matches = 0;
    let leftOut = 0;
    let leftOutByProtocol = 0;
    for (let count = 0; count < FILTERS; count++) {
      const text = randomLiveFilter(random);
      const both = prepared(text);
      if (both === undefined) continue;
      const code = kernelCode(both.part);
      const byProtocols = protocolPart(both.part);
      const protocolCode = byProtocols === undefined ? undefined : kernelCode(byProtocols);
      for (const { told, conversation, captured } of packets) {
        const passes = captured.map((bytes) => decide(code, viewOf(bytes), 60, []));
        if (passes.includes(false)) leftOut += 1;
        const byProtocol = protocolCode === undefined ? [] : captured.map((bytes) => decide(protocolCode, viewOf(bytes), 60, []));
        if (byProtocol.includes(false)) leftOutByProtocol += 1;
        for (const one of [told, conversation]) {
          const evidence = { captured: one === told ? captured : [], vxlanPort: VXLAN_PORT, isWhole: true };
          if (both.live.judge(one, evidence).outcome !== 'match') continue;
          matches += 1;
          assert.ok(!passes.includes(false), `${text} takes ${JSON.stringify(one)}`);
          assert.ok(!byProtocol.includes(false), `by its protocols, ${text} takes ${JSON.stringify(one)}`);
        }
      }
    }
    assert.ok(matches > 5000 && leftOut > 5000 && leftOutByProtocol > 2000, `${matches}, ${leftOut}, ${leftOutByProtocol}`);
  });
});

/** Undefined for a filter without a meaning on live packets, or without a part for the kernel. */
function prepared(text: string) {
  try {
    const part = kernelPart(parseFilter(text, 'live') as Expression, [VXLAN_PORT]);
    return part === undefined ? undefined : { live: new LiveFilter(text), part };
  } catch (error) {
    assert.ok(error instanceof KtraceError, String(error));
    return undefined;
  }
}

interface Seen {
  told: PacketEvent;
  conversation: FlowEvent;
  /** Before and after its translation. */
  captured: Uint8Array[];
}

/** A packet as two hooks captured it, with a translation in between for every other one, and a tunnel for as many. */
function seen(random: Random): Seen {
  for (;;) {
    const { bytes } = frame(random, 'raw', false);
    const isV6 = bytes[0]! >> 4 === 6;
    if (!isV6 && bytes[0]! >> 4 !== 4) continue;
    const proto = isV6 ? bytes[6]! : bytes[9]!;
    const l4 = isV6 ? 40 : (bytes[0]! & 15) * 4;
    const isFirst = isV6 || (bytes.readUInt16BE(6) & 0x1fff) === 0;
    const hasPorts = isFirst && [6, 17, 132].includes(proto);
    const [from, to, size] = isV6 ? [8, 24, 16] : [12, 16, 4];
    const end = (at: number, portAt: number, of: Buffer): Endpoint => ({
      ip: addressText(viewOf(mapped(of.subarray(at, at + size))), 0),
      ...(hasPorts ? { port: of.readUInt16BE(portAt) } : {}),
    });
    const after = Buffer.from(bytes);
    const other = frame(random, 'raw', false).bytes;
    const isTranslated = random.below(2) === 0 && other[0]! >> 4 === bytes[0]! >> 4;
    if (isTranslated) {
      other.copy(after, to, to, to + size);
      if (hasPorts) after.writeUInt16BE(random.pick([53, 80, 8080, 6379]), l4 + 2);
    }
    const ends = { src: end(from, l4, bytes), dst: end(to, l4 + 2, bytes) };
    const tunnel = { kind: 'vxlan', vni: 1, src: '10.0.0.1', dst: '10.0.0.2' } as const;
    const fields = {
      ...ends,
      proto: protocolName(proto),
      ...(isTranslated
        ? { nat: [{ kind: 'dnat' as const, before: ends.dst, after: end(to, l4 + 2, after), seenBy: 'conntrack' as const }] }
        : {}),
    };
    return {
      told: packet({
        id: 'p',
        hops: [hop('host1', 'veth1', 'in', 0), hop('host1', 'eth0', 'out', 9, random.below(2) === 0 ? tunnel : undefined)],
        len: 60,
        ...fields,
      }),
      conversation: flow({ id: 'f', node: 'host1', ...fields }),
      captured: isTranslated ? [bytes, after] : [bytes],
    };
  }
}

/** IPv4 as ::ffff:a.b.c.d. */
function mapped(bytes: Buffer): Buffer {
  return bytes.length === 16 ? bytes : Buffer.concat([Buffer.alloc(10), Buffer.from([0xff, 0xff]), bytes]);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
