import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PacketEvent } from '../../../src/event/types.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { before } from '../../support/evidence.ts';
import { KtraceProcess, startFollow } from '../../support/ktrace-process.ts';
import { summaryOf } from '../../support/summary.ts';
import { until } from '../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const KTRACE = fileURLToPath(new URL('../../../bin/ktrace', import.meta.url));
const JDFGG = 'frontend-88237173-jdfgg';
const SLAVE = 'redis-slave-132015689-k0rk5';
const PINGS = 20;
/** Only the test's own pings are so large. */
const LARGE = { tcpdump: 'icmp and greater 1000', bytes: 1000 };
const STATISTICS = 5;

suite('a follow into a capture', { skip: SKIP }, () => {
  const name = randomLabName();
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-capture-'));
  const file = join(folder, 'live.pcapng');
  const running: KtraceProcess[] = [];
  let lab: Lab;

  before(async () => {
    lab = await labUp({ name, bound: true });
  });
  after(async () => {
    await Promise.all(running.map((one) => one.kill()));
    await removeLab(name);
    rmSync(folder, { recursive: true, force: true });
  });

  const tcpdump = async (filter: string): Promise<number> =>
    linesIn(await shell(`tcpdump -n -r ${file} '${filter}' 2>/dev/null`));

  /** Fields of every packet of the file, or why they cannot be told. */
  const tshark = async (what: string): Promise<string[][]> => {
    const text = await shell(`tshark -r ${file} -N n -T fields ${what} 2>/dev/null`);
    return text.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')]));
  };

  test('is read by tcpdump and tshark while it is written and after, and holds what a follow beside it tells as JSON', async (t) => {
    const hasTshark = (await shell('command -v tshark')) !== '';
    const json = startFollow(lab, `pod/${JDFGG}`, '-o', 'json');
    const toFile = ['sh', '-c', `exec "$@" > ${file}`, 'sh'];
    const follow = ['follow', '--kubeconfig', lab.kubeconfig, `pod/${JDFGG}`, '-o', 'pcapng'];
    const capture = new KtraceProcess(follow, { before: toFile });
    running.push(json, capture);
    await Promise.all([json.following(), capture.followingAsText()]);
    await until('tcpdump reads packets of what is being written', async () => (await tcpdump('')) > 20);
    await lab.exec(`pod/${JDFGG}`, ['ping', '-c', String(PINGS), '-i', '0.1', '-s', '1000', lab.pod(SLAVE).ip]);
    await until('all pings are in it', async () => (await tcpdump(LARGE.tcpdump)) === 2 * PINGS);
    const large = (): PacketEvent[] => told(json).filter(({ proto, len }) => proto === 'icmp' && len > LARGE.bytes);
    await json.until('all pings are told as JSON', () => large().length === 2 * PINGS);
    const text = (): string => readFileSync(file).toString('latin1');
    for (const said of [`${JDFGG}.default`, `${SLAVE}.default`, 'host1/', 'svc default/redis-', 'delivered', 'DROPPED ']) {
      await until(`${said} is in it`, () => text().includes(said));
    }
    assert.equal(capture.child.exitCode, null);
    if (hasTshark) assert.ok((await tshark('-e frame.number')).length > 2 * PINGS);
    for (const one of [capture, json]) assert.equal((await one.interrupt()).code, 130, one.stderr);

    const { packets: shown, lost } = summaryOf(capture.stderr);
    assert.equal(lost, 0);
    assert.equal(await tcpdump(''), shown);
    assert.equal(await tcpdump(LARGE.tcpdump), large().length);
    const types = blockTypes(readFileSync(file));
    // Each node has an interface in it, and says of the first how much was lost.
    assert.deepEqual(types.slice(-3), [STATISTICS, STATISTICS, STATISTICS]);
    if (!hasTshark) return t.diagnostic('tshark is not here: only tcpdump was asked');

    const fields =
      '-e frame.len -e icmp.ident -e tcp.srcport -e tcp.dstport -e tcp.seq_raw -e tcp.flags -e ip.src_host -e frame.interface_name';
    const packets = await tshark(`-E occurrence=f ${fields}`);
    assert.equal(packets.length, shown);
    assert.ok(packets.some(([, , , , , , host, iface]) => host === `${JDFGG}.default` && iface?.startsWith('host1/')));
    // Between the first ping and the last both follows saw everything: no connection is in one alone.
    const isPing = ([len]: string[]): boolean => Number(len) > LARGE.bytes;
    const between = packets.slice(packets.findIndex(isPing), packets.findLastIndex(isPing));
    const keys = new Set(
      told(json).flatMap(({ src, dst, tcp }) => (tcp === undefined ? [] : `${src.port} ${dst.port} ${tcp.seq}`)),
    );
    const connections = between.flatMap(([, , from, to, seq]) => (from ? [`${from} ${to} ${seq}`] : []));
    assert.ok(connections.length > 0);
    for (const key of connections) assert.ok(keys.has(key), key);
    const written = new Set(packets.flatMap(([, , from, to, seq]) => (from ? [`${from} ${to} ${seq}`] : [])));
    const pings = large().map(({ time }) => Date.parse(time));
    for (const { time, src, dst, tcp } of told(json)) {
      if (tcp === undefined || Date.parse(time) < Math.min(...pings) || Date.parse(time) > Math.max(...pings)) continue;
      assert.ok(written.has(`${src.port} ${dst.port} ${tcp.seq}`), `${time} ${src.port} ${dst.port} ${tcp.seq}`);
    }
  });

  test('into a pipe reaches its reader packet by packet, and ends quietly when the reader has enough', async (t) => {
    const follow = `${KTRACE} follow --kubeconfig ${lab.kubeconfig} -A -o pcapng --for 60s 2> ${folder}/stderr`;
    const few = await shell(`${follow} | head -c 4000 | wc -c; echo "code \${PIPESTATUS[0]}"`);
    assert.equal(few, '4000\ncode 0\n');
    // Neither an error nor a summary: who left has seen enough.
    assert.doesNotMatch(readFileSync(join(folder, 'stderr'), 'utf8'), /EPIPE|KTRACE_E_|captured/);
    if ((await shell('command -v tshark')) === '') return t.diagnostic('tshark is not here: only head has read');
    // What Wireshark itself does with "-k -i -".
    const live = await shell(
      `${follow} | tshark -l -i - -c 5 -N n -T fields -e frame.interface_name -e frame.comment 2>/dev/null; echo "code \${PIPESTATUS[0]}"`,
    );
    const lines = live.trimEnd().split('\n');
    assert.equal(lines.length, 6, live);
    assert.equal(lines.pop(), 'code 0');
    for (const line of lines) assert.match(line, /^host\d\/\S+\t.* (icmp6?|tcp|udp) /);
  });
});

/** First tellings: what is told again is in the capture already. */
function told(follow: KtraceProcess): PacketEvent[] {
  return follow.packets.filter(({ amends }) => amends !== true);
}

function blockTypes(file: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at < file.length; at += file.readUInt32LE(at + 4)) types.push(file.readUInt32LE(at));
  return types;
}

function linesIn(text: string): number {
  return text.split('\n').length - 1;
}

function shell(line: string): Promise<string> {
  const child = spawn('bash', ['-c', line], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  return new Promise((resolve) => child.on('close', () => resolve(text)));
}
