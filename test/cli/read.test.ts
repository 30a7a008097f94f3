import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { USUAL_TUNNEL_PORTS } from '../../src/filter/evaluate/tunnel-ports.ts';
import { randomOf } from '../filter/support/random.ts';
import { NO_TCPDUMP } from '../filter/support/tcpdump.ts';
import { frame, writeFrames } from '../filter/support/traffic.ts';

const KTRACE = new URL('../../bin/ktrace', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'ktrace-read-'));
const path = join(folder, 'some.pcap');
const random = randomOf(7);
writeFrames(
  path,
  'ethernet',
  Array.from({ length: 300 }, () => frame(random, 'ethernet', true)),
);
after(() => rmSync(folder, { recursive: true }));

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function ktrace(...args: string[]): Promise<Ended> {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [KTRACE, ...args], { maxBuffer: 2 ** 26 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return error as unknown as Ended;
  }
}

/** The filter is shown as it was written, with a caret under the place. */
function assertPlace(stderr: string, filter: string, place: string): void {
  const lines = stderr.split('\n');
  const shown = lines.indexOf(`  ${filter}`);
  assert.ok(shown >= 0, stderr);
  const caret = (lines[shown + 1] ?? '').indexOf('^');
  assert.ok(caret > 0 && lines[shown]?.slice(caret).startsWith(place), stderr);
}

describe('ktrace read', () => {
  test('says at the end how many packets were read and shown', async () => {
    const { code, stdout, stderr } = await ktrace('read', path, 'icmp', 'or', 'icmp6', '-o', 'json');
    assert.equal(code, 0, stderr);
    const shown = stdout.trim().split('\n').length;
    assert.ok(shown > 5);
    assert.match(stderr, new RegExp(`^ktrace: 300 packets read, ${shown} shown`));
  });

  test('tells of each packet what its headers say', async () => {
    const { stdout } = await ktrace(
      'read',
      path,
      'icmp[icmptype] == icmp-echo and not ip[6:2] & 0x3fff != 0',
      '-c',
      '1',
      '-o',
      'json',
    );
    const event = JSON.parse(stdout) as Record<string, unknown>;
    assert.equal(event['kind'], 'packet');
    assert.equal(event['proto'], 'icmp');
    assert.equal((event['icmp'] as { name: string }).name, 'echo-request');
    assert.match(String(event['time']), /^1970-01-01T00:0\d:\d\d\.000000000Z$/);
    assert.deepEqual([event['nodes'], event['hops']], [[], []]);
  });

  test('refuses a mistake before it opens the file', async () => {
    const { code, stdout, stderr } = await ktrace('read', '/nowhere/some.pcap', 'tcp', 'port');
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(
      stderr,
      /^ktrace: Expected a port, got the end of the filter \[KTRACE_E_FILTER\]\n {2}tcp port\n {10}\^\n {2}See ktrace read --help\n$/,
    );
  });

  test('shows the place of what the packets of the file cannot be asked', async () => {
    const raw = join(folder, 'raw.pcap');
    writeFrames(raw, 'raw', [frame(random, 'raw', false)]);
    for (const [filter, place, message] of [
      ['tcp or vlan 5', 'vlan 5', /Expected Ethernet frames for "vlan 5", got packets without a frame/],
      ['not inbound', 'inbound', /Expected packets that say which way they went/],
      ['udp or ether src (1:2:3:4:5:6 or 6:5:4:3:2:1)', '1:2', /Expected Ethernet frames for "ether src host 01:02:03:04:05:06"/],
      ['inner tcp and (vlan 5)', 'vlan', /Expected no "vlan" beside "inner"/],
    ] as const) {
      const { code, stderr } = await ktrace('read', raw, filter);
      assert.equal(code, 2, filter);
      assert.match(stderr, message);
      assertPlace(stderr, filter, place);
    }
  });

  test('prints all that can be read of a damaged file, then what is wrong with it', async () => {
    const half = join(folder, 'half.pcap');
    const whole = readFileSync(path);
    writeFileSync(half, whole.subarray(0, Math.floor(whole.length / 2) + 1));
    const { code, stdout, stderr } = await ktrace('read', half);
    assert.equal(code, 1);
    assert.ok(stdout.split('\n').length > 100);
    assert.match(stderr, /packets read, \d+ shown.*\n.*at byte \d+ of the file \[KTRACE_E_CAPTURE_DAMAGED\]/s);
  });

  test('makes no page and no capture of a capture file: they are of dumps', async () => {
    for (const format of ['html', 'pcapng']) {
      const { code, stdout, stderr } = await ktrace('read', path, '-o', format);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(
        stderr,
        new RegExp(`^ktrace: Expected a dump of ktrace to read for -o ${format}, got .*\\[KTRACE_E_ARGUMENT\\]`),
      );
    }
  });

  test('says what is no capture file, and what is not there', async () => {
    const other = await ktrace('read', KTRACE);
    assert.equal(other.code, 2);
    assert.match(other.stderr, /Expected a dump of ktrace, a pcap or a pcapng file .* \[KTRACE_E_CAPTURE_FORMAT\]/);
    const missing = await ktrace('read', join(folder, 'nothing.pcap'));
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /ENOENT.*\[KTRACE_E_FILE\]/);
  });
});

describe('ktrace filter', () => {
  test('writes out what a filter means', async () => {
    const said = async (...words: string[]) => (await ktrace('filter', ...words)).stdout.split('\n');
    assert.deepEqual(await said('port', '80', 'or', '443'), [
      'port 80 or port 443',
      '  in the kernel:  inner (tcp or udp or sctp)',
      '  in user space:  port 80, port 443',
      '',
    ]);
    assert.deepEqual((await said('udp[20:2] = 1')).slice(3, 4), [
      '  payload:        udp[20:2] = 1 reads up to byte 42 at least; --snaplen 42 captures them',
    ]);
    assert.deepEqual((await said('icmp')).slice(1, 3), ['  in the kernel:  icmp', '  in user space:  nothing more']);
    assert.match((await said('not port 80'))[1] ?? '', /in the kernel: {2}nothing: each term may be true of a packet elsewhere/);
    for (const port of USUAL_TUNNEL_PORTS)
      assert.match((await said(`udp port ${port}`))[1] ?? '', /in the kernel: {2}nothing/, String(port));
    assert.match((await said('ether broadcast'))[1] ?? '', /on a follow: {4}refused: .*frames are not what ktrace follows/);
  });

  test('-d shows the place of what no program decides', async () => {
    for (const [filter, place, message] of [
      ['tcp and dropped', 'dropped', /a capture file says nothing of it/],
      ['tcp and (src host web)', 'src host web', /Expected an address, got the name web.*hint: .*give the address/s],
      ['udp or inner tcp', 'inner tcp', /Expected what one program can decide, got "inner"/],
      ['iface eth0', 'iface', /Expected what one program can decide, got "iface"/],
    ] as const) {
      const { code, stderr } = await ktrace('filter', '-d', filter);
      assert.equal(code, 2, filter);
      assert.match(stderr, message);
      assertPlace(stderr, filter, place);
    }
  });

  test('-d lists the program as tcpdump does', { skip: NO_TCPDUMP }, async () => {
    const { stdout } = await promisify(execFile)('tcpdump', ['-O', '-y', 'EN10MB', '-d', 'udp']);
    const plain = (text: string) => text.replace(/ +/g, ' ').trim();
    assert.equal(plain((await ktrace('filter', '-d', 'udp')).stdout), plain(stdout));
  });
});
