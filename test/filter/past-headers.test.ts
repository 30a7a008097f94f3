import assert from 'node:assert/strict';
import { test } from 'node:test';
import { termsPastHeaders } from '../../src/filter/evaluate/past-headers.ts';
import { parseFilter } from '../../src/filter/language/parse.ts';

for (const [text, expected] of [
  ['udp[20:2] == 0x1234', ['udp[20:2] = 4660 42']],
  ['udp[8] = 1', ['udp[8] = 1 29']],
  ['udp[6:2] = 1', []],
  ['tcp[60] = 1 or not (tcp[61:4] & 1 = 0 and port 80)', ['tcp[60] = 1 81', 'tcp[61:4] & 1 = 0 85']],
  // Options may be there.
  ['tcp[20:4] = 1', []],
  ['tcp[tcp[12] >> 2] = 1', []],
  ['icmp[8:4] = 1', []],
  ['icmp[76] = 1', ['icmp[76] = 1 97']],
  ['icmp6[48] = 1 or ip6[200] = 1', []],
  ['ip[135] = 1', []],
  ['ip[136] = 1', ['ip[136] = 1 137']],
  // Nothing is known of headers inside other protocols: none of their bytes are captured.
  ['igmp[0] = 0x11', ['igmp[0] = 17 21']],
  ['inner udp[40] = 5', ['udp[40] = 5 61']],
  ['1 < sctp[12:4]', ['1 < sctp[12:4] 36']],
  ['udp port 53 and len > 100', []],
] as const)
  test(`${text} reads behind the headers for certain: ${expected.join(', ') || 'nowhere'}`, () => {
    const found = termsPastHeaders(parseFilter(text, 'live')!);
    assert.deepEqual(
      found.map(({ term, readsTo }) => `${term} ${readsTo}`),
      expected,
    );
  });
