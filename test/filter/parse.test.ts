import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Expression } from '../../src/filter/language/ast.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';
import { printFilter } from '../../src/filter/language/print.ts';
import { KtraceError } from '../../src/util/errors.ts';
import { fc } from '../support/fast-check.ts';
import { SEED } from '../support/seed.ts';
import { randomFilter } from './support/expressions.ts';
import { randomOf } from './support/random.ts';

describe('a filter', () => {
  for (const [text, printed] of [
    ['port 80 or 443', 'port 80 or port 443'],
    ['tcp src port 80', 'tcp src port 80'],
    ['host 10.1', 'net 10.1.0.0/16'],
    ['net 10', 'net 10.0.0.0/8'],
    ['net 10/8', 'net 10.0.0.0/8'],
    ['a or b', undefined],
    ['host a or b and not c', '(host a or host b) and not host c'],
    ['tcp or udp and port 53', '(tcp or udp) and port 53'],
    ['tcp or (udp and port 53)', 'tcp or (udp and port 53)'],
    ['! icmp && (ip6 || ip)', 'not icmp and (ip6 or ip)'],
    ['tcp[tcpflags] & (tcp-syn|tcp-fin) != 0', 'tcp[13] & (2 | 1) != 0'],
    ['less 60', 'len <= 60'],
    ['1 % 2 + 3 = len', '1 % (2 + 3) = len'],
    ['dst or src net 10.0.0.0 mask 255.0.0.255', 'net 10.0.0.0 mask 255.0.0.255'],
    ['ether host 2:0:0:0:0:9', 'ether host 02:00:00:00:00:09'],
    ['portrange https-http', 'portrange 80-443'],
    ['host \\tcpflags or \\and', 'host \\tcpflags or host \\and'],
    ['host \\10.0.]0.1', 'host \\10.0.]0.1'],
    ['host \\web.example', 'host web.example'],
    ['src \\gateway', 'src host \\gateway'],
  ] as const) {
    test(`${text} is understood as ${printed ?? 'a mistake'}`, () => {
      if (printed === undefined) assert.throws(() => parseFilter(text), KtraceError);
      else assert.equal(printFilter(parseFilter(text) as never), printed);
    });
  }

  test('without words takes every packet', () => {
    assert.equal(parseFilter(' \t'), undefined);
  });
});

test('a filter that is as long and as deep as may be can be read again once printed', () => {
  const chain = Array.from({ length: 300 }, (_, at) => `${at === 0 ? '' : at % 2 === 0 ? ' and ' : ' or '}port ${at}`).join('');
  const sum = `${Array.from({ length: 300 }, (_, at) => `${at === 0 ? '' : ` ${'+|*&-'[at % 5]} `}${at}`).join('')} = len`;
  const right = `${'tcp and ('.repeat(98)}udp or icmp and ip${')'.repeat(98)}`;
  const greedy = `${'1 + 2 % ('.repeat(7)}len * 2 + 3 & 4 | 5${')'.repeat(7)} = 1`;
  for (const text of [chain, sum, right, greedy, `not (${chain}) or ${sum}`]) {
    const expression = parseFilter(text);
    assert.ok(expression !== undefined);
    assert.deepEqual(parseFilter(printFilter(expression)), expression, text);
  }
});

test(`whatever can be read can be read again once printed, however deep it is (seed ${SEED})`, () => {
  const random = randomOf(SEED + 31);
  let deep = 0;
  for (let count = 0; count < 800; count++) {
    const filter = randomFilter(random);
    // As many of them as the parser takes: one parenthesis more is too many.
    for (let nots = 99; nots >= 40; nots--) {
      const expression = parsed(`${'not '.repeat(nots)}(${filter})`);
      if (expression === undefined) continue;
      assert.deepEqual(parsed(printFilter(expression)), expression, filter);
      deep += 1;
      break;
    }
  }
  assert.ok(deep > 400, `only ${deep} were read`);
});

function parsed(text: string): Expression | undefined {
  try {
    return parseFilter(text);
  } catch (error) {
    assert.ok(error instanceof KtraceError);
    return undefined;
  }
}

/** Filter, the place that the caret is under, and what the message says. */
const MISTAKES: [filter: string, at: string, message: RegExp][] = [
  ['tcp port', '', /Expected a port, got the end of the filter/],
  ['tcp and', '', /Expected a host, network, port or protocol, got the end/],
  ['tcp udp', 'udp', /Expected "and", "or" or the end of the filter, got "udp"/],
  ['(tcp', '', /Expected "\)" that closes the parenthesis/],
  ['tcp)', ')', /Expected "and", "or" or the end/],
  ['port 80 or or', 'or', /got "or"/],
  ['port 70000', '70000', /at most 65535, got 70000/],
  ['port nosuchport', 'nosuchport', /no known name/],
  ['udp port http', 'http', /one of tcp/],
  ['host 10.0.0.300', '10.0.0.300', /Expected an IPv4 address/],
  ['net 10.0.0.1/8', '10.0.0.1', /no bits set behind the mask/],
  ['net 10.0.0.0/33', '33', /at most 32 bits/],
  ['net fe80::1/10', 'fe80::1', /no bits set behind the mask/],
  ['ip6 host 10.0.0.1', '10.0.0.1', /IPv6 address/],
  ['ip host fe80::1', 'fe80::1', /IPv4 address/],
  ['icmp port 80', '80', /Expected tcp, udp, sctp or nothing before a port, got "icmp"/],
  ['tcp and 80', '80', /Expected a word that says what "80" is/],
  ['frontend', 'frontend', /Expected a word that says what "frontend" is/],
  ['tcp[13', '', /"\]" that closes the index/],
  ['tcp[13:3] = 1', '3]', /size of 1, 2 or 4/],
  ['tcp[13]', '', /Expected a comparison/],
  ['len > ', '', /Expected a number/],
  ['len > 1 / 0', '/', /divisor that is not 0/],
  ['len << 32 > 1', '<<', /at most 31 bits/],
  [`tcp and ${'1 + ('.repeat(16)}1${')'.repeat(16)} = len`, '1 + (', /Expected arithmetic that nests at most 16 deep/],
  ['udplite[0] = 1', 'udplite', /protocol whose bytes can be had/],
  ['089 = len', '089', /octal/],
  ['len = 99999999999', '99999999999', /at most 32 bits/],
  ['vlan 5000', '5000', /at most 4095/],
  ['src proto 6', 'proto', /no "src" or "dst"/],
  ['gateway x', 'gateway', /no "gateway"/],
  ['ip protochain 6', 'protochain', /needs a loop/],
  ['tcp gateway x', 'gateway', /no "gateway"/],
  ['(port 80 mpls)', 'mpls', /MPLS/],
  ['mpls', 'mpls', /MPLS/],
  ['wlan host 1', 'wlan', /which is about other ones/],
  ['tcp ; udp', ';', /got ";"/],
  ['host 10.0.0.1/8', '10.0.0.1', /Expected "net"/],
];

describe('a mistake in a filter', () => {
  for (const [filter, at, message] of MISTAKES) {
    test(`is shown at its place: ${filter}`, () => {
      const error = failureOf(filter);
      assert.match(error.message, message);
      assert.equal(error.code, 'KTRACE_E_FILTER');
      assert.equal(error.exitCode, 2);
      const [, shown, caret] = error.message.split('\n') as [string, string, string];
      assert.equal(shown.slice(caret.indexOf('^')).startsWith(at), true, `${shown}\n${caret}`);
      if (at === '') assert.equal(caret.indexOf('^'), shown.length);
    });
  }

  test('far into a long filter shows the part around it', () => {
    const error = failureOf(`${'tcp or '.repeat(200)} oops oops`);
    assert.match(error.message, /^ {2}….*oops oops$/m);
    assert.ok(error.message.split('\n').every((line) => line.length < 200));
  });

  test('is refused before it costs anything: too long, too deep', () => {
    assert.match(failureOf('tcp or '.repeat(2000)).message, /at most 8192 characters/);
    assert.match(failureOf(`${'('.repeat(500)}tcp${')'.repeat(500)}`).message, /nests at most 100 deep/);
    assert.match(failureOf(`${'not '.repeat(500)}tcp`).message, /nests at most 100 deep/);
  });
});

test('any text is a filter or a usage error with a caret', () => {
  const word = fc.constantFrom(
    ...'tcp udp host net port src dst and or not ( ) [ ] : 80 10.0.0.1 fe80::1 10.0 len = != < & - % 0x1 vlan ip6 mask / \\tcp proto a-b'.split(
      ' ',
    ),
  );
  const texts = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.array(word, { maxLength: 20 }).map((words) => words.join(' ')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      try {
        const expression = parseFilter(text);
        if (expression !== undefined) assert.ok(parseFilter(printFilter(expression)) !== undefined);
      } catch (error) {
        assert.ok(error instanceof KtraceError && error.exitCode === 2, String(error));
        assert.match(error.message, /\n {2}.*\n {2} *\^$/s);
      }
    }),
    { numRuns: 20_000 },
  );
});

function failureOf(filter: string): KtraceError {
  try {
    parseFilter(filter);
  } catch (error) {
    if (error instanceof KtraceError) return error;
    throw error;
  }
  throw new assert.AssertionError({ message: `${filter} is no mistake` });
}
