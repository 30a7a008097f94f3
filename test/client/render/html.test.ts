import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { suite, test } from 'node:test';
import { DumpFile } from '../../../src/client/file/dump-file.ts';
import { DumpOutput } from '../../../src/client/output/dump-output.ts';
import { runRead } from '../../../src/client/read/read.ts';
import type { KtraceEvent, PacketEvent } from '../../../src/event/types.ts';
import { fc } from '../../support/fast-check.ts';
import { hop, packet, pod } from '../events.ts';
import { byId, MANIFEST, pageText, parsed, withText } from './html-page.ts';
import { RENDER_TABLE } from './render-table.ts';

const EVENTS = RENDER_TABLE.map(([, event]) => event);
const packets = EVENTS.filter((event) => event.kind === 'packet');
const dropped = packets.filter(({ drop }) => drop !== undefined).length;
const HOSTILE = `'"><img src=http://192.0.2.1/ onerror=alert(1)><script>alert(2)</script></style></title><!--&amp;\u202e\u0000`;
const SECTIONS = ['summary', 'missing', 'timeline', 'peers', 'troubles', 'translations', 'paths', 'packets'];
const TAGS =
  `html head meta title style body header h1 p nav a section h2 h3 dl dt dd ul li b code span div table caption thead tbody tr th td svg g rect line
  text circle path article figure figcaption footer`.split(/\s+/);

/** Many conversations of as many pods with one peer each, the last of them dropped. */
function crowd(count: number): PacketEvent[] {
  return Array.from({ length: count }, (_, at) => {
    const address = `10.1.${at >> 8}.${at & 255}`;
    return packet({
      ...{ id: `c${at}`, src: pod(`web-${at}`, address, 'host1', 40_000), dst: { ip: '10.0.0.9', port: 80 } },
      hops: [hop('host1', `veth${at}`, 'in', 0)],
      ...(at === count - 1 ? { drop: { reason: 'NO_SOCKET', at: 'tcp_v4_rcv' }, verdict: 'dropped' as const } : {}),
    });
  });
}

suite('a dump as a page', () => {
  test('is well-formed, has all its sections, asks for nothing and runs nothing', () => {
    const page = parsed(pageText(EVENTS));
    assert.deepEqual(page.errors, []);
    for (const id of SECTIONS) assert.ok(byId(page, id).text.length > 40, id);
    for (const { tag, attributes } of page.elements) {
      assert.ok(TAGS.includes(tag), tag);
      for (const [name, value] of Object.entries(attributes)) {
        assert.doesNotMatch(name, /^(on|src|style|action|data|ping)/);
        if (name === 'href') assert.match(value, /^#[a-z0-9-]+$/);
      }
    }
    const policy = page.elements.find(({ attributes }) => attributes['http-equiv'] === 'Content-Security-Policy');
    assert.match(
      policy?.attributes['content'] ?? '',
      /^default-src 'none'; style-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'$/,
    );
    const links = page.elements.flatMap(({ attributes }) => attributes['href']?.slice(1) ?? []);
    assert.ok(links.length > 10);
    for (const id of links) byId(page, id);
  });

  test('names its target, time, nodes, filter, losses, and what is missing', () => {
    const troubles = ['x.ktrace is half a dump'];
    const page = parsed(pageText(EVENTS, { facts: { troubles, manifest: { ...MANIFEST, missing: ['host2'] } } }));
    for (const text of [
      'pod default/web',
      '2026-11-22 08:30:00 UTC to 2026-11-22 08:50:00 UTC',
      'host1, host2',
      'tcp',
      'all of it',
    ]) {
      assert.ok(byId(page, 'summary').text.includes(text), text);
    }
    const missing = byId(page, 'missing').text;
    for (const text of [
      'half a dump',
      'came from host2',
      '36,172 records were lost of default/noisy',
      '128 records',
      'KTRACE_N_AGENT_LEFT',
    ]) {
      assert.ok(missing.includes(text), text);
    }
    assert.match(
      parsed(pageText([], { facts: { summary: undefined } })).elements.map(({ text }) => text)[0] ?? '',
      /did not come to its end/,
    );
  });

  test('draws a packet’s way in its order: ends, nodes, interfaces, where it was translated', () => {
    const [, syn] = RENDER_TABLE[0] as [string, PacketEvent];
    const [nat] = syn.nat ?? [];
    assert.ok(nat !== undefined);
    const page = parsed(pageText([{ ...syn, nat: [{ ...nat, seenBy: 'kprobe', atNs: 9500 }] }]));
    const drawing = byId(page, 'way-1')
      .inside.filter(({ tag }) => tag === 'text')
      .map(({ text }) => text);
    const order = [
      'default/frontend-88237173-jdfgg',
      'received from veth1a2b',
      'received from cni0',
      'DNAT for default/redis-master',
    ];
    const rest = [
      '→ default/redis-master-343230949-2qrp7:6379',
      'KUBE-SVC-GGJXVPNFZDFEEY5C',
      'sent to flannel.1',
      'sent to veth9',
      'delivered',
    ];
    const places = [...order, ...rest].map((text) => drawing.indexOf(text));
    assert.ok(!places.includes(-1), `${drawing}`);
    assert.deepEqual(
      places,
      [...places].sort((a, b) => a - b),
    );
    assert.deepEqual(
      byId(page, 'way-1')
        .inside.filter(({ attributes }) => attributes['class'] === 'node-name')
        .map(({ text }) => text),
      ['node host1', 'node host3'],
    );
  });

  test('tells drops and ICMP errors with their place, and whose conversation they are of', () => {
    const page = parsed(pageText(EVENTS));
    const troubles = byId(page, 'troubles').text;
    for (const text of ['NETFILTER_DROP', 'nf_hook_slow', 'host1 veth1a2b', 'fragmentation-needed, mtu 1450', 'node host3']) {
      assert.ok(troubles.includes(text), text);
    }
    // The error is about the connection to redis-master, and no conversation of its own.
    assert.match(byId(page, 'flow-1').text, /frontend-88237173-jdfgg.*redis-master.*1 dropped, 1 ICMP error/);
  });

  test('lets nothing from outside be more than text', () => {
    const events = EVENTS.map((event) => withText(event, HOSTILE));
    const manifest = { ...MANIFEST, filter: HOSTILE, nodes: [HOSTILE], missing: [HOSTILE], made: HOSTILE, since: HOSTILE };
    const targets = [{ kind: 'pod' as const, namespace: HOSTILE, name: HOSTILE }];
    const facts = { manifest: { ...manifest, targets }, summary: HOSTILE, troubles: [HOSTILE], reading: { filter: HOSTILE } };
    const page = parsed(pageText(events, { facts }));
    assert.deepEqual(page.errors, []);
    assert.deepEqual(
      page.elements.filter(({ tag }) => !TAGS.includes(tag)),
      [],
    );
    assert.equal(page.elements.filter(({ tag }) => tag === 'style').length, 1);
    const [root] = page.elements;
    assert.ok(root?.text.includes('<script>alert(2)</script>'));
    assert.ok(!root?.text.includes('\u202e') && root?.text.includes('\\u{202e}'));
  });

  test('has the same elements whatever its names are', () => {
    const shape = (text: string): string[] => {
      const page = parsed(pageText(EVENTS.map((event) => withText(event, text, ['flags']))));
      assert.deepEqual(page.errors, []);
      return page.elements.map(({ tag, attributes }) => [tag, ...Object.keys(attributes)].join(' '));
    };
    const plain = shape('x');
    const word = fc.oneof(
      fc.string({ minLength: 1, unit: 'binary' }),
      fc.constantFrom('"', "'", '<', '>', '&', '<!--', ']]>', '</svg>', '`'),
    );
    fc.assert(
      fc.property(word, (text) => assert.deepEqual(shape(text), plain)),
      { numRuns: 50 },
    );
  });

  test('stays whole where a record has something else than its types say', () => {
    const [, event] = RENDER_TABLE[0] as [string, PacketEvent];
    const odd = { '<b>': ['<i>'] };
    const page = parsed(
      pageText([{ ...event, segments: odd, hops: [{ ...event.hops[0], tunnel: odd }] } as unknown as KtraceEvent]),
    );
    assert.deepEqual(page.errors, []);
    assert.ok(page.elements.every(({ tag }) => TAGS.includes(tag) && tag !== 'i'));
  });

  test('of no records says so in each section', () => {
    const page = parsed(pageText([]));
    assert.deepEqual(page.errors, []);
    for (const id of SECTIONS) assert.ok(byId(page, id).text.length > 20, id);
    assert.match(byId(page, 'peers').text, /No conversation was recorded/);
  });

  test('is bounded, says what it left out, and its sums count it all', () => {
    const limits = { heldRows: 30, shownRows: 20, heldWays: 30, shownWays: 10, shownPackets: 15, conversations: 50 };
    const page = parsed(pageText(crowd(1000), { limits }));
    const all = (id: string, tag: string): number => byId(page, id).inside.filter((element) => element.tag === tag).length;
    assert.deepEqual(
      [all('peers', 'tr'), all('paths', 'article'), all('paths', 'figure'), all('packets', 'tr')],
      [21, 20, 10, 16],
    );
    assert.match(byId(page, 'summary').text, /1,000conversations.*1,000packets with a record.*1dropped/);
    assert.match(byId(page, 'peers').text, /Not in this list: 980 conversations, 980 packets/);
    assert.match(byId(page, 'paths').text, /990 packets went ways that are not drawn/);
    assert.match(byId(page, 'packets').text, /985 packets before these/);
    // The one that was dropped came last, when all was full.
    assert.match(byId(page, 'flow-1').text, /web-999.*1 dropped/);
    assert.match(byId(page, 'way-1').text, /NO_SOCKET/);
  });

  test('has a bounded size for any number of records', () => {
    const sizes = [20_000, 60_000].map((count) => pageText(crowd(count)).length);
    assert.ok((sizes[0] ?? 0) < 1_500_000 && Math.abs((sizes[1] ?? 0) - (sizes[0] ?? 0)) < 20_000, `${sizes}`);
  });

  test('is the same, bit for bit, from the dump and from its file', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'ktrace-html-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'a.ktrace');
    const [file, dumped] = [await DumpFile.create(path, MANIFEST), collector()];
    const output = new DumpOutput({ output: 'html' }, { ...dumped.io, env: {} });
    output.describe({ manifest: MANIFEST });
    for (const event of [...EVENTS, ...crowd(500)]) {
      await file.add(event);
      await output.tell(event);
    }
    const manifest = { ...MANIFEST, missing: ['host2'] };
    await file.end(manifest, 'the end');
    output.describe({ manifest, summary: 'the end' });
    await file.close();
    await output.end();
    assert.ok(dumped.text().length > 100_000 && dumped.text().includes('came from host2'));
    assert.equal(await readPage(path), dumped.text());
    const filtered = parsed(await readPage(path, 'dropped'));
    assert.match(byId(filtered, 'summary').text, new RegExp(`Filter of this pagedropped.*${dropped + 1}dropped`, 's'));
  });

  test('passes over what a file says of itself where that is not understood, and says that its end is missing', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'ktrace-html-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'odd.ktrace');
    const targets = [{ kind: 'pod', namespace: 'default', name: { toString: 1 } }] as never;
    const file = await DumpFile.create(path, { ...MANIFEST, targets });
    for (const event of EVENTS) await file.add(event);
    await file.end({ ...MANIFEST, targets: [null] as never }, 'the end');
    await file.close();
    const page = parsed(await readPage(path));
    assert.deepEqual(page.errors, []);
    assert.match(byId(page, 'summary').text, new RegExp(`${packets.length}packets with a record`));
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, whole.length - 10));
    const half = collector();
    await assert.rejects(readInto(half, path), { code: 'KTRACE_E_DUMP_INCOMPLETE' });
    assert.match(byId(parsed(half.text()), 'missing').text, /odd.ktrace is half a dump: its end is missing/);
  });

  test('goes to a file or a pipe, not to a terminal', () => {
    const { io } = collector();
    assert.throws(
      () => new DumpOutput({ output: 'html' }, { ...io, stdout: Object.assign(io.stdout, { isTTY: true }), env: {} }),
      { code: 'KTRACE_E_ARGUMENT' },
    );
  });
});

async function readPage(path: string, ...words: string[]): Promise<string> {
  const into = collector();
  assert.equal(await readInto(into, path, ...words), 0);
  return into.text();
}

function readInto({ io }: Pick<ReturnType<typeof collector>, 'io'>, path: string, ...words: string[]): Promise<number> {
  const lookUp = () => Promise.reject(new Error('no names here'));
  const interrupt = new AbortController().signal;
  return runRead({ path, words, output: 'html' }, { ...io, stdin: Readable.from([]), env: {}, interrupt, lookUp });
}

function collector(): { io: { stdout: PassThrough; stderr: PassThrough }; text: () => string } {
  const io = { stdout: new PassThrough(), stderr: new PassThrough() };
  const pieces: Buffer[] = [];
  io.stdout.on('data', (piece: Buffer) => pieces.push(piece));
  io.stderr.resume();
  return { io, text: () => Buffer.concat(pieces).toString() };
}
