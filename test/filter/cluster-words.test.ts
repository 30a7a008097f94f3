import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { matchesGlob } from '../../src/filter/evaluate/globs.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { printFilter } from '../../src/filter/language/print.ts';
import type { Place } from '../../src/filter/tokens/cursor.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { fc } from '../support/fast-check.ts';

describe("the cluster's words", () => {
  for (const [text, printed] of [
    ['pod web-0', 'pod web-0'],
    ['pod shop/web-0 or web-1', 'pod shop/web-0 or pod web-1'],
    ['src pod (a or b) and not dst svc redis', '(src pod a or src pod b) and not dst svc redis'],
    ['src or dst ns kube-system', 'ns kube-system'],
    ['src and dst node host1', 'src and dst node host1'],
    ['label app=redis', 'label app=redis'],
    ['src label app.kubernetes.io/name=ktrace and label empty=', 'src label app.kubernetes.io/name=ktrace and label empty='],
    ['iface veth* or iface cali?0', 'iface veth* or iface cali?0'],
    ['dropped && reason netfilter_drop', 'dropped and reason NETFILTER_DROP'],
    ['translated and tcp port 6379 and svc redis-master', 'translated and tcp port 6379 and svc redis-master'],
    ['outer host 10.0.0.1 and inner (tcp or udp)', 'outer host 10.0.0.1 and inner (tcp or udp)'],
    ['not inner tcp port 80', 'not inner tcp port 80'],
    ['pod 10-0-0-1 and host \\pod', 'pod 10-0-0-1 and host pod'],
  ] as const) {
    test(`${text} is understood as ${printed}`, () => {
      const expression = parseFilter(text, 'live');
      assert.ok(expression !== undefined);
      assert.equal(printFilter(expression), printed);
    });
  }

  test('mean the same as their own text once printed, mixed in any way', () => {
    const name = fc.constantFrom('web-0', 'a', 'redis-master-343230949-2qrp7', '0abc', 'kube-dns.internal');
    const direction = fc.constantFrom('', 'src ', 'dst ', 'src and dst ');
    const primitive = fc.oneof(
      fc.tuple(direction, fc.constantFrom('pod', 'svc', 'ns', 'node'), name).map((words) => `${words[0]}${words[1]} ${words[2]}`),
      fc.tuple(direction, name, name).map(([where, key, value]) => `${where}label ${key}=${value}`),
      fc.constantFrom(
        'dropped',
        'translated',
        'reason NO_SOCKET',
        'iface eth*',
        'tcp port 80',
        'host 10.0.0.1',
        'tcp[13] & 2 != 0',
      ),
    );
    const { filter } = fc.letrec<{ filter: string }>((tie) => ({
      filter: fc.oneof(
        { maxDepth: 4 },
        primitive,
        tie('filter').map((one) => `not (${one})`),
        fc.tuple(tie('filter'), fc.constantFrom('and', 'or'), tie('filter')).map(([a, join, b]) => `(${a}) ${join} (${b})`),
      ),
    }));
    fc.assert(
      fc.property(filter, (text) => {
        const expression = parseFilter(text, 'live');
        assert.ok(expression !== undefined);
        assert.deepEqual(parseFilter(printFilter(expression), 'live'), expression);
      }),
    );
  });
});

/** Filter, where it is to be applied, the place that the caret is under, what the message and the hint say. */
const MISTAKES: [filter: string, place: Place, at: string, message: RegExp, hint: RegExp][] = [
  ['pod', 'live', '', /Expected the name of a pod, got the end of the filter/, /pod NAMESPACE\/NAME/],
  ['pod Web', 'live', 'Web', /Expected the name of a pod, got "Web"/, /pod NAME/],
  ['tcp and pod (', 'live', '', /Expected the name of a pod, got the end/, /pod NAME/],
  ['label app', 'live', 'app', /Expected a label, got "app"/, /KEY=VALUE/],
  ['ns a/b', 'live', 'a/b', /Expected the name of a namespace, got "a\/b"/, /ns NAME/],
  ['tcp pod web', 'live', 'web', /Expected no "tcp" before "pod"/, /tcp and pod NAME/],
  ['iface', 'live', '', /Expected the name of an interface/, /\* and \?/],
  ['reason no-socket', 'live', 'no-socket', /Expected the reason of a drop/, /NETFILTER_DROP/],
  ['outer pod web', 'live', 'outer', /a tunnel's own headers behind "outer", got "pod"/, /"pod" alone/],
  ['inner outer tcp', 'live', 'inner', /Expected no "outer" within "inner"/, /one of them/],
  ['tcp or ether host 1:2:3:4:5:6', 'live', 'ether', /frames are not what ktrace follows/, /host/],
  ['tcp and ether[0] = 1', 'live', 'ether', /frames are not/, /host/],
  ['1 + arp[0] = 2', 'live', 'arp', /ARP is not IP/, /Leave it out/],
  ['multicast', 'live', 'multicast', /frames are not/, /ip multicast/],
  ['vlan 5', 'live', 'vlan', /frames are not/, /iface NAME/],
  ['icmp and inbound', 'live', 'inbound', /in and out of each/, /"src" or "dst"/],
  ['gateway x', 'live', 'gateway', /no "gateway"/, /node NAME/],
  ['src gateway x', 'live', 'gateway', /no "gateway"/, /node NAME/],
  ['host gateway', 'live', 'gateway', /Expected a host, got "gateway"/, /"\\gateway"/],
  ['ip6 protochain 6', 'live', 'protochain', /needs a loop/, /ip6 proto N/],
  ['(ip6 protochain 6)', 'file', 'protochain', /needs a loop/, /ip6 proto N.*tcpdump/],
  ['dst geneve', 'live', 'geneve', /the port of a Geneve tunnel/, /outer udp/],
  ['geneve 7', 'file', 'geneve', /ktrace does not read "geneve"/, /inner X/],
  ['tcp or ifindex 2', 'live', 'ifindex', /another number on every node/, /iface NAME/],
  ['ifindex 2', 'file', 'ifindex', /ktrace does not read "ifindex"/, /iface NAME.*tcpdump/],
  ['tcp mpls', 'live', 'mpls', /MPLS does not occur/, /Leave it out/],
  ['mpls 5 and tcp', 'file', 'mpls', /does not read behind MPLS/, /tcpdump/],
  ['tcp and on eth0', 'live', 'on', /pf/, /iface NAME/],
  ['not stp', 'live', 'stp', /about other ones/, /Leave it out/],
  ['host 10.0.0.1 inbound', 'live', 'inbound', /in and out of each/, /"src" or "dst"/],
  ['tcp and pod web', 'file', 'pod', /a capture file knows no pods/, /Filter a follow/],
  ['src label a=b', 'file', 'label', /a capture file knows no labels/, /Filter a follow/],
  ['dropped', 'file', 'dropped', /a capture file says nothing of it/, /Filter a follow/],
  ['inner vlan 5', 'file', 'inner', /Expected no "vlan" within "inner"/, /one of them/],
];

describe("a mistake with the cluster's words", () => {
  for (const [filter, place, at, message, hint] of MISTAKES) {
    test(`is shown at its place: ${filter} (${place})`, () => {
      try {
        parseFilter(filter, place);
      } catch (error) {
        assert.ok(error instanceof KtraceError);
        assert.equal(error.exitCode, 2);
        assert.match(error.message, message);
        const [, shown = '', caret = ''] = error.message.split('\n');
        assert.ok(shown.slice(caret.indexOf('^')).startsWith(at), error.message);
        assert.ok(at !== '' || caret.indexOf('^') === shown.length, error.message);
        assert.match(error.hint ?? '', hint);
        return;
      }
      assert.fail('it was understood');
    });
  }

  test('is none in tcpdump’s own words: every place takes those that have a meaning there', () => {
    for (const filter of [
      'ether host 1:2:3:4:5:6 and vlan',
      'arp',
      'inbound',
      'inner tcp',
      'iface eth0',
      'host 10.0.0.1 or (port 80)',
    ]) {
      assert.ok(parseFilter(filter, 'file') !== undefined);
      assert.ok(parseFilter(filter) !== undefined);
    }
  });
});

test('a glob is * for any characters and ? for one, however many stars there are', () => {
  for (const [pattern, text, expected] of [
    ['veth*', 'veth1a2b', true],
    ['*', '', true],
    ['cali?0', 'calix0', true],
    ['cali?0', 'cali0', false],
    ['*a*b*', 'xxaxxbxx', true],
    ['eth0', 'eth01', false],
    [`${'*a'.repeat(30)}b`, 'a'.repeat(60), false],
  ] as const) {
    assert.equal(matchesGlob(pattern, text), expected, `${pattern} ${text}`);
  }
});
